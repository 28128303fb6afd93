package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/aether-lan/aether/store"
)

// load brings index and files together: segments are listed from both, entries
// behind the end of a file are dropped, whole records behind what is indexed are
// taken in, and the rest of each file is dead.
func (s *Store) load() error {
	if err := s.loadFiles(); err != nil {
		return err
	}
	names, err := s.files.fs.List(s.files.dir)
	if err != nil {
		return err
	}
	there := map[uint32]bool{}
	for _, name := range names {
		if n, ok := number(name); ok {
			there[n] = true
			if s.space.files[n] == nil {
				s.space.files[n] = &file{number: n}
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(s.space.files)) {
		if err := s.recoverFile(s.space.files[n], there[n]); err != nil {
			return fmt.Errorf("segment %d: %w", n, err)
		}
	}
	if s.changes == 0 {
		return nil
	}
	if err := s.sync(); err != nil {
		if s.broken != nil {
			return err
		}
		// The index takes nothing now, as on a full disk: what can be read shall be
		// read all the same. What was taken in stays pending and goes into the index
		// with the next change.
		s.synced = s.changes
	}
	return nil
}

// loadFiles reads the segments that the index knows.
func (s *Store) loadFiles() error {
	var bad error
	from, to := []byte{store.PrefixSegment, 'g'}, []byte{store.PrefixSegment, 'h'}
	err := s.kv.Scan(from, to, func(k, v []byte) bool {
		var f *file
		if f, bad = parseFile(k, v); bad == nil {
			s.space.files[f.number] = f
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}

func (s *Store) recoverFile(f *file, there bool) error {
	s.space.last = max(s.space.last, f.number)
	var size int64
	if there {
		st, err := s.files.fs.Stat(s.files.path(f.number))
		if err != nil {
			return err
		}
		size = st.Size()
	}
	if size < f.size {
		if err := s.dropBehind(f, size); err != nil {
			return err
		}
	}
	end, clean := min(f.size, size), true
	if size > end {
		if err := s.takeIn(f, end, size, &clean); err != nil {
			return err
		}
	}
	f.size = size
	s.space.used += size
	if f.alive() == 0 {
		return s.discard(f, there)
	}
	if clean && size < s.cfg.SegmentSize {
		s.space.active[f.class] = f
		h, err := s.files.get(f.number, false)
		if err != nil {
			return err
		}
		f.deferred = h.deferrable()
		return s.files.put(h)
	}
	return nil
}

// dropBehind removes the entries of records that do not lie within the first size
// bytes of f, which has been cut short or is missing.
func (s *Store) dropBehind(f *file, size int64) error {
	all, err := s.records(f.number)
	if err != nil {
		return err
	}
	txn := s.kv.Begin()
	defer txn.Discard()
	f.saved = [classes]int64{}
	for _, r := range all {
		if int64(r.offset)+r.size() <= size {
			f.saved[r.class] += r.size()
			continue
		}
		txn.Delete(refKey(r.ref))
		txn.Delete(orderKey(r.segment, r.offset))
	}
	f.live, f.size = f.saved, size
	s.save(txn, f.number)
	return txn.Commit(true)
}

// takeIn looks at what lies behind the indexed part of f. Records found become
// pending, so that load's sync makes them durable before it indexes them.
func (s *Store) takeIn(f *file, from, size int64, clean *bool) error {
	h, err := s.files.get(f.number, false)
	if err != nil {
		return err
	}
	defer s.files.put(h)
	end, err := scan(h, from, size, func(ref store.Ref, class Class, offset int64, length int) {
		if from == 0 && offset == 0 {
			f.class = class
		}
		if _, err := s.lookup(ref); err == nil {
			return // a copy that compaction did not finish, or one put twice
		}
		p := place{f.number, uint32(offset), uint32(length), class}
		s.pending[ref] = p
		f.live[class] += p.size()
		s.changes++
	})
	*clean = end == size
	s.dirty[f.number] = true
	return err
}

// discard forgets a segment in which nothing lives.
func (s *Store) discard(f *file, there bool) error {
	delete(s.space.files, f.number)
	delete(s.dirty, f.number)
	s.space.used -= f.size
	txn := s.kv.Begin()
	defer txn.Discard()
	txn.Delete(segmentKey(f.number))
	if err := txn.Commit(false); err != nil || !there {
		return err
	}
	if err := s.files.remove(f.number); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
