package segment

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/aether-lan/aether/store"
)

// defaultReserve is the bytes of the disk that bodies leave free: without room the
// index can neither take what removes something nor be opened again. It is what the
// index wants for itself.
const defaultReserve = 64 << 20

// askAgain bounds the bytes that are put before the file system is asked again how much
// it has left. Others on the disk may take much of it meanwhile.
const askAgain = 256 << 20

// disk knows about how much the disk has left.
type disk struct {
	room atomic.Int64 // bytes that may be put without asking
}

// low reports whether need more bytes would leave less than reserve of the disk, and
// how much is left. A file system that cannot tell has always enough.
func (s *Store) low(need, reserve int64) (left int64, low bool) {
	whole := reserve == s.cfg.Reserve // else what is allowed would be too much for others
	if whole && s.disk.room.Add(-need) >= 0 {
		return 0, false
	}
	room := int64(askAgain)
	u, err := s.files.fs.GetDiskUsage(s.files.dir)
	if err == nil {
		left = int64(min(u.AvailBytes, math.MaxInt64))
		spare := left - reserve - need
		if spare < 0 {
			return left, true
		}
		room = min(spare/8, askAgain)
	}
	if whole {
		s.disk.room.Store(room)
	}
	return left, false
}

// spareDisk sees to it that need more bytes leave enough of the disk free: it gives up
// cache, and what nobody wants any more. What came from the disk already, by
// Preallocate, need not be had again. A Log may go further: what removes something is
// in one.
func (s *Store) spareDisk(need int64, class Class) error {
	reserve := s.cfg.Reserve
	switch {
	case reserve < 0 || s.Reserved() > 0:
		return nil
	case class == Log:
		reserve /= 8
	}
	for {
		left, low := s.low(need, reserve)
		if !low {
			return nil
		}
		s.mover.Lock()
		f, step := s.lessWanted(left)
		var err error
		if f != nil {
			err = step(f)
		}
		s.mover.Unlock()
		switch {
		case err != nil:
			return err
		case f == nil:
			return fmt.Errorf("%w: the disk has %d bytes left, of which %d stay free", ErrFull, left, reserve)
		}
	}
}

// lessWanted chooses the segment to give up, or to compact where it would leave room on
// a disk that has left bytes, and says how. The caller holds mover.
func (s *Store) lessWanted(left int64) (f *file, step func(*file) error) {
	if f, step = s.victim(math.MaxInt64); f != nil { // empty, or cache
		return f, step
	}
	if f = s.mover.file; f == nil {
		f = s.shabbiest(true)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil || f.alive() > left/2 { // what lives is copied before anything is removed
		return nil, nil
	}
	return f, s.compact
}

// txn begins a change of the index. It may go far into what others leave free of the
// disk: the bodies that it tells of are there already, spareDisk having let them in, and
// what else it does leads to more room.
func (s *Store) txn() store.Txn {
	txn := s.kv.Begin()
	store.Freeing(txn)
	return txn
}
