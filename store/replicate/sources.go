package replicate

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// Sources knows how quickly machines answer, and says whom to ask for a chunk that
// somebody waits for: the one that is likely to answer first, and when that takes
// longer than it mostly does another one besides ("hedged requests": Dean and Barroso,
// "The Tail at Scale", 2013). It is a pure value and not safe for concurrent use. The
// zero value knows nobody.
type Sources struct {
	of map[store.MachineID]*source
}

// The bounds of Sources.
const (
	// maxSources bounds the machines of which it is known how they answer.
	maxSources = 1024
	// kept is how many latencies of a machine are kept.
	kept = 32
	// HedgeFirst is how long a machine that is not yet known is waited for before
	// another is asked, HedgeMin and HedgeMax bound that for those that are.
	HedgeFirst = 50 * time.Millisecond
	HedgeMin   = 5 * time.Millisecond
	HedgeMax   = 2 * time.Second
	// shunMin and shunMax bound how long a machine that sent something wrong is asked
	// last. It doubles each time.
	shunMin = time.Minute
	shunMax = 4 * time.Hour
	// weight is what a new latency counts in the moving average.
	weight = 0.2
)

// source is how one machine answers.
type source struct {
	mean    time.Duration // moving average
	last    [kept]time.Duration
	n       int // latencies seen
	under   int // requests under way
	wrongs  int // times it sent something wrong
	shunned time.Time
	used    time.Time
}

func (s *Sources) source(now time.Time, id store.MachineID) *source {
	if s.of == nil {
		s.of = map[store.MachineID]*source{}
	}
	x := s.of[id]
	if x == nil {
		if len(s.of) >= maxSources {
			s.dropOldest()
		}
		x = &source{}
		s.of[id] = x
	}
	x.used = now
	return x
}

// dropOldest forgets the machine that was not asked for the longest time.
func (s *Sources) dropOldest() {
	var oldest store.MachineID
	for id, x := range s.of {
		o := s.of[oldest]
		if o == nil || x.used.Before(o.used) || x.used.Equal(o.used) && id.Compare(oldest) < 0 {
			oldest = id
		}
	}
	delete(s.of, oldest)
}

// Asked says that a request to a machine is under way; Answered or GaveUp ends it.
func (s *Sources) Asked(now time.Time, id store.MachineID) { s.source(now, id).under++ }

// Answered says how long a machine took.
func (s *Sources) Answered(now time.Time, id store.MachineID, took time.Duration) {
	x := s.source(now, id)
	x.under = max(0, x.under-1)
	x.last[x.n%kept] = took
	x.n++
	if x.n == 1 {
		x.mean = took
		return
	}
	x.mean += time.Duration(weight * float64(took-x.mean))
}

// GaveUp says that a request ended without an answer after so long: it failed, or
// another machine was quicker. That it would have taken longer counts for the average
// where it is more than that.
func (s *Sources) GaveUp(now time.Time, id store.MachineID, after time.Duration) {
	x := s.source(now, id)
	x.under = max(0, x.under-1)
	if x.n > 0 && after > x.mean {
		x.mean += time.Duration(weight * float64(after-x.mean))
	}
}

// Wrong says that a machine sent what it should not have: it is asked last for a while.
func (s *Sources) Wrong(now time.Time, id store.MachineID) {
	x := s.source(now, id)
	d := shunMin << min(x.wrongs, 16)
	if d <= 0 || d > shunMax {
		d = shunMax
	}
	x.wrongs++
	x.shunned = now.Add(d)
}

// Shunned reports whether a machine is to be asked last.
func (s *Sources) Shunned(now time.Time, id store.MachineID) bool {
	x := s.of[id]
	return x != nil && now.Before(x.shunned)
}

// Order sorts machines: first those in likely, which should have what is wanted, then
// the others; those that sent something wrong come last. Among equals the one comes first
// that should answer first, counting what it has to do already; those not yet known come
// before, so that they become known.
func (s *Sources) Order(now time.Time, ids, likely []store.MachineID, r *rand.Rand) []store.MachineID {
	type ranked struct {
		id   store.MachineID
		rank int
		cost float64
		lot  uint64
	}
	all := make([]ranked, 0, len(ids))
	for _, id := range ids {
		x := ranked{id: id, lot: r.Uint64()}
		if !slices.Contains(likely, id) {
			x.rank++
		}
		if s.Shunned(now, id) {
			x.rank += 2
		}
		if o := s.of[id]; o != nil {
			x.cost = float64(o.mean) * float64(1+o.under)
			if o.n == 0 {
				x.cost = float64(o.under) * float64(HedgeFirst)
			}
		}
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.cost, b.cost), cmp.Compare(a.lot, b.lot))
	})
	out := make([]store.MachineID, len(all))
	for i, x := range all {
		out[i] = x.id
	}
	return out
}

// Hedge returns how long a machine is waited for before another one is asked, too: as
// long as 19 of 20 of its latest answers took.
func (s *Sources) Hedge(id store.MachineID) time.Duration {
	x := s.of[id]
	if x == nil || x.n < 4 {
		return HedgeFirst
	}
	n := min(x.n, kept)
	sorted := slices.Clone(x.last[:n])
	slices.Sort(sorted)
	d := sorted[min(n-1, n*95/100)]
	return min(max(d+d/4, HedgeMin), HedgeMax)
}
