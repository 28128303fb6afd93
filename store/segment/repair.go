package segment

import (
	"errors"
	"fmt"

	"github.com/aether-lan/aether/store"
)

// Repair writes body, which the caller has checked, anew as that of ref, and forgets
// the copy that is there, which may be damaged. It is durable when Repair returns. It
// fails with [store.ErrNotFound] when ref is not there, or no longer.
func (s *Store) Repair(ref store.Ref, body []byte) error {
	if len(body) > MaxBody {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(body))
	}
	old, err := s.rewrite(ref, body, false)
	switch {
	case errors.Is(err, store.ErrNotFound):
		err = s.restore(ref, body)
	case err == nil:
		if err = s.syncIndex(); err == nil {
			err = s.blank(old)
		}
	}
	if err != nil {
		return fmt.Errorf("segment: repair %s: %w", ref, err)
	}
	return nil
}

// restore puts a body that Open found lost.
func (s *Store) restore(ref store.Ref, body []byte) error {
	v, err := s.kv.Get(lostKey(ref))
	if err != nil {
		return err
	}
	p, err := parsePlace(v)
	if err == nil {
		err = s.Put(ref, body, p.class)
	}
	if err == nil {
		err = s.Sync()
	}
	if err != nil {
		return err
	}
	return s.unlose(ref)
}

// blank makes the record that was at p none, so that no Open without an index takes
// it for the body that replaced it.
func (s *Store) blank(p place) error {
	h, err := s.files.get(p.segment, false)
	if err != nil {
		return nil //nolint:nilerr // what is not there is not taken in
	}
	_, err = h.WriteAt(make([]byte, 4), int64(p.offset))
	return errors.Join(err, s.files.put(h))
}

// rewrite writes the record of ref anew, with another body or as a Log, and switches
// the index to it. It returns where the old one lies.
func (s *Store) rewrite(ref store.Ref, body []byte, log bool) (old place, err error) {
	need := headSize + numberSize + int64(len(body))
	if err := s.makeRoom(need); err != nil {
		return place{}, err
	}
	defer s.unreserve(need)
	s.mover.Lock()
	defer s.mover.Unlock()
	s.mu.Lock()
	_, waits := s.pending[ref]
	s.moving[ref] = false // who deletes it from here on says so
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.moving, ref)
	}()
	if waits {
		s.syncing.Lock()
		err := s.sync()
		s.syncing.Unlock()
		if err != nil {
			return place{}, err
		}
	}
	if old, err = indexed(s.kv, ref); err != nil {
		return place{}, err
	}
	to := old
	to.length = uint32(len(body))
	if log = log && old.class != Log; log {
		s.mu.Lock()
		s.orders++
		to.class, to.order = Log, s.orders
		s.mu.Unlock()
	}
	to, ok, err := s.copy(ref, to, body)
	if err == nil && !ok {
		err = store.ErrNotFound
	}
	if err != nil {
		return place{}, err
	}
	if err := s.finishMoves([]move{{ref, old, to, log}}); err != nil {
		return place{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	s.edits++
	if f := s.space.files[old.segment]; f != nil {
		f.bad = false // it may have been this that could not be read
	}
	return old, nil
}
