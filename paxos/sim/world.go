package sim

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// world is one run: the clock, what will happen, and who is in it.
type world struct {
	opt     Options
	knobs   knobs
	rng     *rand.Rand
	now     time.Duration
	queue   schedule
	seq     uint64
	hosts   []*host
	clients []*client
	net     network
	check   checker
	broken  mutation
	digest  hash.Hash64
	trace   *tracer
	calm    bool // the liveness phase: nothing fails any more
	failure string
	acts    uint64 // of hosts
	crashes int
}

// happening is something that will happen.
type happening struct {
	at       time.Duration
	tie, seq uint64
	do       func()
}

type schedule []happening

func (s schedule) Len() int      { return len(s) }
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s schedule) Less(i, j int) bool {
	if s[i].at != s[j].at {
		return s[i].at < s[j].at
	}
	if s[i].tie != s[j].tie {
		return s[i].tie < s[j].tie
	}
	return s[i].seq < s[j].seq
}

// Push implements heap.Interface.
func (s *schedule) Push(x any) { *s = append(*s, x.(happening)) }

// Pop implements heap.Interface.
func (s *schedule) Pop() any {
	old := *s
	x := old[len(old)-1]
	old[len(old)-1] = happening{}
	*s = old[:len(old)-1]
	return x
}

// after lets do happen in d. What happens at the same time happens in an order drawn
// from the seed.
func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.queue, happening{w.now + max(d, 0), w.rng.Uint64(), w.seq, do})
}

// exponential draws a time with that mean, at most ten times it.
func (w *world) exponential(mean time.Duration) time.Duration {
	return time.Duration(min(w.rng.ExpFloat64(), 10) * float64(mean))
}

func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }

// has reports whether a fault is enabled, and still made.
func (w *world) has(f fault) bool { return !w.calm && w.knobs.faults.has(f) }

// fail ends the run.
func (w *world) fail(format string, args ...any) {
	if w.failure == "" {
		w.failure = fmt.Sprintf(format, args...)
		w.trace.note(w.now, "FAILURE "+w.failure)
	}
}

// mark mixes what happened into the trace hash.
func (w *world) mark(what string, n ...uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(w.now))
	w.digest.Write(b[:])
	w.digest.Write([]byte(what))
	for _, v := range n {
		binary.LittleEndian.PutUint64(b[:], v)
		w.digest.Write(b[:])
	}
}

// run lets everything happen until end or until done says so.
func (w *world) run(end time.Duration, done func() bool) {
	for w.failure == "" && len(w.queue) > 0 && w.queue[0].at <= end {
		if w.opt.Steps > 0 && w.seq > w.opt.Steps {
			w.fail("liveness: more than %d steps", w.opt.Steps)
			return
		}
		h := heap.Pop(&w.queue).(happening)
		w.now = h.at
		h.do()
		if done != nil && done() {
			return
		}
	}
	if w.failure == "" && (done == nil || w.now < end) {
		w.now = end
	}
}

// newWorld draws a world from the seed.
func newWorld(o Options) *world {
	rng := rand.New(rand.NewPCG(o.Seed, 0x9a7e05))
	m, _ := mutationOf(o.Mutate)
	w := &world{opt: o, rng: rng, knobs: drawKnobs(rng, rand.New(rand.NewPCG(o.Seed, 0xf111))), digest: fnv.New64a(), broken: m}
	if o.Faults != nil {
		w.knobs.limit(*o.Faults)
	}
	if o.Nodes > 0 {
		w.knobs.nodes, w.knobs.members, w.knobs.quorum = o.Nodes, o.Nodes, 0
	}
	if o.Ops > 0 {
		w.knobs.ops = (o.Ops + w.knobs.clients - 1) / w.knobs.clients
	}
	w.trace = newTracer(o.Trace, w.knobs.nodes)
	w.net.init(w)
	w.check.init(w)
	for i := range w.knobs.nodes {
		w.hosts = append(w.hosts, newHost(w, paxos.NodeID(i+1)))
	}
	for _, h := range w.hosts {
		w.after(time.Duration(rng.IntN(100))*time.Millisecond, h.start)
	}
	for i := range w.knobs.clients {
		c := &client{w: w, id: uint64(i + 1), left: w.knobs.ops}
		w.clients = append(w.clients, c)
		w.after(w.exponential(time.Second), c.next)
	}
	if w.knobs.faults.has(glances) {
		w.after(time.Second, func() { w.glance(0) })
	}
	w.plan()
	return w
}
