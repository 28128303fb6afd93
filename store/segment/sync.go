package segment

import (
	"fmt"

	"github.com/aether-lan/aether/store"
)

// Sync returns once everything put before it was called is on the disk: the bodies
// first, then their index entries in a commit of the KV, which whoever owns the KV
// makes durable with what it commits next. Callers that wait at the same time
// share one fsync. After the disk has failed to sync, nothing is promised any more:
// Put and Sync fail until the Store is opened again.
func (s *Store) Sync() error {
	s.mu.Lock()
	want := s.put
	s.mu.Unlock()
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	if s.failed != nil || s.synced >= want {
		defer s.mu.Unlock()
		return s.failed
	}
	upTo, order := s.put, s.order
	s.order = nil
	var dirty []*file
	for _, f := range s.files {
		if f.dirty {
			f.dirty = false
			f.users++
			dirty = append(dirty, f)
		}
	}
	s.mu.Unlock()

	var err error
	for _, f := range dirty {
		if err == nil {
			err = f.f.Sync()
		}
		s.release(f)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = s.enter(order, upTo)
	}
	if err != nil {
		s.failed = fmt.Errorf("segment: sync: %w", err)
		return s.failed
	}
	s.synced = upTo
	return nil
}

// enter moves the entries of refs that were put up to a number from memory to the
// index. Those put again later wait for the next Sync.
func (s *Store) enter(refs []store.Ref, upTo uint64) error {
	tx := s.kv.Begin()
	defer tx.Discard()
	var entered []store.Ref
	for _, r := range refs {
		p, ok := s.pending[r]
		if !ok || p.put > upTo {
			continue // evicted, or put again
		}
		if err := tx.Set(refKey(r), p.append(nil)); err != nil {
			return err
		}
		entered = append(entered, r)
	}
	if len(entered) == 0 {
		return nil
	}
	if err := tx.Commit(false); err != nil {
		return err
	}
	for _, r := range entered {
		delete(s.pending, r)
	}
	return nil
}
