package segment

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/aether-lan/aether/store"
)

const (
	// sliceRecords bounds the records that are moved, or evicted, at once: while
	// their entries are changed nobody else changes one.
	sliceRecords = 512
	// sliceBytes is how much is moved at once when room is needed.
	sliceBytes = 8 << 20
	// worthwhile is the part of a segment, as 1 of so many, that is dead when it is
	// compacted though no room is needed.
	worthwhile = 4
)

// mover says where compaction stands. Who removes segments or moves records holds it.
type mover struct {
	sync.Mutex
	file   *file  // what is being compacted, or nil
	next   uint32 // the offset in it from which on records have not been moved
	copied int64  // bytes moved from it
}

// CompactSome compacts a slice: it moves about limit bytes of live records, at least
// one, away from the segment of which the greatest part is dead, if that is a quarter
// or more, and removes the segment when nothing is left in it. freed is what files
// became shorter by, without what was moved; more says that another call will find
// something to do. It goes on where the last call, also of another caller, stopped.
// Nobody else waits for its reads, writes and syncs, but all share the disk: slices of
// 1 MiB with pauses as long as they took are hardly felt. Records that cannot be read stay
// where they are until Repair or Delete. Errors wrap those of the file system; the
// next call tries again.
func (s *Store) CompactSome(limit int64) (freed int64, more bool, err error) {
	m := &s.mover
	m.Lock()
	defer m.Unlock()
	s.mu.Lock()
	broken := s.broken
	s.mu.Unlock()
	if broken != nil {
		return 0, false, broken
	}
	if m.file == nil {
		if err := s.begin(s.shabbiest(true)); err != nil || m.file == nil {
			return 0, false, err
		}
	}
	freed, err = s.slice(limit)
	if err != nil {
		return 0, false, fmt.Errorf("segment: compact: %w", err)
	}
	return freed, m.file != nil || s.shabbiest(false) != nil, nil
}

// shabbiest returns the segment of which the greatest part is dead, if compacting it
// is worthwhile, and ends its growth if asked to.
func (s *Store) shabbiest(finish bool) (best *file) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	share := func(f *file) float64 { return float64(f.dead()) / float64(f.size) }
	for _, f := range s.space.inOrder() {
		if f.size == 0 || f.dead() == 0 || f.alive() > 0 && (f.bad || f.dead() < f.size/worthwhile) {
			continue
		}
		if best == nil || share(f) > share(best) {
			best = f
		}
	}
	if finish && best != nil {
		s.space.finish(best)
	}
	return best
}

// begin makes f, which grows no more, the segment to compact.
func (s *Store) begin(f *file) error {
	if f == nil {
		return nil
	}
	if err := s.settle(f); err != nil {
		return err
	}
	s.mover.file, s.mover.next, s.mover.copied = f, 0, 0
	return nil
}

// settle brings all that lies in f to the index.
func (s *Store) settle(f *file) error {
	s.syncing.Lock() // what a sync is about to index counts as saved before it is
	defer s.syncing.Unlock()
	s.mu.Lock()
	waits := f.alive() > f.saved[Replica]+f.saved[Cache]
	s.mu.Unlock()
	if !waits {
		return nil
	}
	return s.sync()
}

// compact takes one slice of compacting f because room is needed.
func (s *Store) compact(f *file) error {
	if s.mover.file != f {
		if err := s.begin(f); err != nil {
			return err
		}
	}
	_, err := s.slice(sliceBytes)
	return err
}

// slice moves about limit bytes out of the mover's file. The caller holds mover.
func (s *Store) slice(limit int64) (freed int64, err error) {
	m := &s.mover
	refs, next, err := s.refs(m.file.number, m.next)
	if err != nil {
		return 0, err
	}
	moves, stopped, err := s.copyAll(refs, limit)
	if err != nil {
		return 0, err
	}
	var copied int64
	for _, v := range moves {
		copied += v.to.size()
	}
	m.copied += copied
	if stopped != 0 {
		next = stopped
	}
	if m.next = next; len(refs) > 0 {
		return 0, nil
	}
	f := m.file
	m.file = nil
	s.mu.Lock()
	f.bad = f.alive() > 0
	left := f.alive() > 0
	s.mu.Unlock()
	if left {
		return 0, nil
	}
	return f.size - m.copied, s.retire(f)
}

// at is a ref and the offset where it lies.
type at struct {
	ref    store.Ref
	offset uint32
}

// refs returns up to sliceRecords of what the index has in segment n from an offset
// on, and the offset behind them.
func (s *Store) refs(n, from uint32) (all []at, next uint32, err error) {
	next = from
	err = s.kv.Scan(orderKey(n, from), orderKey(n+1, 0), func(k, v []byte) bool {
		if _, offset, err := parseOrderKey(k); err == nil && len(v) == len(store.Ref{}) {
			all = append(all, at{store.Ref(v), offset})
			next = offset + 1
		}
		return len(all) < sliceRecords
	})
	return all, next, err
}

// move is a record that has been copied.
type move struct {
	ref      store.Ref
	from, to place
	becomes  bool // what the class of to says, not what its entry does
}

// copyAll moves what lives of refs, which lie in the mover's file, until limit bytes
// have been copied; then stopped is the offset of the first that was not. The copies
// are synced and checked before the index is switched to them.
func (s *Store) copyAll(refs []at, limit int64) (moves []move, stopped uint32, err error) {
	s.watch(refs...)
	defer s.unwatch()
	for _, r := range refs {
		runtime.Gosched() // else it may be 10 ms until others have their turn
		p, err := indexed(s.kv, r.ref)
		if errors.Is(err, store.ErrNotFound) || err == nil && !p.at(place{segment: s.mover.file.number, offset: r.offset}) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		if limit < p.size() && len(moves) > 0 {
			stopped = r.offset
			break
		}
		body, err := s.read(r.ref, p)
		if errors.Is(err, ErrCorrupt) {
			continue // it stays where it is
		}
		if err != nil {
			return nil, 0, err
		}
		to, ok, err := s.copy(r.ref, p, body)
		if err != nil {
			return nil, 0, err
		}
		if ok {
			moves = append(moves, move{r.ref, p, to, false})
			limit -= p.size()
		}
	}
	return moves, stopped, s.finishMoves(moves)
}

// watch makes whoever deletes one of refs from here on say so in moving. Who was about
// to when it began has done so when it returns.
func (s *Store) watch(refs ...at) {
	s.mu.Lock()
	for _, r := range refs {
		s.moving[r.ref] = false
	}
	s.mu.Unlock()
	s.commit.Lock()
	s.commit.Unlock() //nolint:staticcheck // to wait is all
}

func (s *Store) unwatch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.moving)
}

// copy writes the body of ref, which lies at from, anew, unless it is being deleted.
func (s *Store) copy(ref store.Ref, from place, body []byte) (to place, ok bool, err error) {
	if err := s.behind.admit(); err != nil {
		return place{}, false, err
	}
	s.mu.Lock()
	if s.moving[ref] {
		// A copy behind what Open does not look at would bring it back.
		s.mu.Unlock()
		return place{}, false, nil
	}
	f, to, err := s.next(from, true)
	s.mu.Unlock()
	if err != nil {
		return place{}, false, err
	}
	err = s.writeAt(f, to, ref, body)
	return to, err == nil, err
}

// finishMoves makes copies durable, reads them back, and switches the index to them.
func (s *Store) finishMoves(moves []move) error {
	var numbers []uint32
	for _, v := range moves {
		if len(numbers) == 0 || numbers[len(numbers)-1] != v.to.segment {
			numbers = append(numbers, v.to.segment)
		}
	}
	if err := s.syncFiles(numbers); err != nil {
		return err
	}
	for _, v := range moves {
		runtime.Gosched()
		if _, err := s.read(v.ref, v.to); err != nil {
			return fmt.Errorf("copy of %s: %w", v.ref, err)
		}
	}
	return s.switchTo(moves)
}

// switchTo switches the index to copies of what has not been deleted or moved
// meanwhile. The switch is not durable; retire makes it so before it removes a file.
func (s *Store) switchTo(moves []move) error {
	if len(moves) == 0 {
		return nil
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	txn := s.txn()
	defer txn.Discard()
	var done []move
	for _, v := range moves {
		now, err := indexed(s.kv, v.ref)
		if errors.Is(err, store.ErrNotFound) || err == nil && !now.at(v.from) {
			continue
		}
		if err != nil {
			return err
		}
		if v.from = now; !v.becomes {
			v.to.class = now.class
		}
		record{v.ref, v.from}.unset(txn)
		record{v.ref, v.to}.set(txn)
		done = append(done, v)
	}
	s.mu.Lock()
	numbers := map[uint32]bool{}
	for _, v := range done {
		s.space.files[v.from.segment].saved[v.from.class.kind()] -= v.from.size()
		s.space.files[v.to.segment].saved[v.to.class.kind()] += v.to.size()
		numbers[v.from.segment], numbers[v.to.segment] = true, true
	}
	for n := range numbers {
		s.save(txn, n)
	}
	s.mu.Unlock()
	err := txn.Commit(false)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range done {
		from, to := s.space.files[v.from.segment], s.space.files[v.to.segment]
		if err != nil {
			from.saved[v.from.class.kind()] += v.from.size()
			to.saved[v.to.class.kind()] -= v.to.size()
			continue
		}
		from.live[v.from.class.kind()] -= v.from.size()
		to.live[v.to.class.kind()] += v.to.size()
	}
	return err
}
