package node

import (
	"cmp"
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store/gossip"
)

// simWorld is a pool of machines under one clock. Everything happens in the order
// of its queue, one thing after the other, and all chance comes from the seed: the
// machines are real from the drive to the gossip, and only their disks, clocks and
// network are not.
type simWorld struct {
	t     testing.TB
	rng   *rand.Rand
	now   time.Time
	began time.Time
	queue simQueue
	turns int
	hosts []*simHost
	net   simNet
	past  simPast
	met   map[[2]int]bool // who was connected since synchroniser.talk
	trace simTrace
	wrong mistake // planted
	deeds []deed  // of people
	// retention is how long the past is kept, in seconds; zero: longer than a run.
	retention int64
	// grace is how long a machine may be away before its copies are made anew; zero: for
	// ever.
	grace time.Duration
	cause string // what is wrong; empty: nothing yet
	count simCounts
}

// simCounts are what a run did.
type simCounts struct {
	actions, refused, messages, bytes, fetches, crashes, cuts, copies, conflicts, garbage, idle, buried, revoked, left, robbed, excused int
}

func (c *simCounts) add(o simCounts) {
	c.actions += o.actions
	c.refused += o.refused
	c.messages += o.messages
	c.bytes += o.bytes
	c.fetches += o.fetches
	c.crashes += o.crashes
	c.cuts += o.cuts
	c.copies += o.copies
	c.conflicts += o.conflicts
	c.garbage += o.garbage
	c.buried += o.buried
	c.left += o.left
	c.revoked += o.revoked
	c.robbed += o.robbed
	c.excused += o.excused
	c.idle = max(c.idle, o.idle)
}

// simNet is the network: how bad it is, and who can reach whom.
type simNet struct {
	slow                        time.Duration // longest delay of a message
	lost, twice, late, fruitles float64       // chances; late: overtaken by others
	links                       map[[2]int]*simLink
	lives                       uint64 // connections so far
}

// simLink is a connection that stands.
type simLink struct {
	life uint64
	last [2]time.Time // when the last message of each direction arrives
}

type simTurn struct {
	at   time.Time
	n    int
	what string
	f    func()
}

type simQueue []*simTurn

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].n, q[j].n)) < 0
}
func (q simQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(*simTurn)) }
func (q *simQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// simTrace is all that happened, in words, and a hash of it.
type simTrace struct {
	sum   hash.Hash64
	lines []string
}

// simTraceLines is how many lines a failure prints.
const simTraceLines = 120

func (w *simWorld) note(format string, args ...any) {
	line := fmt.Sprintf("%12s  ", w.now.Sub(w.began)) + fmt.Sprintf(format, args...)
	w.trace.sum.Write([]byte(line))
	w.trace.lines = append(w.trace.lines, line)
}

// last returns the last lines of the trace.
func (t *simTrace) last() string {
	return strings.Join(t.lines[max(0, len(t.lines)-simTraceLines):], "\n")
}

// differs returns what two traces have in common before they differ, the end of it,
// and what each has then.
func (t *simTrace) differs(o *simTrace) string {
	n := 0
	for n < min(len(t.lines), len(o.lines)) && t.lines[n] == o.lines[n] {
		n++
	}
	common := t.lines[max(0, n-10):n]
	return fmt.Sprintf("%s\nand then\n%s\nor\n%s", strings.Join(common, "\n"),
		strings.Join(t.lines[n:min(n+5, len(t.lines))], "\n"), strings.Join(o.lines[n:min(n+5, len(o.lines))], "\n"))
}

func newSimWorld(t testing.TB, seed uint64) *simWorld {
	at := time.Date(2025, 1, 31, 14, 5, 0, 0, time.UTC)
	return &simWorld{
		t: t, rng: rand.New(rand.NewPCG(seed, 11)), now: at, began: at,
		net:   simNet{slow: 20 * time.Millisecond, links: map[[2]int]*simLink{}},
		past:  newSimPast(),
		met:   map[[2]int]bool{},
		trace: simTrace{sum: fnv.New64a()},
	}
}

// fail notes the first thing that is wrong.
func (w *simWorld) fail(format string, args ...any) {
	if w.cause == "" {
		w.cause = fmt.Sprintf("at %v: ", w.now.Sub(w.began)) + fmt.Sprintf(format, args...)
		w.note("WRONG: %s", w.cause)
	}
}

func (w *simWorld) after(d time.Duration, what string, f func()) {
	w.turns++
	heap.Push(&w.queue, &simTurn{w.now.Add(d), w.turns, what, f})
}

// within returns a random time up to d.
func (w *simWorld) within(d time.Duration) time.Duration {
	return time.Duration(w.rng.Int64N(int64(d) + 1))
}

func (w *simWorld) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// run lets d pass, or less when something is wrong.
func (w *simWorld) run(d time.Duration) {
	end := w.now.Add(d)
	for w.cause == "" && len(w.queue) > 0 && !w.queue[0].at.After(end) {
		turn := heap.Pop(&w.queue).(*simTurn)
		w.now = turn.at
		turn.f()
	}
	w.now = end
}

func simPair(i, k int) [2]int { return [2]int{min(i, k), max(i, k)} }

// reachable reports whether two machines could talk now.
func (w *simWorld) reachable(i, k int) bool {
	a, b := w.hosts[i], w.hosts[k]
	return i != k && a.m != nil && b.m != nil && a.side == b.side && a.side >= 0
}

// rewire cuts connections that cannot stand any more, and begins those that can.
func (w *simWorld) rewire() {
	for i := range w.hosts {
		for k := range i {
			pair := simPair(i, k)
			link := w.net.links[pair]
			switch {
			case link != nil && !w.reachable(i, k):
				delete(w.net.links, pair)
				w.hosts[i].loses(k, link.life)
				w.hosts[k].loses(i, link.life)
			case link == nil && w.reachable(i, k):
				w.after(10*time.Millisecond+w.within(3*time.Second), "connect", func() { w.connect(i, k) })
			}
		}
	}
}

func (w *simWorld) connect(i, k int) {
	pair := simPair(i, k)
	if !w.reachable(i, k) || w.net.links[pair] != nil {
		return
	}
	w.net.lives++
	w.net.links[pair] = &simLink{life: w.net.lives}
	w.met[pair] = true
	w.note("%s and %s are connected", w.hosts[i], w.hosts[k])
	w.hosts[i].meets(k, w.net.lives)
	w.hosts[k].meets(i, w.net.lives)
}

// part gives each machine a side at random; only those of one side can talk.
func (w *simWorld) part(sides int) {
	for _, h := range w.hosts {
		h.side = w.rng.IntN(sides)
	}
	w.note("the network has %d parts", sides)
	w.rewire()
}

// send carries a message of gossip.
func (w *simWorld) send(from *simHost, p gossip.Packet) {
	to := w.find(p.Peer)
	link := w.net.links[simPair(from.i, to.i)]
	w.count.messages++
	w.count.bytes += len(p.Message)
	if link == nil || link.life != from.peers[to.i] || w.chance(w.net.lost) {
		w.note("%s to %s: %d bytes, lost", from, to, len(p.Message))
		return
	}
	for {
		w.deliver(from, to, link, p)
		if !w.chance(w.net.twice) {
			return
		}
	}
}

func (w *simWorld) deliver(from, to *simHost, link *simLink, p gossip.Packet) {
	at := w.now.Add(time.Millisecond + w.within(w.net.slow))
	way := 0
	if from.i > to.i {
		way = 1
	}
	if at.Before(link.last[way]) && !w.chance(w.net.late) {
		at = link.last[way]
	}
	link.last[way] = at
	w.after(at.Sub(w.now), "message", func() {
		if to.m == nil || to.peers[from.i] != link.life || from.gone || from.robbed { // the last two: see bury, robbed
			return
		}
		h := fnv.New32a()
		h.Write(p.Message)
		w.note("%s to %s: %d bytes %08x", from, to, len(p.Message), h.Sum32())
		to.m.core.HandlePacket(to.clock(), gossip.Packet{Peer: from.id, Message: p.Message})
		to.turn()
	})
}
