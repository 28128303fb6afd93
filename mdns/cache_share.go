package mdns

import (
	"container/heap"
	"net/netip"
)

// source is a sender of records and its share of a Cache. A record is charged to
// whoever sent it first: one who repeats what others say takes nothing over.
type source struct {
	addr    netip.Addr
	entries []*entry
	bytes   int
	rank    int // in shares.ranking
}

// shares are the shares of all senders, ranked so that the largest loses first.
type shares struct {
	by      map[netip.Addr]*source
	ranking ranking
	bytes   int
}

func newShares() *shares { return &shares{by: make(map[netip.Addr]*source)} }

// size is what a record costs beyond the fixed part of an entry.
func (r Record) size() int { return len(r.Name) + len(r.Data) }

// spent reports whether from may have no further record of that size.
func (s *shares) spent(from netip.Addr, size int) bool {
	x := s.by[from]
	return x != nil && (len(x.entries) >= CacheQuota || x.bytes+size > CacheBytes/4)
}

// add charges e to from.
func (s *shares) add(e *entry, from netip.Addr) {
	x := s.by[from]
	if x == nil {
		x = &source{addr: from}
		s.by[from] = x
		heap.Push(&s.ranking, x)
	}
	e.payer, e.slot = x, len(x.entries)
	x.entries = append(x.entries, e)
	x.bytes += e.record.size()
	s.bytes += e.record.size()
	heap.Fix(&s.ranking, x.rank)
}

// drop takes e off the share it was charged to.
func (s *shares) drop(e *entry) {
	x := e.payer
	e.payer = nil
	last := len(x.entries) - 1
	x.entries[e.slot] = x.entries[last]
	x.entries[e.slot].slot = e.slot
	x.entries[last] = nil
	x.entries = x.entries[:last]
	x.bytes -= e.record.size()
	s.bytes -= e.record.size()
	if last > 0 {
		heap.Fix(&s.ranking, x.rank)
		return
	}
	heap.Remove(&s.ranking, x.rank)
	delete(s.by, x.addr)
}

// victim returns the record that makes room: of the sender with the largest share
// the one nearest to its end.
func (s *shares) victim() *entry {
	if len(s.ranking) == 0 {
		return nil
	}
	var v *entry
	for _, e := range s.ranking[0].entries {
		if v == nil || e.expire.Before(v.expire) || e.expire.Equal(v.expire) && e.record.Name < v.record.Name {
			v = e
		}
	}
	return v
}

// ranking is a heap of sources: most records first, then most bytes, then by
// address so that it does not vary.
type ranking []*source

// Len returns the number of sources.
func (r ranking) Len() int { return len(r) }

// Less reports whether source i loses before source j.
func (r ranking) Less(i, j int) bool {
	a, b := r[i], r[j]
	switch {
	case len(a.entries) != len(b.entries):
		return len(a.entries) > len(b.entries)
	case a.bytes != b.bytes:
		return a.bytes > b.bytes
	}
	return a.addr.Less(b.addr)
}

// Swap exchanges two sources.
func (r ranking) Swap(i, j int) { r[i], r[j] = r[j], r[i]; r[i].rank, r[j].rank = i, j }

// Push appends a source.
func (r *ranking) Push(x any) {
	s := x.(*source)
	s.rank = len(*r)
	*r = append(*r, s)
}

// Pop takes the last source away.
func (r *ranking) Pop() any {
	last := len(*r) - 1
	s := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return s
}
