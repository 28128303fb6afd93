package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/aether-lan/aether/store"
)

// takenIn bounds the records that Open finds and keeps in memory.
const takenIn = 1 << 16

// load brings index and files together: segments are listed from both, entries
// behind the end of a file are dropped, whole records behind what is indexed are
// taken in, and the rest of each file is dead.
func (s *Store) load() error {
	known, err := s.loadFiles()
	if err != nil {
		return err
	}
	sizes, err := s.list()
	if err != nil {
		return err
	}
	numbers := slices.Sorted(maps.Keys(s.space.files))
	for _, n := range numbers {
		s.space.last = max(s.space.last, n)
		if f := s.space.files[n]; sizes[n] < f.size {
			if err := s.dropBehind(f, sizes[n]); err != nil {
				return fmt.Errorf("segment %d: %w", n, err)
			}
		}
	}
	_, _, err = s.kv.Last(lostKey(store.Ref{}), []byte{store.PrefixSegment, 'x' + 1})
	if s.losses = err == nil; err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	r := recovery{s, !known}
	for _, n := range numbers {
		_, there := sizes[n]
		if err := r.recoverFile(s.space.files[n], sizes[n], there); err != nil {
			return fmt.Errorf("segment %d: %w", n, err)
		}
	}
	err = nil
	if len(s.pending) > 0 {
		err = s.sync()
	}
	if err == nil && !known {
		err = s.know()
	}
	if err != nil && s.broken != nil {
		return err
	}
	// When the index takes nothing now, as on a full disk, what can be read shall be
	// read all the same. What was taken in stays pending and goes into the index
	// with the next change.
	s.synced = s.changes
	if err := s.space.reserve.load(); err != nil {
		return err
	}
	return s.keepRoom(0)
}

// loadFiles reads what the index knows of segments. An index that knows nothing, also
// not that there were none, is new or lost.
func (s *Store) loadFiles() (known bool, err error) {
	v, err := s.kv.Get(numberKey())
	if err == nil {
		known = true
		s.space.last, s.orders, err = parseNumbers(v)
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, err
	}
	var bad error
	from, to := []byte{store.PrefixSegment, 'g'}, []byte{store.PrefixSegment, 'h'}
	err = s.kv.Scan(from, to, func(k, v []byte) bool {
		var f *file
		if f, bad = parseFile(k, v); bad == nil {
			known = true
			s.space.files[f.number] = f
		}
		return bad == nil
	})
	return known, errors.Join(err, bad)
}

// know notes that there is an index, for an Open that finds none.
func (s *Store) know() error {
	txn := s.kv.Begin()
	defer txn.Discard()
	s.save(txn)
	return txn.Commit(true)
}

// list returns the sizes of the segment files, and adds those that the index does not
// know.
func (s *Store) list() (sizes map[uint32]int64, err error) {
	names, err := s.files.fs.List(s.files.dir)
	if err != nil {
		return nil, err
	}
	sizes = map[uint32]int64{}
	for _, name := range names {
		n, ok := number(name)
		if !ok || s.files.path(n) != s.files.fs.PathJoin(s.files.dir, name) {
			continue
		}
		st, err := s.files.fs.Stat(s.files.path(n))
		if err != nil {
			return nil, err
		}
		sizes[n] = st.Size()
		if s.space.files[n] == nil {
			s.space.files[n] = &file{number: n}
		}
	}
	return sizes, nil
}

// dropBehind removes the entries of records that do not lie within the first size
// bytes of f, which has been cut short or is missing.
func (s *Store) dropBehind(f *file, size int64) error {
	var saved [kinds]int64
	for from := uint32(0); ; {
		refs, next, err := s.refs(f.number, from)
		if err != nil {
			return err
		}
		txn := s.kv.Begin()
		store.Freeing(txn) // a full disk is no reason not to open
		for _, r := range refs {
			p, err := indexed(s.kv, r.ref)
			switch {
			case err != nil && !errors.Is(err, store.ErrNotFound):
				txn.Discard()
				return err
			case err != nil || !p.at(place{segment: f.number, offset: r.offset}):
			case int64(p.offset)+p.size() > size:
				record{r.ref, p}.unset(txn)
				_ = txn.Set(lostKey(r.ref), p.value()) // for scrub to tell
			default:
				saved[p.class.kind()] += p.size()
			}
		}
		if from = next; len(refs) == 0 {
			f.saved, f.live, f.size, f.indexed = saved, saved, size, size
			s.save(txn, f.number)
			return txn.Commit(true)
		}
		if err := txn.Commit(false); err != nil {
			return err
		}
	}
}

// recovery takes in what a crash kept from the index.
type recovery struct {
	*Store
	lost bool // there is no index
}

func (s recovery) recoverFile(f *file, size int64, there bool) error {
	end := f.size
	f.size = size
	s.space.used += size
	clean := true
	if size > end {
		var err error
		if clean, err = s.takeIn(f, end); err != nil {
			return err
		}
	}
	if f.alive() == 0 {
		return s.discard(f, there)
	}
	if clean && size < s.cfg.SegmentSize {
		*s.space.grows(f) = f
		h, err := s.files.get(f.number, false)
		if err != nil {
			return err
		}
		f.deferred = h.deferrable()
		return s.files.put(h)
	}
	return nil
}

// takeIn looks at what lies behind the indexed part of f, and reports whether that
// ends with a whole record. Records found become pending, so that load's sync makes
// them durable before it indexes them.
func (s recovery) takeIn(f *file, from int64) (clean bool, err error) {
	h, err := s.files.get(f.number, false)
	if err != nil {
		return false, err
	}
	defer s.files.put(h)
	size := f.size
	s.dirty[f.number], s.ahead[f.number] = true, true
	end, err := scan(h, from, size, func(rec record) error {
		rec.segment = f.number
		if rec.offset == 0 {
			f.class = rec.class.kind()
		}
		s.orders = max(s.orders, rec.order)
		if s.lost {
			rec.class = lostClass(rec.place)
		}
		old, err := s.lookup(rec.ref)
		if err == nil && s.lost && rec.order > old.order {
			if err = s.Delete(rec.ref); err == nil { // it was put anew after a Delete
				err = store.ErrNotFound
			}
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err // a copy that compaction did not finish, or one put twice
		}
		s.pending[rec.ref] = rec.place
		f.live[rec.class.kind()] += rec.size()
		s.changes++
		if len(s.pending) < takenIn {
			return nil
		}
		f.size = int64(rec.offset) + rec.size() // what follows has not been looked at
		return s.sync()
	})
	f.size = size
	s.dirty[f.number], s.ahead[f.number] = true, true
	return end == size, err
}

// lostClass returns the class of a record whose entry is lost: the greatest that it may
// have had.
func lostClass(p place) Class {
	if p.order != 0 {
		return Log
	}
	return Replica
}

// discard forgets a segment in which nothing lives. Where the index takes nothing the
// segment stays, as dead bytes.
func (s recovery) discard(f *file, there bool) error {
	if err := s.syncIndex(); err != nil {
		return nil //nolint:nilerr // as said above
	}
	if there {
		if err := s.files.remove(f.number); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	delete(s.space.files, f.number)
	delete(s.dirty, f.number)
	delete(s.ahead, f.number)
	s.space.used -= f.size
	_ = s.forget(f.number) // the next Open forgets it then
	return nil
}
