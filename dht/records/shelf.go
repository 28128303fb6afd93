package records

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// item is a record in memory.
type item struct {
	rec Record
	raw []byte // rec as AppendRecord writes it; rec's slices lie in it
	key dht.ID
	seq uint64 // of the write that made it in this epoch; 0: it came with the group
	// got and left measure the TTL: left of it remained when this node got the record.
	// A lease is counted in full by everybody.
	got  time.Time
	left time.Duration
	// prev is what was there before, at the leader, as long as rec is not done.
	prev *item
}

// done returns the newest of i and what was before it that is on a majority: nil if
// none is.
func (i *item) done(committed uint64) *item {
	for i != nil && i.seq > committed {
		i = i.prev
	}
	return i
}

// expires returns when the record goes by itself. What is left of a deleted one goes
// when its group says so.
func (i *item) expires() (time.Time, bool) {
	if i.rec.TTL == 0 {
		return time.Time{}, false
	}
	return i.got.Add(i.left), true
}

// remaining is what is to be told of the TTL to who takes the record over: 0 is all.
func (i *item) remaining(now time.Time) time.Duration {
	if i.rec.TTL == 0 || i.rec.Holder != "" {
		return 0
	}
	return max(i.got.Add(i.left).Sub(now), 1)
}

// shelf holds the records of an arc in memory, as its rows hold them on disk.
type shelf struct {
	set   uint64 // which rows
	items map[string]*item
	bytes int64
	names []string // sorted, but for
	fresh int      // how many at its end came since
	gone  int      // how many of them are no more
}

func newShelf(set uint64) *shelf { return &shelf{set: set, items: map[string]*item{}} }

// put stores a record; an item replaced is never changed, readers may hold it.
func (s *shelf) put(i *item) {
	if old := s.items[i.rec.Name]; old != nil {
		s.bytes -= old.rec.size()
	} else {
		s.names = append(s.names, i.rec.Name)
		s.fresh++
	}
	s.items[i.rec.Name] = i
	s.bytes += i.rec.size()
}

func (s *shelf) drop(name string) {
	if old := s.items[name]; old != nil {
		s.bytes -= old.rec.size()
		delete(s.items, name)
		s.gone++
	}
}

// sorted returns all names in order.
func (s *shelf) sorted() []string {
	if s.fresh > 0 || s.gone > 0 {
		slices.Sort(s.names)
		s.names = slices.Compact(s.names)
		s.names = slices.DeleteFunc(s.names, func(n string) bool { return s.items[n] == nil })
		s.fresh, s.gone = 0, 0
	}
	return s.names
}

// after returns the names in order from behind name.
func (s *shelf) after(name string) []string {
	list := s.sorted()
	i, found := slices.BinarySearch(list, name)
	if found {
		i++
	}
	return list[i:]
}

// maxPiece bounds the bytes of a message with records; one record may be over it.
const maxPiece = 256 << 10

// piece returns records behind after for which keep holds, in order, and whether they
// are the last.
func (s *shelf) piece(now time.Time, after string, keep func(*item) bool) (list []Entry, last bool) {
	bytes := 0
	for _, n := range s.after(after) {
		i := s.items[n]
		if !keep(i) {
			continue
		}
		if bytes >= maxPiece || len(list) >= maxEntries {
			return list, false
		}
		list = append(list, Entry{n, i.remaining(now), i.raw})
		bytes += len(i.raw) + len(n)
	}
	return list, true
}
