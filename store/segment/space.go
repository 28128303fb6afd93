package segment

import (
	"errors"
	"fmt"

	"github.com/aether-lan/aether/store"
)

// Usage says what the space set aside is used for, in bytes. The four parts add up
// to Space; Free is below 0 when Space has been made smaller than what is kept.
type Usage struct {
	Space    int64
	Replicas int64 // records kept until they are deleted
	Cache    int64 // records that may be evicted
	Dead     int64 // deleted, evicted and torn records not yet compacted
	Free     int64
}

// space accounts for the segment files. Its owner holds Store.mu.
type space struct {
	files    map[uint32]*file
	active   [classes]*file // the segment that grows, by class
	last     uint32         // the greatest number given to a segment
	used     int64          // bytes in all files
	reserved int64          // bytes promised to puts that have not begun to write
}

// finish ends the growth of f.
func (s *space) finish(f *file) {
	if s.active[f.class] == f {
		s.active[f.class] = nil
	}
}

// Usage returns what the space is used for.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Space: s.cfg.Space}
	for _, f := range s.space.files {
		u.Replicas += f.live[Replica]
		u.Cache += f.live[Cache]
		u.Dead += f.dead()
	}
	u.Free = u.Space - u.Replicas - u.Cache - u.Dead
	return u
}

// Delete forgets the body of ref; deleting what is not there is no error. The next
// Sync makes it durable; a crash before may bring the body back. The bytes are dead until their segment is compacted.
func (s *Store) Delete(ref store.Ref) error {
	err := s.change(ref, func(p place) (place, bool) { return p, false })
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// SetClass makes the body of ref a replica or cache. It fails with
// [store.ErrNotFound]. The next Sync makes the change durable.
func (s *Store) SetClass(ref store.Ref, class Class) error {
	if class >= classes {
		return fmt.Errorf("segment: class of %s: unknown %s", ref, class)
	}
	return s.change(ref, func(p place) (place, bool) { p.class = class; return p, true })
}

// change gives the entry of ref another value, or removes it where keep is false.
func (s *Store) change(ref store.Ref, f func(place) (p place, keep bool)) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	old, waits := s.pending[ref]
	if !waits {
		var err error
		if old, err = indexed(s.kv, ref); err != nil {
			return fmt.Errorf("segment: change %s: %w", ref, err)
		}
	}
	p, keep := f(old)
	if keep && p == old {
		return nil
	}
	file := s.space.files[old.segment]
	count := func(live *[classes]int64) {
		live[old.class] -= old.size()
		if keep {
			live[p.class] += p.size()
		}
	}
	s.changes++
	count(&file.live)
	if waits {
		if s.pending[ref] = p; !keep {
			delete(s.pending, ref)
		}
		return nil
	}
	count(&file.saved)
	txn := s.kv.Begin()
	defer txn.Discard()
	if keep {
		txn.Set(refKey(ref), p.value())
	} else {
		txn.Delete(refKey(ref))
		txn.Delete(orderKey(old.segment, old.offset))
	}
	s.save(txn, old.segment)
	if err := txn.Commit(false); err != nil {
		s.broken = fmt.Errorf("segment: index could not be changed, reopen the store: %w", err)
		return s.broken
	}
	return nil
}

// makeRoom reserves need bytes. It evicts cache, the oldest segment first, and then
// compacts, until they fit; when nothing is left to evict it fails with [ErrFull].
func (s *Store) makeRoom(need int64) error {
	if s.reserve(need) {
		return nil
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	for !s.reserve(need) {
		s.mu.Lock()
		victim, compact := s.victim(need)
		broken := s.broken
		s.mu.Unlock()
		if broken != nil {
			return broken
		}
		if victim == nil {
			return fmt.Errorf("%w: %d bytes set aside, %d more wanted", ErrFull, s.cfg.Space, need)
		}
		if err := s.sync(); err != nil { // so that all that lies in victim is indexed
			return err
		}
		var err error
		if compact {
			err = s.compact(victim)
		} else {
			err = s.evict(victim)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) reserve(need int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.space.used+s.space.reserved+need > s.cfg.Space {
		return false
	}
	s.space.reserved += need
	return true
}

// victim chooses the segment to take room from and ends its growth: the oldest with
// cache in it, else, if compacting can make the room at all, the one with the most
// dead bytes. Segments being written are left alone.
func (s *Store) victim(need int64) (f *file, compact bool) {
	for _, g := range s.space.files {
		if g.live[Cache] > 0 && g.writers == 0 && (f == nil || g.number < f.number) {
			f = g
		}
	}
	if f == nil {
		compact = true
		room := s.cfg.Space - s.space.used - s.space.reserved
		for _, g := range s.space.files {
			if g.dead() == 0 || g.writers > 0 || g.bad {
				continue
			}
			room += g.dead()
			if f == nil || g.dead() > f.dead() {
				f = g
			}
		}
		if room < need {
			return nil, false
		}
	}
	if f != nil {
		s.space.finish(f)
	}
	return f, compact
}

// record is an entry of one segment.
type record struct {
	ref store.Ref
	place
}

// records returns the live records of segment n in the order of the file. The
// caller holds commit and has synced.
func (s *Store) records(n uint32) (all []record, err error) {
	var refs []store.Ref
	from, to := orderKey(n, 0), orderKey(n+1, 0)
	err = s.kv.Scan(from, to, func(_, v []byte) bool {
		if len(v) == len(store.Ref{}) {
			refs = append(refs, store.Ref(v))
		}
		return true
	})
	for _, ref := range refs {
		p, e := indexed(s.kv, ref)
		if e == nil && p.segment == n {
			all = append(all, record{ref, p})
		} else if !errors.Is(e, store.ErrNotFound) {
			err = errors.Join(err, e)
		}
	}
	return all, err
}

// evict drops the cache in f, and f with it when nothing else lives there. The
// caller holds commit.
func (s *Store) evict(f *file) error {
	all, err := s.records(f.number)
	if err != nil {
		return err
	}
	txn := s.kv.Begin()
	defer txn.Discard()
	for _, r := range all {
		if r.class == Cache {
			txn.Delete(refKey(r.ref))
			txn.Delete(orderKey(r.segment, r.offset))
		}
	}
	kept := f.saved[Cache]
	s.mu.Lock()
	f.live[Cache] -= kept
	f.saved[Cache] = 0
	if f.alive() == 0 {
		txn.Delete(segmentKey(f.number))
	} else {
		s.save(txn, f.number)
	}
	s.mu.Unlock()
	if err := txn.Commit(true); err != nil {
		s.mu.Lock()
		f.live[Cache] += kept
		f.saved[Cache] = kept
		s.mu.Unlock()
		return err
	}
	return s.removeIfDead(f)
}

// compact copies what lives in f to the end of the current segments, makes that
// durable, switches the index, and removes f. Where a record is corrupt f stays as
// it is, for scrub to find. The caller holds commit and has synced.
func (s *Store) compact(f *file) error {
	all, err := s.records(f.number)
	if err != nil {
		return err
	}
	txn := s.kv.Begin()
	defer txn.Discard()
	moved := make([]place, len(all))
	for i, r := range all {
		moved[i], err = s.copy(r)
		if errors.Is(err, ErrCorrupt) {
			f.bad = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("compact: %w", err)
		}
		txn.Set(refKey(r.ref), moved[i].value())
		txn.Set(orderKey(moved[i].segment, moved[i].offset), r.ref[:])
		txn.Delete(orderKey(r.segment, r.offset))
	}
	if _, err := s.syncFiles(); err != nil {
		return err
	}
	s.mu.Lock()
	for i, r := range all {
		s.move(r.place, moved[i])
		s.save(txn, moved[i].segment)
	}
	txn.Delete(segmentKey(f.number))
	s.mu.Unlock()
	if err := txn.Commit(true); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i, r := range all {
			s.move(moved[i], r.place)
		}
		return err
	}
	return s.removeIfDead(f)
}

// copy reads and checks a record and writes it anew.
func (s *Store) copy(r record) (place, error) {
	body, err := s.read(r.ref, r.place)
	if err != nil {
		return place{}, err
	}
	s.behind.admit()
	s.mu.Lock()
	f, p, err := s.next(r.class, len(body))
	s.mu.Unlock()
	if err != nil {
		return place{}, err
	}
	err = s.writeAt(f, p, r.ref, body)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.writers--
	s.dirty[f.number] = true
	return p, err
}

// move counts a record to another segment; the caller holds mu.
func (s *Store) move(from, to place) {
	a, b := s.space.files[from.segment], s.space.files[to.segment]
	a.live[from.class] -= from.size()
	a.saved[from.class] -= from.size()
	b.live[to.class] += to.size()
	b.saved[to.class] += to.size()
}

// removeIfDead removes the file of f when nothing lives in it and its index entry
// is gone.
func (s *Store) removeIfDead(f *file) error {
	s.mu.Lock()
	if f.alive() > 0 || f.writers > 0 {
		s.mu.Unlock()
		return nil
	}
	delete(s.space.files, f.number)
	delete(s.dirty, f.number)
	s.space.used -= f.size
	s.mu.Unlock()
	s.behind.forget(f.number)
	return s.files.remove(f.number)
}
