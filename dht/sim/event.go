package sim

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/dht"
)

// world is a network of real nodes of package dht in made-up time: what it does
// follows from its seed alone.
type world struct {
	rng     *rand.Rand
	now     time.Duration
	seq     uint64
	queue   queue
	hosts   []*host
	byID    map[dht.ID]*host
	net     network
	trace   uint64 // a hash of all that happened
	traffic traffic
	watch   func(h *host, e dht.Event)
	node    dht.Config // of all nodes
	broken  dht.Mutation
}

// traffic counts what was sent. A packet is a message in a record of TLS: its own
// bytes, 29 of the record and the frame, 66 of Ethernet, IP and TCP.
type traffic struct {
	messages, bytes uint64
}

const overhead = 66 + 29

// host is a machine with a node on it, when it runs.
type host struct {
	at     int
	self   dht.Peer
	node   *dht.Node // nil while it does not run
	offset time.Duration
	timer  time.Duration // when the node is to be called, as far as scheduled
	paused time.Duration // until then nothing is done
	left   bool
	known  []dht.Peer // contacts it was given
}

// event is something to happen: a message that arrives, a timer, or anything else.
type event struct {
	at   time.Duration
	seq  uint64
	to   *host
	from dht.Peer
	m    dht.Message
	life uint64 // of timers
	do   func()
}

func newWorld(seed uint64, node dht.Config) *world {
	return &world{
		rng: rand.New(rand.NewPCG(seed, 0x72696e67)), byID: map[dht.ID]*host{}, node: node, trace: 14695981039346656037,
		net: network{delay: time.Millisecond},
	}
}

// mark puts something that happened into the trace.
func (w *world) mark(list ...uint64) {
	for _, v := range list {
		w.trace = (w.trace ^ v) * 1099511628211
		w.trace ^= w.trace >> 31
	}
}

// space returns the circle of the nodes.
func (w *world) space() dht.Space {
	if w.node.Space.Bits() > 0 {
		return w.node.Space
	}
	space, _ := dht.NewSpace(dht.MaxBits)
	return space
}

// point draws a point of the circle.
func (w *world) point() dht.ID {
	var sum [20]byte
	for i := 0; i < len(sum); i += 4 {
		binary.BigEndian.PutUint32(sum[i:], w.rng.Uint32())
	}
	return w.space().Hash(sum[:])
}

// add makes a host that does not run yet.
func (w *world) add() *host {
	id := w.point()
	for w.byID[id] != nil {
		id = w.space().Add(id, w.space().Int(1))
	}
	n := len(w.hosts)
	h := &host{at: n, self: dht.Peer{ID: id}}
	h.self.Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 4000)
	w.hosts = append(w.hosts, h)
	w.byID[id] = h
	return h
}

// start begins a new life of a host's node, which knows these hosts.
func (w *world) start(h *host, contacts ...*host) {
	for _, c := range contacts {
		p := c.self
		p.Incarnation = 0
		h.known = append(h.known, p)
	}
	h.self.Incarnation++
	cfg := w.node
	cfg.Self, cfg.Seed = h.self, w.rng.Uint64()
	h.node = dht.NewBroken(cfg, w.broken)
	h.left, h.timer = false, -1
	w.mark(1, uint64(h.at), h.self.Incarnation)
	h.node.Meet(w.local(h), h.known...)
	w.drain(h)
}

// stop ends it at once: nobody is told.
func (w *world) stop(h *host) {
	w.mark(2, uint64(h.at))
	h.node = nil
}

// leave lets it say farewell first.
func (w *world) leave(h *host) {
	h.node.Leave(w.local(h))
	w.drain(h)
	w.stop(h)
	h.left = true
}

// local is the time of day at a host.
func (w *world) local(h *host) time.Time {
	return time.Unix(1<<30, 0).Add(w.now + h.offset)
}

// jump changes the time of day there.
func (w *world) jump(h *host, by time.Duration) {
	h.offset += by
	w.mark(3, uint64(h.at), uint64(by))
}

// pause stops the process for a while, as a collector of garbage does, or a lid.
func (w *world) pause(h *host, d time.Duration) {
	h.paused = w.now + d
	w.mark(4, uint64(h.at), uint64(d))
}

// after does something later.
func (w *world) after(d time.Duration, do func()) { w.push(event{at: w.now + d, do: do}) }

func (w *world) push(e event) {
	w.seq++
	e.seq = w.seq
	w.queue.push(e)
}

// drain carries away what a node has to send and to tell, and sets its timer.
func (w *world) drain(h *host) {
	if h.node == nil {
		return
	}
	for _, p := range h.node.Outgoing() {
		w.carry(h, p)
	}
	for _, e := range h.node.Events() {
		if w.watch != nil {
			w.watch(h, e)
		}
	}
	t, ok := h.node.NextTimeout()
	if !ok {
		return
	}
	at := max(t.Sub(w.local(h)), 0) + w.now
	if h.timer < 0 || at < h.timer || h.timer < w.now {
		h.timer = at
		w.push(event{at: at, to: h, life: h.self.Incarnation})
	}
}

// carry sends a packet through the network.
func (w *world) carry(h *host, p dht.Packet) {
	var room [2048]byte
	size := len(dht.AppendMessage(room[:0], p.Message))
	w.traffic.messages++
	w.traffic.bytes += uint64(size)
	to := w.byID[p.To.ID]
	if to == nil {
		return // a name that somebody made up
	}
	w.mark(5, uint64(w.now), uint64(h.at), uint64(to.at), uint64(size))
	if w.net.loses(w.rng, h, to) {
		return
	}
	if to.node == nil && w.net.refuses {
		w.after(w.net.latency(w.rng), func() {
			if h.node != nil {
				h.node.Unreachable(w.local(h), p.To)
				w.drain(h)
			}
		})
		return
	}
	w.push(event{at: w.now + w.net.latency(w.rng), to: to, from: h.self, m: p.Message})
}

// run lets time pass until then.
func (w *world) run(until time.Duration) {
	for w.queue.len() > 0 && w.queue.first().at <= until {
		e := w.queue.pop()
		w.now = e.at
		w.happen(e)
	}
	w.now = until
}

func (w *world) happen(e event) {
	h := e.to
	switch {
	case e.do != nil:
		e.do()
		return
	case h.node == nil, e.m == nil && e.life != h.self.Incarnation:
		return
	case h.paused > w.now: // timers first, as in a process that stood still; then what has come, in order
		if e.at = h.paused; e.m != nil {
			e.at++
		}
		w.push(e)
		return
	case e.m != nil:
		h.node.HandleMessage(w.local(h), e.from, e.m)
	default:
		// A timer runs for a duration, whatever the clock says meanwhile; one that was set
		// for later than the present one is of no use any more.
		if h.timer != e.at && h.timer >= w.now {
			return
		}
		h.timer = -1
		h.node.HandleTimeout(w.local(h))
	}
	w.drain(h)
}

// running returns the hosts whose node runs.
func (w *world) running() (list []*host) {
	for _, h := range w.hosts {
		if h.node != nil {
			list = append(list, h)
		}
	}
	return list
}

// queue is a heap of events, by time and order of their making.
type queue struct{ list []event }

func (q *queue) len() int     { return len(q.list) }
func (q *queue) first() event { return q.list[0] }

func (q *queue) less(i, j int) bool {
	a, b := &q.list[i], &q.list[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

func (q *queue) push(e event) {
	q.list = append(q.list, e)
	for i := len(q.list) - 1; i > 0; {
		up := (i - 1) / 2
		if !q.less(i, up) {
			break
		}
		q.list[i], q.list[up] = q.list[up], q.list[i]
		i = up
	}
}

func (q *queue) pop() event {
	top, last := q.list[0], len(q.list)-1
	q.list[0] = q.list[last]
	q.list[last] = event{}
	q.list = q.list[:last]
	for i := 0; ; {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < last; c++ {
			if q.less(c, least) {
				least = c
			}
		}
		if least == i {
			return top
		}
		q.list[i], q.list[least] = q.list[least], q.list[i]
		i = least
	}
}
