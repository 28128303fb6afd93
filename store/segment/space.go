package segment

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

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
	put      [kinds]*file // the segments that grow by what is put
	moved    [kinds]*file // and by what compaction moves, so that no sync waits for it
	last     uint32       // the greatest number given to a segment
	used     int64        // bytes in all files
	reserved int64        // bytes promised to puts that have not begun to write
	reserve  reserve
}

// inOrder returns the segments by number, so that equal ones are chosen alike each time.
func (s *space) inOrder() []*file {
	return slices.SortedFunc(maps.Values(s.files), func(a, b *file) int { return cmp.Compare(a.number, b.number) })
}

// grows returns where the segment stands that grows by what f does.
func (s *space) grows(f *file) **file {
	if f.moved {
		return &s.moved[f.class]
	}
	return &s.put[f.class]
}

// finish ends the growth of f.
func (s *space) finish(f *file) {
	if active := s.grows(f); *active == f {
		*active = nil
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
// Sync makes it durable; a crash before may bring the body back. The bytes are dead
// until their segment is compacted.
func (s *Store) Delete(ref store.Ref) error {
	err := s.change(ref, func(p place) (place, bool) { return p, false })
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return s.unlose(ref)
}

// unlose forgets that the body of ref was lost.
func (s *Store) unlose(ref store.Ref) error {
	s.mu.Lock()
	losses := s.losses
	s.mu.Unlock()
	if !losses {
		return nil
	}
	if _, err := s.kv.Get(lostKey(ref)); errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err := s.edit(func(txn store.Txn) { _ = txn.Delete(lostKey(ref)) }); err != nil {
		return fmt.Errorf("segment: forget the loss of %s: %w", ref, err)
	}
	return nil
}

// SetClass changes the class of the body of ref. It fails with [store.ErrNotFound].
// The next Sync makes the change durable. What becomes a Log is written anew, and comes
// behind the others.
func (s *Store) SetClass(ref store.Ref, class Class) error {
	if class >= classes {
		return fmt.Errorf("segment: class of %s: unknown %s", ref, class)
	}
	becomesLog := false
	err := s.change(ref, func(p place) (place, bool) {
		if becomesLog = class == Log && p.class != Log; !becomesLog {
			p.class = class
		}
		return p, true
	})
	if err != nil || !becomesLog {
		return err
	}
	body, err := s.Get(ref)
	if err == nil {
		_, err = s.rewrite(ref, body, true)
	}
	if err != nil {
		return fmt.Errorf("segment: class of %s: %w", ref, err)
	}
	return nil
}

// Promote makes the body of ref a replica where it is cache, and reports whether the
// body is here. The next Sync makes the change durable.
func (s *Store) Promote(ref store.Ref) bool {
	p, err := s.lookup(ref)
	if err == nil && p.class == Cache {
		err = s.SetClass(ref, Replica) // it may have been evicted meanwhile
	}
	return err == nil
}

// change gives the entry of ref another class, or removes it where keep is false.
func (s *Store) change(ref store.Ref, f func(place) (p place, keep bool)) error {
	s.commit.Lock()
	defer s.commit.Unlock()
	s.mu.Lock()
	broken := s.broken
	old, waits := s.pending[ref]
	s.mu.Unlock()
	if broken != nil {
		return broken
	}
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
	s.mu.Lock()
	if _, ok := s.moving[ref]; ok && !keep {
		s.moving[ref] = true
	}
	s.mu.Unlock()
	if !waits {
		if err := s.changeIndexed(record{ref, old}, record{ref, p}, keep); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if keep && waits {
		s.pending[ref] = p
	} else if waits {
		delete(s.pending, ref)
	}
	if file := s.space.files[old.segment]; file != nil {
		file.live[old.class.kind()] -= old.size()
		if keep {
			file.live[p.class.kind()] += p.size()
		} else {
			file.bad = false // it may have been this that could not be read
		}
	}
	s.changes++
	s.edits++ // also what waits: Open must not find it, or in its old class
	return nil
}

// changeIndexed commits what change does to the entry old. The caller holds commit.
func (s *Store) changeIndexed(old, now record, keep bool) error {
	txn := s.txn()
	defer txn.Discard()
	old.unset(txn)
	if keep {
		now.set(txn)
	}
	s.mu.Lock()
	f := s.space.files[old.segment]
	if f == nil { // the index is damaged: it names a segment that nobody knows
		f = &file{number: old.segment}
	}
	before := f.saved
	f.saved[old.class.kind()] -= old.size()
	if keep {
		f.saved[now.class.kind()] += now.size()
	}
	if s.space.files[old.segment] != nil {
		s.save(txn, f.number)
	}
	s.mu.Unlock()
	err := txn.Commit(false)
	if err != nil {
		s.mu.Lock()
		f.saved = before
		s.mu.Unlock()
		return fmt.Errorf("segment: change %s: %w", old.ref, err)
	}
	return nil
}

// makeRoom reserves need bytes. Where they do not fit it removes segments in which
// nothing lives, then evicts cache, the oldest segment first, and then compacts;
// when nothing is left to do it fails with [ErrFull].
func (s *Store) makeRoom(need int64) error {
	if s.reserve(need) {
		return nil
	}
	s.mover.Lock()
	defer s.mover.Unlock()
	for !s.reserve(need) {
		if err := s.free(need); err != nil {
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

// unreserve gives back what makeRoom reserved.
func (s *Store) unreserve(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.space.reserved -= n
}

// free takes one step towards room for need bytes. The caller holds mover.
func (s *Store) free(need int64) error {
	f, step := s.victim(need)
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	switch {
	case broken != nil:
		return broken
	case f == nil:
		return fmt.Errorf("%w: %d bytes set aside, %d more wanted", ErrFull, s.cfg.Space, need)
	}
	return step(f)
}

// victim chooses the segment to take room from, ends its growth, and says how. When
// compacting all could not make the room at all it returns nil.
func (s *Store) victim(need int64) (best *file, step func(*file) error) {
	s.writing.Lock() // so that nobody writes to it any more
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.cfg.Space - s.space.used - s.space.reserved
	for _, f := range s.space.inOrder() {
		if f.size > 0 && f.alive() == 0 {
			s.space.finish(f)
			return f, s.retire
		}
		if f.live[Cache] > 0 && (best == nil || f.number < best.number) {
			best, step = f, s.evict
		}
		if !f.bad {
			room += f.dead()
		}
	}
	if best == nil && room >= need {
		best, step = s.mover.file, s.compact
		for _, f := range s.space.inOrder() {
			if s.mover.file == nil && f.dead() > 0 && !f.bad && (best == nil || f.dead() > best.dead()) {
				best = f
			}
		}
	}
	if best != nil {
		s.space.finish(best)
	}
	return best, step
}
