package segment

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
)

// Sync makes everything durable that was put or deleted before. Concurrent callers
// share the work: whoever comes while another is at it waits, and then for one more at
// most, which is for all that came. Where the disk is
// full it fails with [ErrFull] and may be tried again; after another failure of the disk nothing
// is known of what was not durable, and the Store fails until it is opened again.
func (s *Store) Sync() error {
	s.mu.Lock()
	upTo := s.changes
	s.mu.Unlock()
	t := &s.turns
	t.mu.Lock()
	for t.taken {
		if t.done >= upTo {
			t.mu.Unlock()
			return nil
		}
		t.left.Wait()
	}
	t.taken = true
	t.mu.Unlock()
	done, err := s.syncTo(upTo)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.taken, t.done = false, max(t.done, done)
	t.left.Broadcast()
	return err
}

// turns lets one of many callers of Sync at a time do it for all, and wakes those for
// whom it was done at once: in a queue for a lock they would stand behind others who
// begin anew.
type turns struct {
	mu    sync.Mutex
	left  sync.Cond // signalled when taken falls
	taken bool
	done  uint64 // value of Store.synced
}

// syncTo makes the changes up to a number durable and returns up to which all are.
func (s *Store) syncTo(upTo uint64) (done uint64, err error) {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken != nil {
		return 0, broken
	}
	if s.synced < upTo {
		err = s.sync()
	}
	if vfs.IsNoSpaceError(err) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return 0, fmt.Errorf("segment: sync: %w", err)
	}
	return s.synced, nil
}

// snapshot is what one sync is about.
type snapshot struct {
	upTo    uint64 // value of changes
	edits   uint64 // of which no record lies behind sizes
	pending map[store.Ref]place
	sizes   map[uint32]int64 // of the segments ahead of the index
	dirty   []uint32
}

// sync makes bodies durable and then commits their index entries. The caller holds
// syncing.
func (s *Store) sync() error {
	snap, err := s.snapshot()
	if err == nil {
		err = s.syncFiles(snap.dirty)
	}
	if err != nil {
		return err
	}
	if err := s.index(snap); err != nil {
		return err
	}
	if err := s.syncEdits(snap.edits); err != nil {
		return err
	}
	s.synced = snap.upTo
	return nil
}

// snapshot waits for records that have their place and are not yet pending: an Open
// after a crash looks for none before the sizes it notes.
func (s *Store) snapshot() (snapshot, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	snap := snapshot{s.changes, s.edits, maps.Clone(s.pending), make(map[uint32]int64, len(s.ahead)), slices.Collect(maps.Keys(s.dirty))}
	for n := range s.ahead {
		snap.sizes[n] = s.space.files[n].size
	}
	if s.broken == nil {
		clear(s.dirty)
	}
	return snap, s.broken
}

// syncFiles makes durable what has been written to segments. A file that fails to
// sync may have lost pages that it will never report again, so the Store stops there.
// What the disk has no room for stays in memory, to be tried again.
func (s *Store) syncFiles(numbers []uint32) error {
	for i, n := range numbers {
		s.mu.Lock()
		f := s.space.files[n]
		grows := f != nil && *s.space.grows(f) == f
		s.mu.Unlock()
		err := s.behind.flush(n, grows)
		if vfs.IsNoSpaceError(err) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, n := range numbers[i:] {
				s.dirty[n] = true
			}
			return err
		}
		if err == nil {
			err = s.syncFile(n)
		}
		if err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.broken == nil {
				s.broken = fmt.Errorf("segment: %d could not be synced, reopen the store: %w", n, err)
			}
			return err
		}
	}
	return nil
}

func (s *Store) syncFile(n uint32) error {
	h, err := s.files.get(n, false)
	if err == nil {
		err = errors.Join(h.SyncData(), s.files.put(h))
	}
	if err == nil {
		err = s.files.syncEntries()
	}
	return err
}

// index commits the entries of what is pending since snap, whose files have been
// synced. It does not sync them: if a crash takes them, Open finds the records.
func (s *Store) index(snap snapshot) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	txn := s.txn()
	defer txn.Discard()
	done := make([]record, 0, len(snap.pending))
	s.mu.Lock()
	for ref, old := range snap.pending {
		if p, ok := s.pending[ref]; ok && p.at(old) { // its class may have changed
			done = append(done, record{ref, p})
		}
	}
	s.mu.Unlock()
	for _, rec := range done { // who reads need not wait; what is pending stays as it is
		rec.set(txn)
	}
	s.mu.Lock()
	for _, rec := range done {
		s.space.files[rec.segment].saved[rec.class.kind()] += rec.size()
	}
	before := make(map[*file]int64, len(snap.sizes))
	for n, size := range snap.sizes {
		if f := s.space.files[n]; f != nil {
			before[f] = f.indexed
			f.indexed = size
		}
	}
	numbers := slices.Collect(maps.Keys(snap.sizes))
	for _, rec := range done {
		if n := rec.segment; !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	s.save(txn, numbers...)
	s.mu.Unlock()
	err := txn.Commit(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rec := range done {
		if err != nil {
			s.space.files[rec.segment].saved[rec.class.kind()] -= rec.size()
		} else {
			delete(s.pending, rec.ref)
		}
	}
	for f, old := range before {
		if err != nil {
			f.indexed = old
		} else if f.indexed == f.size {
			delete(s.ahead, f.number)
		}
	}
	if err == nil {
		s.commits++
	}
	return err
}

// syncEdits makes the edits up to a number of them durable, unless they are.
func (s *Store) syncEdits(upTo uint64) error {
	s.mu.Lock()
	done := s.editsSynced >= upTo
	s.mu.Unlock()
	if done {
		return nil
	}
	if err := s.syncIndex(); err != nil {
		return err
	}
	s.mu.Lock()
	s.editsSynced = max(s.editsSynced, upTo)
	s.mu.Unlock()
	return nil
}

// syncIndex makes durable whatever has been committed to the index. It needs no lock.
func (s *Store) syncIndex() error {
	txn := s.txn()
	defer txn.Discard()
	return txn.Commit(true)
}

// save writes the counts of segments and the numbers given into txn; the caller holds
// commit and mu.
func (s *Store) save(txn store.Txn, numbers ...uint32) {
	_ = txn.Set(numberKey(), numberValue(s.space.last, s.orders)) // what fails here fails the commit
	for _, n := range numbers {
		if f := s.space.files[n]; f != nil {
			_ = txn.Set(segmentKey(n), f.value()) // what fails here fails the commit
		}
	}
}
