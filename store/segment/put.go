package segment

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
)

// Put keeps a body under ref. It is readable at once and durable after the next
// Sync. A body that is there is not written again; putting cache as a replica or as
// Log, or a replica as Log, makes it that, and nothing makes it less. Room is made by evicting cache and by compacting; when that is not
// enough Put fails with [ErrFull] and nothing of the body is kept.
func (s *Store) Put(ref store.Ref, body []byte, class Class) error {
	if len(body) > MaxBody {
		return fmt.Errorf("%w: %d bytes", ErrTooLarge, len(body))
	}
	if class >= classes {
		return fmt.Errorf("segment: put %s: unknown %s", ref, class)
	}
	err := errTwice
	for errors.Is(err, errTwice) {
		err = s.put(ref, body, class)
	}
	if vfs.IsNoSpaceError(err) {
		err = fmt.Errorf("%w: %w", ErrFull, err)
	}
	if err != nil {
		return fmt.Errorf("segment: put %s: %w", ref, err)
	}
	return nil
}

// errTwice reports a body that was put by somebody else at the same time.
var errTwice = errors.New("put twice")

func (s *Store) put(ref store.Ref, body []byte, class Class) error {
	s.mu.Lock()
	commits := s.commits
	s.mu.Unlock()
	switch p, err := s.lookup(ref); {
	case err == nil && (p.class == class || class == Cache || p.class == Log):
		return nil
	case err == nil:
		// It may be evicted before its class is changed: then it is put anew.
		if err := s.SetClass(ref, class); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return errTwice
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	return s.write(ref, body, class, commits)
}

// write writes a record to the end of the current segment of its class and notes it
// as pending. commits is the count from before the caller looked for ref.
func (s *Store) write(ref store.Ref, body []byte, class Class, commits uint64) error {
	p := place{length: uint32(len(body)), class: class}
	if class == Log {
		p.order = 1 // so that its size is right
	}
	if err := s.behind.admit(); err != nil {
		return err
	}
	if err := s.spareDisk(p.size(), class); err != nil {
		return err
	}
	if err := s.makeRoom(p.size()); err != nil {
		return err
	}
	s.writing.RLock()
	defer s.writing.RUnlock()
	s.mu.Lock()
	s.space.reserved -= p.size()
	if class == Log {
		s.orders++
		p.order = s.orders
	}
	f, p, err := s.next(p, false)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	err = s.writeAt(f, p, ref, body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty[f.number] = true
	if err != nil {
		return err
	}
	_, twice := s.pending[ref]
	if !twice && s.commits != commits {
		_, err := indexed(s.kv, ref)
		twice = err == nil
	}
	if twice {
		return errTwice // this copy is dead
	}
	s.pending[ref] = p
	f.live[class.kind()] += p.size()
	s.changes++
	return nil
}

// next gives p its place behind what was put, or moved, before. The caller holds mu.
func (s *Store) next(p place, moved bool) (*file, place, error) {
	f, err := s.current(p.class.kind(), moved)
	if err != nil {
		return nil, place{}, err
	}
	p.segment, p.offset = f.number, uint32(f.size)
	f.size += p.size()
	s.space.used += p.size()
	s.ahead[f.number] = true
	if f.deferred {
		s.behind.reserve(p)
	}
	return f, p, nil
}

// writeAt writes a record to the place given out for it in f, now or behind. Where it
// cannot f grows no more, and what is in it of the record is dead.
func (s *Store) writeAt(f *file, p place, ref store.Ref, body []byte) error {
	write := s.behind.fill
	if !f.deferred {
		write = s.writeNow
	}
	n, err := write(p, ref, body)
	if err != nil {
		s.abandon(f, p, n)
	}
	return err
}

// writeNow writes a record. Where that fails only the first n bytes are in the file.
func (s *Store) writeNow(p place, ref store.Ref, body []byte) (n int64, err error) {
	h, err := s.files.get(p.segment, false)
	if err != nil {
		return 0, err
	}
	_, err = h.WriteAt(append(recordHead(ref, p.class, p.order, body), body...), int64(p.offset))
	if err != nil {
		st, e := h.Stat()
		if n = p.size(); e == nil {
			n = max(0, min(n, st.Size()-int64(p.offset)))
		}
	}
	return n, errors.Join(err, s.files.put(h))
}

// abandon ends the growth of f at a record of which only the first n bytes are there.
func (s *Store) abandon(f *file, p place, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.space.finish(f)
	if f.size == int64(p.offset)+p.size() {
		f.size -= p.size() - n
		s.space.used -= p.size() - n
	}
}

// fail ends the use of the Store after a write behind the back of Put has failed:
// which records are lost was never said to those who put them.
func (s *Store) fail(segment uint32, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fmt.Errorf("segment: %d could not be written, reopen the store: %w", segment, err)
	}
}

// current returns the segment to which bodies of a kind go; the caller holds mu.
func (s *Store) current(kind Class, moved bool) (*file, error) {
	if s.broken != nil {
		return nil, s.broken
	}
	f := &file{number: s.space.last + 1, class: kind, moved: moved}
	active := s.space.grows(f)
	if g := *active; g != nil && g.size < s.cfg.SegmentSize {
		return g, nil
	}
	if err := s.keepRoom(s.cfg.SegmentSize); err != nil {
		return nil, err
	}
	h, err := s.files.get(f.number, true)
	if err != nil {
		return nil, err
	}
	f.deferred = h.deferrable()
	s.space.last = f.number
	s.space.files[f.number] = f
	*active = f
	return f, s.files.put(h)
}
