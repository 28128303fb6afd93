package replicate

import (
	"container/heap"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
)

// swarmSim is one file on its way from a writer to several machines, over links with a
// rate and a delay, in virtual time.
type swarmSim struct {
	t      testing.TB
	rng    *rand.Rand
	now    time.Time
	pieces int
	size   int64
	hosts  []*swarmHost
	queue  swarmEvents
	seq    int
	trace  uint64
}

// swarmHost is a machine of the simulation.
type swarmHost struct {
	n        int
	id       store.MachineID
	swarm    *Swarm // nil: it has all from the start
	share    *Share
	rate     float64 // bytes a second, each way
	upFree   time.Time
	downFree time.Time
	sent     int64
	received int64
	dead     bool
	liar     bool // sends rot
	finished time.Time
	held     []heldPoll
}

type heldPoll struct {
	from *swarmHost
	ask  Ask
}

type swarmEvent struct {
	at  time.Time
	seq int
	f   func()
}

type swarmEvents []swarmEvent

func (q swarmEvents) Len() int { return len(q) }
func (q swarmEvents) Less(i, j int) bool {
	return q[i].at.Before(q[j].at) || q[i].at.Equal(q[j].at) && q[i].seq < q[j].seq
}
func (q swarmEvents) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *swarmEvents) Push(x any)   { *q = append(*q, x.(swarmEvent)) }
func (q *swarmEvents) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

const (
	swarmDelay = time.Millisecond
	swarmHold  = time.Second
	swarmRate  = 10 << 20
)

func newSwarmSim(t testing.TB, seed uint64, receivers, pieces int) *swarmSim {
	s := &swarmSim{t: t, rng: rand.New(rand.NewPCG(seed, 11)), now: start, pieces: pieces, size: 256 << 10}
	for i := range receivers + 1 {
		s.hosts = append(s.hosts, &swarmHost{n: i, id: store.MachineID{byte('a' + i)}, rate: swarmRate, share: NewShare(pieces)})
	}
	return s
}

func (s *swarmSim) after(d time.Duration, f func()) {
	s.seq++
	heap.Push(&s.queue, swarmEvent{s.now.Add(d), s.seq, f})
}

// begin lets h fetch.
func (s *swarmSim) begin(h *swarmHost) {
	var err error
	h.swarm, err = NewSwarm(s.now, NewPieces(s.pieces), SwarmConfig{
		Self: h.id, Pieces: s.pieces, Size: func(int) int64 { return s.size }, Rand: rand.New(rand.NewPCG(s.rng.Uint64(), 1)),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, o := range s.hosts {
		if !o.dead {
			h.swarm.PeerUp(o.id)
		}
	}
	s.turn(h)
}

// turn lets the engine of h look what there is to do.
func (s *swarmSim) turn(h *swarmHost) {
	if h.dead || h.swarm == nil {
		return
	}
	h.swarm.HandleTimeout(s.now)
	for _, a := range h.swarm.Outgoing() {
		o := s.hosts[a.Peer[0]-'a']
		s.after(swarmDelay, func() { s.serve(o, h, a) })
	}
	if t, ok := h.swarm.NextTimeout(); ok {
		s.after(max(t.Sub(s.now), time.Millisecond), func() {
			if u, ok := h.swarm.NextTimeout(); ok && !u.After(s.now) {
				s.turn(h)
			}
		})
	}
}

func (s *swarmSim) has(h *swarmHost) Pieces {
	if h.swarm != nil {
		return h.swarm.Have()
	}
	all := NewPieces(s.pieces)
	for i := range s.pieces {
		all.Set(i)
	}
	return all
}

// serve answers an Ask of h at o.
func (s *swarmSim) serve(o, h *swarmHost, a Ask) {
	if o.dead || h.dead {
		return
	}
	has := s.has(o)
	o.share.Asks(s.now, h.id, a.Known < 0)
	if a.Want == nil && has.Count() <= a.Known {
		o.held = append(o.held, heldPoll{h, a})
		s.after(swarmHold, func() { s.release(o, func(p heldPoll) bool { return p.ask.ID == a.ID && p.from == h }) })
		return
	}
	chosen := o.share.Choose(s.now, h.id, a.Want, has, a.Fresh, func(int) int64 { return s.size }, a.Limit)
	s.answer(o, h, a, chosen)
}

// release answers polls that were held back.
func (s *swarmSim) release(o *swarmHost, which func(heldPoll) bool) {
	var rest []heldPoll
	for _, p := range o.held {
		if which(p) {
			s.answer(o, p.from, p.ask, nil)
		} else {
			rest = append(rest, p)
		}
	}
	o.held = rest
}

func (s *swarmSim) answer(o, h *swarmHost, a Ask, chosen []int) {
	if o.dead {
		return
	}
	bytes := int64(len(chosen)) * s.size
	o.sent += bytes
	begin := latest(s.now, o.upFree)
	o.upFree = begin.Add(time.Duration(float64(bytes) / o.rate * 1e9))
	arrive := latest(o.upFree, latest(begin, h.downFree).Add(time.Duration(float64(bytes)/h.rate*1e9))).Add(swarmDelay)
	h.downFree = arrive
	r := SwarmAnswer{ID: a.ID, Got: chosen, Has: slices.Clone(s.has(o)), Taken: o.share.Taken(s.now, h.id), Given: o.share.Given()}
	if o.liar && len(chosen) > 0 {
		r.Got, r.Err = nil, errors.New("rot")
	}
	s.after(arrive.Sub(s.now), func() {
		if h.dead || o.dead { // the connection broke
			return
		}
		h.received += bytes
		h.swarm.Answered(s.now, r)
		if h.swarm.Done() && h.finished.IsZero() {
			h.finished = s.now
			for _, o := range s.hosts {
				s.after(swarmDelay, func() { o.share.Leaves(h.id) })
			}
		}
		if len(r.Got) > 0 {
			s.release(h, func(p heldPoll) bool { return h.swarm.Have().Count() > p.ask.Known })
		}
		s.turn(h)
	})
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// kill ends a machine; the others hear of it after a while.
func (s *swarmSim) kill(h *swarmHost) {
	h.dead = true
	s.after(5*time.Second, func() {
		for _, o := range s.hosts {
			if o.swarm != nil && !o.dead {
				o.swarm.PeerDown(h.id)
				s.turn(o)
			}
		}
	})
}

// run goes on until every machine that lives has all, or an hour has passed.
func (s *swarmSim) run() {
	h := fnv.New64a()
	for len(s.queue) > 0 && s.now.Sub(start) < time.Hour {
		e := heap.Pop(&s.queue).(swarmEvent)
		s.now = e.at
		e.f()
		done := true
		for _, o := range s.hosts {
			fmt.Fprint(h, o.sent, o.received, ";")
			done = done && (o.dead || o.swarm == nil || o.swarm.Done())
		}
		if done {
			break
		}
	}
	s.trace = h.Sum64()
	for _, o := range s.hosts {
		if !o.dead && o.swarm != nil && !o.swarm.Done() {
			s.t.Errorf("machine %d has %d of %d pieces after %v", o.n, o.swarm.Have().Count(), s.pieces, s.now.Sub(start))
		}
	}
}

// figures returns the time as a multiple of that of one copy, and the most copies that
// any machine sent.
func (s *swarmSim) figures() (times, copies float64) {
	total := float64(s.pieces) * float64(s.size)
	for _, h := range s.hosts {
		copies = max(copies, float64(h.sent)/total)
		if !h.finished.IsZero() {
			times = max(times, h.finished.Sub(start).Seconds()/(total/swarmRate))
		}
	}
	return times, copies
}

func seeds(n uint64) uint64 {
	if v, err := strconv.ParseUint(os.Getenv("AETHER_SIM_SEEDS"), 10, 64); err == nil {
		return v
	}
	return n
}

// A file to N-1 receivers takes little longer than one copy, and nobody sends much more
// than one.
func TestSwarm_SimulationFigures(t *testing.T) {
	for _, receivers := range []int{1, 2, 3, 4, 6, 9} {
		var worstTime, worstCopies float64
		for seed := range seeds(10) {
			run := func() *swarmSim {
				s := newSwarmSim(t, seed, receivers, 256)
				for _, h := range s.hosts[1:] {
					s.after(time.Duration(s.rng.Int64N(int64(200*time.Millisecond))), func() { s.begin(h) })
				}
				s.run()
				return s
			}
			s := run()
			times, copies := s.figures()
			worstTime, worstCopies = max(worstTime, times), max(worstCopies, copies)
			if times > 1.6 || copies > 1.2 {
				t.Errorf("seed %d: %d receivers: %.2f times one copy, a machine sent %.2f copies", seed, receivers, times, copies)
			}
			if again := run(); again.trace != s.trace {
				t.Errorf("seed %d: two runs differ: %x, %x", seed, s.trace, again.trace)
			}
		}
		t.Logf("%d receivers, 64 MiB: at most %.2f times one copy, %.2f copies sent by one machine", receivers, worstTime, worstCopies)
	}
}

// Machines die, lie, come late, and have links of different rates: all that can have the
// file has it in the end.
func TestSwarm_SimulationTrouble(t *testing.T) {
	for seed := range seeds(60) {
		s := newSwarmSim(t, seed, 2+int(seed%5), 40+int(seed%3)*60)
		for _, h := range s.hosts {
			h.rate *= 0.05 + s.rng.Float64()
		}
		second := s.hosts[1]
		for _, h := range s.hosts[1:] {
			if h == second && seed%2 == 0 {
				continue // it has all from the start, like the writer
			}
			s.after(time.Duration(s.rng.Int64N(int64(20*time.Second))), func() { s.begin(h) })
		}
		if seed%2 == 0 {
			victim := s.hosts[s.rng.IntN(len(s.hosts)-1)]
			s.after(time.Duration(s.rng.Int64N(int64(20*time.Second))), func() { s.kill(victim) })
		} else if len(s.hosts) > 3 {
			second.liar = true
		}
		if s.run(); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// A second machine that begins when the first has gone gets what was given to that.
func TestShare_WhatWasTakenComesBack(t *testing.T) {
	s := NewShare(4)
	one := func(int) int64 { return 1 }
	all := Pieces{0x0f}
	a, b := store.MachineID{'a'}, store.MachineID{'b'}
	if got := s.Choose(start, a, all, all, true, one, 3); len(got) != 3 {
		t.Errorf("a is given %v", got)
	}
	if got := s.Choose(start, b, all, all, true, one, 3); !slices.Equal(got, []int{3}) {
		t.Errorf("b is given %v", got)
	}
	if got := s.Choose(start, b, all, all, false, one, 9); len(got) != 4 {
		t.Errorf("b, that insists, is given %v", got)
	}
	if got := s.Choose(start, a, all, Pieces{0x03}, false, one, 9); len(got) != 2 {
		t.Errorf("a is given %v of what is not here", got)
	}
	late := start.Add(takerTimeout)
	if got := s.Choose(late, b, all, all, true, one, 9); len(got) != 4 {
		t.Errorf("once a asks no more b is given %v", got)
	}
}

func TestPieces_Fits(t *testing.T) {
	for _, c := range []struct {
		p  Pieces
		n  int
		ok bool
	}{
		{Pieces{0xff}, 8, true}, {Pieces{0xff}, 7, false}, {Pieces{0x7f}, 7, true}, {Pieces{0}, 9, false},
		{Pieces{0, 2}, 9, false}, {Pieces{0, 1}, 9, true}, {nil, 0, true}, {nil, 1, false},
	} {
		if got := c.p.Fits(c.n); got != c.ok {
			t.Errorf("%v fits %d: %v", c.p, c.n, got)
		}
	}
}

// Nonsense from a peer harms nobody.
func TestSwarm_Nonsense(t *testing.T) {
	s, err := NewSwarm(start, NewPieces(10), SwarmConfig{Self: store.MachineID{'s'}, Pieces: 10, Size: func(int) int64 { return 1 }})
	if err != nil {
		t.Fatal(err)
	}
	p := store.MachineID{'p'}
	s.PeerUp(p)
	s.HandleTimeout(start)
	asks := s.Outgoing()
	if len(asks) != 1 || asks[0].Want != nil || asks[0].Known != -1 {
		t.Fatalf("asks %+v", asks)
	}
	s.Answered(start, SwarmAnswer{ID: 99, Got: []int{-1, 10, 1 << 40}})
	s.Answered(start, SwarmAnswer{ID: asks[0].ID, Has: Pieces{1}})
	s.HandleTimeout(start)
	if out := s.Outgoing(); len(out) != 0 {
		t.Errorf("asks %+v of one that cannot say what it has", out)
	}
	next, ok := s.NextTimeout()
	if !ok || !next.After(start) {
		t.Errorf("next at %v, %v", next, ok)
	}
	if s.Done() || s.Have().Count() != 0 {
		t.Error("something counts that did not come")
	}
	if _, err := NewSwarm(start, NewPieces(9), SwarmConfig{Self: p, Pieces: MaxPieces + 1, Size: func(int) int64 { return 1 }}); err == nil {
		t.Error("too many pieces")
	}
}

func BenchmarkSwarm_Simulation(b *testing.B) {
	for _, receivers := range []int{2, 4, 9} {
		b.Run(fmt.Sprint(receivers), func(b *testing.B) {
			var times, copies float64
			for i := range b.N {
				s := newSwarmSim(b, uint64(i), receivers, 1024)
				for _, h := range s.hosts[1:] {
					s.begin(h)
				}
				s.run()
				times, copies = s.figures()
			}
			b.ReportMetric(times, "times-one-copy")
			b.ReportMetric(copies, "copies-sent-at-most")
		})
	}
}
