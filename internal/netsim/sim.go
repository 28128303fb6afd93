package netsim

import (
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/internal/loop"
)

// Start is the instant at which every Sim begins.
var Start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Stats counts what became of the packets of a Sim.
type Stats struct {
	Sent      int // packets handed over by engines
	Delivered int // copies that reached an engine
	Lost      int // copies lost by chance
	Cut       int // copies stopped by a partition or a node that was down
}

// Sim is a network of engines in virtual time, all of packet type P and event
// type E. It is not safe for concurrent use.
type Sim[P, E any] struct {
	// To gives the one node that a packet is for. Nil, or ok false, means that
	// every other node on the sender's segments hears it.
	To func(from ID, p P) (to ID, ok bool)
	// Receive makes what a node receives from what another sent: a deep copy,
	// say, or the same packet with the sender's address. Nil hands the value on;
	// receivers then share whatever it points to.
	Receive func(from, to ID, p P) P
	// Event hears every event. Nil drops them. Events are part of the trace.
	Event func(id ID, now time.Time, e E)
	// Encode appends what the trace keeps of a packet. Nil means fmt's %+v, which
	// is slow and must not print pointers.
	Encode func(b []byte, p P) []byte

	rand     *rand.Rand
	now      int64
	seq      uint64
	queue    queue[P, E]
	nodes    []*Node[P, E]
	segments map[string]*Segment[P, E]
	parts    partition
	trace    tracer
	stats    Stats
}

// Segment is a medium: what one node on it sends, all others hear.
type Segment[P, E any] struct {
	// Faults may be changed at any time; it holds for packets sent from then on.
	Faults Faults

	name  string
	nodes []*Node[P, E]
}

// Node is one engine on the network.
type Node[P, E any] struct {
	// ID is the node's number.
	ID ID

	engine   loop.Engine[P, E]
	segments []*Segment[P, E]
	down     bool
	due      int64 // the instant of the timeout in the queue; -1: none
	spins    int   // timeouts in a row without time passing
}

// New returns an empty network whose chances are drawn from seed.
func New[P, E any](seed uint64) *Sim[P, E] {
	return &Sim[P, E]{
		rand:     rand.New(rand.NewPCG(seed, 0x6e657473696d)),
		segments: make(map[string]*Segment[P, E]),
		trace:    newTracer(),
	}
}

// Rand returns the simulation's source of chance, for tests that want their own
// decisions to follow from the seed.
func (s *Sim[P, E]) Rand() *rand.Rand { return s.rand }

// Now returns the virtual instant.
func (s *Sim[P, E]) Now() time.Time { return Start.Add(time.Duration(s.now)) }

// Elapsed returns the virtual time since the start.
func (s *Sim[P, E]) Elapsed() time.Duration { return time.Duration(s.now) }

// Stats returns the counters.
func (s *Sim[P, E]) Stats() Stats { return s.stats }

// Trace returns a hash over every packet sent or delivered, every event and
// their instants. Equal seeds and equal code give equal traces.
func (s *Sim[P, E]) Trace() uint64 { return s.trace.h.Sum64() }

// Segment returns the segment of that name, a new one if there is none.
func (s *Sim[P, E]) Segment(name string) *Segment[P, E] {
	g := s.segments[name]
	if g == nil {
		g = &Segment[P, E]{name: name}
		s.segments[name] = g
	}
	return g
}

// Attach puts an engine on the named segments and returns its node. What the
// engine has to say already is sent now.
func (s *Sim[P, E]) Attach(e loop.Engine[P, E], segments ...string) *Node[P, E] {
	n := &Node[P, E]{ID: ID(len(s.nodes)), engine: e, due: -1}
	for _, name := range segments {
		g := s.Segment(name)
		g.nodes = append(g.nodes, n)
		n.segments = append(n.segments, g)
	}
	s.nodes = append(s.nodes, n)
	s.drain(n)
	return n
}

// Do calls f now, as a user of the node's engine would, and then carries away
// what the engine has to say.
func (s *Sim[P, E]) Do(id ID, f func(now time.Time)) {
	f(s.Now())
	s.drain(s.nodes[id])
}

// At calls f when the virtual time since the start is d, or at once if that is past.
func (s *Sim[P, E]) At(d time.Duration, f func()) {
	s.push(arrival[P, E]{at: max(int64(d), s.now), call: f})
}

// Inject delivers p to one node now, as if sent by from.
func (s *Sim[P, E]) Inject(from, to ID, p P) { s.deliver(s.nodes[from], s.nodes[to], p) }

// Crash takes the node off the network: it hears nothing, and its timers stop.
// What it has in memory is the test's to keep or to lose; see Restart.
func (s *Sim[P, E]) Crash(id ID) { s.nodes[id].down, s.nodes[id].due = true, -1 }

// Restart puts the node back with engine e, which may be the one it had.
func (s *Sim[P, E]) Restart(id ID, e loop.Engine[P, E]) {
	n := s.nodes[id]
	n.down, n.engine = false, e
	s.drain(n)
}

// Partition divides the network: only nodes of one group hear each other. Nodes
// that no group names form one more group. Packets under way are cut as well.
func (s *Sim[P, E]) Partition(groups ...[]ID) { s.parts = newPartition(groups) }

// Heal ends a partition.
func (s *Sim[P, E]) Heal() { s.parts = nil }

// RunFor runs until d of virtual time has passed.
func (s *Sim[P, E]) RunFor(d time.Duration) { s.RunUntil(time.Duration(s.now) + d) }

// RunUntil runs everything due up to and at d after the start.
func (s *Sim[P, E]) RunUntil(d time.Duration) {
	for len(s.queue) > 0 && s.queue[0].at <= int64(d) {
		s.step()
	}
	s.now = max(s.now, int64(d))
}

// RunIdle runs until nothing is due any more, at most until limit after the
// start, and reports whether it became idle.
func (s *Sim[P, E]) RunIdle(limit time.Duration) bool {
	for len(s.queue) > 0 {
		if s.queue[0].at > int64(limit) {
			return false
		}
		s.step()
	}
	return true
}

func (s *Sim[P, E]) push(a arrival[P, E]) {
	s.seq++
	a.seq = s.seq
	s.queue.push(a)
}

// step does the earliest thing in the queue.
func (s *Sim[P, E]) step() {
	a := s.queue.pop()
	if a.at > s.now {
		s.now = a.at
	}
	switch {
	case a.call != nil:
		a.call()
	case a.p == nil:
		s.timeout(a.to, a.at)
	case a.to != nil:
		s.deliver(a.from, a.to, *a.p)
	default:
		s.broadcast(&a)
	}
}

// timeout wakes n, unless its engine has changed its mind since.
func (s *Sim[P, E]) timeout(n *Node[P, E], at int64) {
	if n.down || n.due != at {
		return
	}
	n.due = -1
	n.engine.HandleTimeout(s.Now())
	s.drain(n)
	if n.due != s.now {
		n.spins = 0
	} else if n.spins++; n.spins > 1000 {
		panic(fmt.Sprintf("netsim: node %d asks for a timeout at %v again and again", n.ID, s.Now()))
	}
}

// broadcast delivers a packet to everybody on its segment at once.
func (s *Sim[P, E]) broadcast(a *arrival[P, E]) {
	for _, n := range a.seg.nodes {
		if n == a.from {
			continue
		}
		if a.seg.Faults.lost(s.rand) {
			s.stats.Lost++
			continue
		}
		s.deliver(a.from, n, *a.p)
	}
}

func (s *Sim[P, E]) deliver(from, to *Node[P, E], p P) {
	if to.down || s.parts.cut(from.ID, to.ID) {
		s.stats.Cut++
		return
	}
	s.stats.Delivered++
	s.trace.note('r', s.now, to.ID)
	if s.Receive != nil {
		p = s.Receive(from.ID, to.ID, p)
	}
	to.engine.HandlePacket(s.Now(), p)
	s.drain(to)
}

// drain carries away what n's engine has to say and sets its timer.
func (s *Sim[P, E]) drain(n *Node[P, E]) {
	for _, p := range n.engine.Outgoing() {
		if !n.down {
			s.send(n, p)
		}
	}
	for _, e := range n.engine.Events() {
		s.trace.note('e', s.now, n.ID)
		s.trace.text = fmt.Appendf(s.trace.text[:0], "%+v", e)
		s.trace.h.Write(s.trace.text)
		if s.Event != nil {
			s.Event(n.ID, s.Now(), e)
		}
	}
	t, ok := n.engine.NextTimeout()
	if !ok || n.down {
		n.due = -1
		return
	}
	if at := max(int64(t.Sub(Start)), s.now); at != n.due {
		n.due = at
		s.push(arrival[P, E]{at: at, to: n})
	}
}

// send puts a packet on the wire.
func (s *Sim[P, E]) send(n *Node[P, E], p P) {
	s.stats.Sent++
	s.trace.note('s', s.now, n.ID)
	if s.Encode != nil {
		s.trace.text = s.Encode(s.trace.text[:0], p)
	} else {
		s.trace.text = fmt.Appendf(s.trace.text[:0], "%+v", p)
	}
	s.trace.h.Write(s.trace.text)
	if s.To != nil {
		if id, ok := s.To(n.ID, p); ok {
			s.unicast(n, id, &p)
			return
		}
	}
	for _, g := range n.segments {
		if !g.Faults.individual() {
			s.push(arrival[P, E]{at: s.now + int64(g.Faults.Delay), from: n, seg: g, p: &p})
			continue
		}
		for _, to := range g.nodes {
			if to != n {
				s.transmit(g, n, to, &p)
			}
		}
	}
}

// unicast sends to one node, over the first segment both are on. A node that
// shares none is out of reach, and counts as cut.
func (s *Sim[P, E]) unicast(from *Node[P, E], id ID, p *P) {
	if id >= 0 && int(id) < len(s.nodes) {
		to := s.nodes[id]
		for _, g := range from.segments {
			for _, h := range to.segments {
				if g == h {
					s.transmit(g, from, to, p)
					return
				}
			}
		}
	}
	s.stats.Cut++
}

// transmit queues the copies of a packet that one receiver will get.
func (s *Sim[P, E]) transmit(g *Segment[P, E], from, to *Node[P, E], p *P) {
	if g.Faults.lost(s.rand) {
		s.stats.Lost++
		return
	}
	for range g.Faults.copies(s.rand) {
		at := s.now + int64(g.Faults.latency(s.rand))
		s.push(arrival[P, E]{at: at, from: from, to: to, seg: g, p: p})
	}
}

// tracer hashes what happens.
type tracer struct {
	h    hash.Hash64
	head [17]byte
	text []byte
}

func newTracer() tracer { return tracer{h: fnv.New64a()} }

func (t *tracer) note(kind byte, now int64, id ID) {
	t.head[0] = kind
	binary.BigEndian.PutUint64(t.head[1:], uint64(now))
	binary.BigEndian.PutUint64(t.head[9:], uint64(id))
	t.h.Write(t.head[:])
}
