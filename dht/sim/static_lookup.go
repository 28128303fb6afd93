package sim

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/aether-lan/aether/dht"
)

// Lookups is what became of many lookups, each from a node that lives to a random
// point.
type Lookups struct {
	Asked  int
	Failed int // found nobody
	Wrong  int // found a node that does not own the point
	// Hops are the living nodes that were gone to, the owner among them and the node
	// that asks not: the paper's path length. Of lookups that found the owner.
	Hops Histogram
	// Timeouts are the dead nodes that were tried, of the same lookups.
	Timeouts Histogram
	Messages uint64 // questions to nodes, dead ones and repeated ones too
	Bytes    uint64 // of those questions and of the answers, as they go over Ethernet
	// Served are the questions that came to each living node.
	Served Histogram
}

// alternatives is how many nodes an answer names. A node all of whose alternatives
// are dead is asked again for those before them.
const alternatives = 8

// patience is how many nodes a lookup tries before it gives up. Of a million nodes half
// of which are dead, one lookup in a thousand tries more than 64.
const patience = 256

// batch is how many lookups are drawn from one stream.
const batch = 1000

// Lookups looks n random points up, one after the other from the view of the seed,
// on all processors. told, where it is not nil, hears from time to time how many are
// done; it may be called from several goroutines at once. It ends early, with ctx's
// error, when ctx does.
func (s *Static) Lookups(ctx context.Context, n int, told func(done int)) (Lookups, error) {
	var next, done atomic.Int64
	served := make([]atomic.Uint32, len(s.ids))
	reports := make([]Lookups, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i := range reports {
		wg.Go(func() {
			w := newWalker(s, served)
			for ctx.Err() == nil {
				first := int(next.Add(batch)) - batch
				if first >= n {
					break
				}
				w.batch(first/batch, min(batch, n-first))
				if told != nil {
					told(int(done.Add(batch)))
				}
			}
			reports[i] = w.report
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return Lookups{}, fmt.Errorf("dht/sim: lookups: %w", context.Cause(ctx))
	}
	var all Lookups
	for _, r := range reports {
		all.add(r)
	}
	for i := range served {
		if !s.dead[i] {
			all.Served.Add(int(served[i].Load()))
		}
	}
	return all, nil
}

func (l *Lookups) add(m Lookups) {
	l.Asked += m.Asked
	l.Failed += m.Failed
	l.Wrong += m.Wrong
	l.Messages += m.Messages
	l.Bytes += m.Bytes
	l.Hops.Merge(m.Hops)
	l.Timeouts.Merge(m.Timeouts)
}

// Each message travels alone: with 29 bytes of a record of TLS and of its frame, and
// 66 of Ethernet, IP and TCP.
const wireOverhead = 66 + 29

// findSize and foundSize are the bytes of a question and of an answer that names n
// peers, each at an IPv4 address.
func findSize() uint64 { return wireOverhead + uint64(len(dht.AppendMessage(nil, dht.Find{}))) }

func foundSize(n int) uint64 {
	p := dht.Peer{Incarnation: 1, Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10}), 4000)}
	return wireOverhead + uint64(len(dht.AppendMessage(nil, dht.Found{Before: p, Next: slices.Repeat([]dht.Peer{p}, n)})))
}

// walker looks points up as a node does that asks others one by one, each for its
// own pointers: an iterative lookup.
type walker struct {
	pointers
	report Lookups
	served []atomic.Uint32
	find   uint64 // bytes of a question
	found  [alternatives + 1]uint64

	tried    []int      // places that were gone to in this lookup, dead or alive
	path     []int      // the way to the present node
	near     []dht.Peer // an answer
	hops     int
	timeouts int
}

func newWalker(s *Static, served []atomic.Uint32) *walker {
	w := &walker{pointers: pointers{Static: s}, served: served, find: findSize()}
	for n := range w.found {
		w.found[n] = foundSize(n)
	}
	return w
}

// batch does n lookups of a stream.
func (w *walker) batch(stream, n int) {
	rng := w.stream(streamLookups + uint64(stream))
	for range n {
		from := rng.IntN(len(w.ids))
		for w.Static.dead[from] {
			from = rng.IntN(len(w.ids))
		}
		key := drawID(w.space, rng)
		w.report.Asked++
		got, ok := w.lookup(from, key)
		switch {
		case !ok:
			w.report.Failed++
		case got != w.owner(key):
			w.report.Wrong++
		default:
			w.report.Hops.Add(w.hops)
			w.report.Timeouts.Add(w.timeouts)
		}
	}
}

// lookup goes from node to node until one names the owner and that one answers.
func (w *walker) lookup(from int, key dht.ID) (owner int, ok bool) {
	w.tried, w.path, w.hops, w.timeouts = append(w.tried[:0], from), w.path[:0], 0, 0
	w.move(from)
	for {
		if owner, ok = w.ownerAt(key); ok {
			return owner, true
		}
		if !w.onward(key) {
			return 0, false
		}
	}
}

// ownerAt has the present node name the owner, and when that one is dead the next of
// its successors, who own the point after it.
func (w *walker) ownerAt(key dht.ID) (owner int, ok bool) {
	_, place, ok := dht.OwnerBy(&w.pointers, key)
	if !ok {
		return 0, false
	}
	if place < 0 {
		w.answered(0)
		return w.at, true
	}
	w.answered(min(alternatives, w.Successors()-place))
	for ; place < w.Successors(); place++ {
		if p := w.Successor(place); w.goTo(p) || w.alive(p) { // it may be who asks, or have been asked the way
			w.report.Bytes += w.found[alternatives] // it confirms that it is, and names who comes after it
			return placeOf(p), true
		}
	}
	return w.at, place == len(w.ids)-1 // all around the ring: nobody else is left
}

// onward goes to the nearest node before key that the present one names and that
// lives; where it knows none, the node before is asked for another way.
func (w *walker) onward(key dht.ID) bool {
	for limit := key; len(w.tried) < patience; {
		w.near = dht.NextBy(w.near[:0], &w.pointers, limit, alternatives)
		w.answered(len(w.near))
		for _, p := range w.near {
			if w.goTo(p) {
				w.path = append(w.path, w.at)
				w.move(placeOf(p))
				return true
			}
		}
		w.report.Messages++
		w.report.Bytes += w.find
		if len(w.near) == alternatives {
			limit = w.near[len(w.near)-1].ID // ask once more, for those before
			continue
		}
		if len(w.path) == 0 {
			return false
		}
		limit = key
		w.move(w.path[len(w.path)-1])
		w.path = w.path[:len(w.path)-1]
	}
	return false
}

// answered counts an answer that names n peers. The node that looks up needs none
// from itself.
func (w *walker) answered(n int) {
	if w.at != w.tried[0] {
		w.report.Bytes += w.found[n]
	}
}

// alive reports whether a node was gone to in this lookup and lives.
func (w *walker) alive(p dht.Peer) bool {
	return !w.Static.dead[placeOf(p)] && slices.Contains(w.tried, placeOf(p))
}

// goTo reports whether a node answers. One that was tried before is not again.
func (w *walker) goTo(p dht.Peer) bool {
	i := placeOf(p)
	if slices.Contains(w.tried, i) {
		return false
	}
	w.tried = append(w.tried, i)
	w.report.Messages++
	w.report.Bytes += w.find
	if w.Static.dead[i] {
		w.timeouts++
		return false
	}
	w.served[i].Add(1)
	w.hops++
	return true
}
