package link

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
)

// The bounds that a node of the store sets.
const (
	testEvery = 2700 * time.Millisecond
	testDead  = 9300 * time.Millisecond
)

// noticed is within how long everybody must know of a death.
const noticed = 10 * time.Second

// sign is a packet between two machines of the simulation.
type sign struct {
	From, To int
	Pong     bool
	Doubt    string // of whom, and who was told; only for the trace
	note     note
}

// watcher is a machine of the simulation: a vigil, and what connections do for it.
type watcher struct {
	v      *vigil
	n      int
	now    time.Time
	asleep time.Duration // how much later than due it looks
	deaf   bool
	out    []sign
	gone   map[int]time.Time // who counts as dead, since when
}

func testPeer(n int) (id PeerID) {
	binary.BigEndian.PutUint32(id[:], uint32(n+1)*0x01000193) // not in the order of numbers
	id[15] = byte(n)
	return id
}

func (w *watcher) HandlePacket(now time.Time, s sign) {
	w.now = now
	id := testPeer(s.From)
	if w.deaf || w.v.peers[id] == nil {
		return // there is no connection any more
	}
	w.v.heard(now, id, false)
	switch {
	case s.note.Doubt != nil:
		w.v.HandlePacket(now, note{Peer: id, Doubt: s.note.Doubt})
	case !s.Pong:
		w.out = append(w.out, sign{From: w.n, To: s.From, Pong: true})
	}
}

func (w *watcher) HandleTimeout(now time.Time) {
	w.now = now
	w.v.HandleTimeout(now)
}

func (w *watcher) NextTimeout() (time.Time, bool) {
	t, ok := w.v.NextTimeout()
	return t.Add(w.asleep), ok
}

func (w *watcher) Outgoing() []sign {
	for _, n := range w.v.Outgoing() {
		s := sign{From: w.n, To: int(n.Peer[15]), note: n}
		if n.Doubt != nil {
			s.Doubt = fmt.Sprint(*n.Doubt)
		}
		w.out = append(w.out, s)
	}
	out := w.out
	w.out = nil
	return out
}

func (w *watcher) Events() []silent {
	ev := w.v.Events()
	for _, e := range ev {
		w.gone[int(e.Peer[15])] = w.now
		w.v.down(e.Peer)
	}
	return ev
}

// watch is a network of machines, all connected to each other but for what apart says.
func watch(t *testing.T, seed uint64, n int, f netsim.Faults, apart func(a, b int) bool) (*netsim.Sim[sign, silent], []*watcher) {
	sim := netsim.New[sign, silent](seed)
	sim.To = func(_ netsim.ID, s sign) (netsim.ID, bool) { return netsim.ID(s.To), true }
	sim.Encode = func(b []byte, s sign) []byte { return fmt.Append(b, s.From, s.To, s.Pong, s.Doubt) }
	sim.Segment("lan").Faults = f
	var all []*watcher
	for i := range n {
		w := &watcher{v: newVigil(withinBound(testPeer(i), 2, testEvery, testDead)), n: i, gone: map[int]time.Time{}}
		all = append(all, w)
		for j := range n {
			if j != i && (apart == nil || !apart(i, j)) {
				// Connections stand for a while already.
				w.v.up(netsim.Start.Add(-time.Duration(sim.Rand().Int64N(int64(2*time.Second)))), testPeer(j))
			}
		}
		sim.Attach(w, "lan")
	}
	if t.Failed() {
		t.Fatal("seed", seed)
	}
	return sim, all
}

// TestVigil_DeathsAreNoticedByAll has one, several, or a whole neighbourhood die at once,
// at any instant, among 2 to 20 machines.
func TestVigil_DeathsAreNoticedByAll(t *testing.T) {
	t.Parallel()
	var worst time.Duration
	for seed := range uint64(150) {
		n := 2 + int(seed)%19
		sim, all := watch(t, seed, n, netsim.Faults{Delay: time.Millisecond, Jitter: 100 * time.Millisecond}, nil)
		r := sim.Rand()
		sim.RunFor(time.Duration(r.Int64N(int64(2 * time.Minute))))
		ring := make([]int, n)
		for i := range ring {
			ring[i] = i
		}
		slices.SortFunc(ring, func(a, b int) int { return comparePeers(testPeer(a), testPeer(b)) })
		dead := 1 + r.IntN(n-1)
		dying := map[int]time.Time{}
		switch from := r.IntN(n); seed % 3 {
		case 0: // anybody
			for _, i := range r.Perm(n)[:dead] {
				dying[i] = sim.Now()
			}
		case 1: // neighbours
			for i := range dead {
				dying[ring[(from+i)%n]] = sim.Now()
			}
		case 2: // one
			dying[ring[from]] = sim.Now()
		}
		for i := range n {
			if !dying[i].IsZero() {
				sim.Crash(netsim.ID(i))
			}
		}
		if seed%2 == 0 && len(dying) < n-1 { // and another one a little later
			sim.RunFor(time.Duration(r.Int64N(int64(6 * time.Second))))
			for _, i := range r.Perm(n) {
				if dying[i].IsZero() {
					dying[i] = sim.Now()
					sim.Crash(netsim.ID(i))
					break
				}
			}
		}
		sim.RunFor(30 * time.Second)
		for i, w := range all {
			if !dying[i].IsZero() {
				continue
			}
			for j := range n {
				at, gone := w.gone[j]
				switch {
				case i == j:
				case dying[j].IsZero() && gone:
					t.Errorf("seed %d: %d of %d machines counts as dead for %d", seed, j, n, i)
				case !dying[j].IsZero() && !gone:
					t.Errorf("seed %d: %d of %d never noticed the death of %d", seed, i, n, j)
				case gone:
					worst = max(worst, at.Sub(dying[j]))
				}
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("the latest was noticed after %v", worst)
	if worst > noticed {
		t.Errorf("a death was noticed after %v only", worst)
	}
}

// TestVigil_PartitionsAreNoticedByAll cuts the network into two or three parts: each
// machine notices all of the others within the bound, and none of its own.
func TestVigil_PartitionsAreNoticedByAll(t *testing.T) {
	t.Parallel()
	var worst time.Duration
	for seed := range uint64(80) {
		n, parts := 2+int(seed)%19, 2+int(seed)%2
		sim, all := watch(t, seed, n, netsim.Faults{Delay: time.Millisecond, Jitter: 50 * time.Millisecond}, nil)
		r := sim.Rand()
		sim.RunFor(time.Duration(r.Int64N(int64(2 * time.Minute))))
		part, groups := make([]int, n), make([][]netsim.ID, parts)
		for i := range n {
			part[i] = r.IntN(parts)
			groups[part[i]] = append(groups[part[i]], netsim.ID(i))
		}
		sim.Partition(groups...)
		began := sim.Now()
		sim.RunFor(20 * time.Second)
		for i, w := range all {
			for j := range n {
				at, gone := w.gone[j]
				if gone != (part[i] != part[j]) {
					t.Fatalf("seed %d: parts %v: for %d the machine %d counts as dead: %v", seed, part, i, j, gone)
				}
				if gone {
					worst = max(worst, at.Sub(began))
				}
			}
		}
	}
	t.Logf("the latest was noticed after %v", worst)
	if worst > noticed {
		t.Errorf("a partition was noticed after %v only", worst)
	}
}

// TestVigil_DeafMachineBlamesNobodyElse is a cut in one direction: a machine that hears
// nobody gives up all others, and has nobody give up any but itself.
func TestVigil_DeafMachineBlamesNobodyElse(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		n := 3 + int(seed)%18
		sim, all := watch(t, seed, n, netsim.Faults{Delay: time.Millisecond}, nil)
		sim.RunFor(time.Minute)
		deaf := sim.Rand().IntN(n)
		all[deaf].deaf = true
		began := sim.Now()
		sim.RunFor(2 * time.Minute)
		for i, w := range all {
			for j := range n {
				at, gone := w.gone[j]
				switch {
				case i == deaf && i != j && (!gone || at.Sub(began) > noticed):
					t.Errorf("seed %d: the deaf machine noticed %d: %v after %v", seed, j, gone, at.Sub(began))
				case i != deaf && j != deaf && gone:
					t.Errorf("seed %d: %d blames %d", seed, i, j)
				case i != deaf && j == deaf && !gone:
					t.Errorf("seed %d: %d takes the deaf machine for alive", seed, i) // it answers nothing
				}
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
}

// TestVigil_WorksAlongAChain has two groups that only one machine connects: doubts go
// on by way of it, to those who are not told by who doubts first.
func TestVigil_WorksAlongAChain(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		const n, bridge = 9, 4
		// The last machine is known to all; the groups do not know each other.
		side := func(i int) int {
			switch {
			case i == bridge || i == n-1:
				return 2
			case i < bridge:
				return 0
			}
			return 1
		}
		sim, all := watch(t, seed, n, netsim.Faults{Delay: time.Millisecond}, func(a, b int) bool { return side(a)+side(b) == 1 })
		sim.RunFor(time.Duration(sim.Rand().Int64N(int64(time.Minute))))
		sim.Crash(n - 1)
		began := sim.Now()
		sim.RunFor(time.Minute)
		for i, w := range all[:n-1] {
			if at, gone := w.gone[n-1]; !gone || at.Sub(began) > noticed {
				t.Fatalf("seed %d: %d noticed: %v after %v", seed, i, gone, at.Sub(began))
			}
			if len(w.gone) != 1 {
				t.Fatalf("seed %d: for %d also the living are dead: %v", seed, i, w.gone)
			}
		}
	}
}

// TestVigil_WhoSleepsBlamesItself wakes a machine long after what was due: it asks anew
// before it believes that all others have died.
func TestVigil_WhoSleepsBlamesItself(t *testing.T) {
	t.Parallel()
	v := newVigil(withinBound(testPeer(0), 2, testEvery, testDead))
	now := netsim.Start
	v.up(now, testPeer(1))
	v.up(now, testPeer(2))
	v.HandleTimeout(now)
	due, _ := v.NextTimeout()
	v.HandleTimeout(due) // it asks
	if got := len(v.Outgoing()); got == 0 {
		t.Fatal("nobody is asked")
	}
	now = due.Add(time.Hour)
	v.HandleTimeout(now)
	if ev := v.Events(); len(ev) != 0 {
		t.Fatalf("after a sleep it believes at once: %v", ev)
	}
	v.heard(now.Add(time.Millisecond), testPeer(1), false)
	v.HandleTimeout(now.Add(testDead)) // it looks late again, but for less than it asked
	for range 100 {
		now, _ = v.NextTimeout()
		v.HandleTimeout(now)
		if ev := v.Events(); len(ev) > 0 {
			if ev[0].Peer != testPeer(2) {
				t.Errorf("%v counts as dead", ev)
			}
			return
		}
	}
	t.Error("the death of the other is never noticed")
}

// TestVigil_CallsUnderWayAreWatched has a peer that is asked seldom asked as often as a
// neighbour while somebody waits for its answer.
func TestVigil_CallsUnderWayAreWatched(t *testing.T) {
	t.Parallel()
	v := newVigil(withinBound(testPeer(0), 1, testEvery, testDead))
	for i := range 8 {
		v.up(netsim.Start, testPeer(i+1))
	}
	far := v.ring[3]
	if v.peers[far].watched {
		far = v.ring[4]
	}
	if due := v.askAt(far, v.peers[far]).Sub(netsim.Start); due < 10*testEvery {
		t.Fatalf("one that is no neighbour is asked after %v", due)
	}
	v.heard(netsim.Start, far, true)
	if due := v.askAt(far, v.peers[far]).Sub(netsim.Start); due > testEvery {
		t.Errorf("while a call is under way it is asked after %v", due)
	}
}

// TestVigil_IdleTraffic counts what a machine of twenty sends while all are well.
func TestVigil_IdleTraffic(t *testing.T) {
	t.Parallel()
	const n, span = 20, 10 * time.Minute
	sim, all := watch(t, 1, n, netsim.Faults{Delay: time.Millisecond}, nil)
	sim.RunFor(time.Minute)
	before := uint64(0)
	for _, w := range all {
		before += w.v.counts.pings
	}
	sim.RunFor(span)
	pings, doubts := uint64(0), uint64(0)
	for _, w := range all {
		pings, doubts = pings+w.v.counts.pings, doubts+w.v.counts.doubts
	}
	rate := float64(pings-before) / n / span.Seconds()
	t.Logf("%.2f questions a second and machine", rate)
	if rate > 1.1 || doubts > 0 { // 2 neighbours on each side: 40 pairs; the 150 others seldom
		t.Errorf("%.2f questions a second and machine, %d doubts", rate, doubts)
	}
}

// TestVigil_DoubtsWithoutReasonCostLittle has a member claim all the time that all others
// are silent: nobody believes it, and what the others send because of it is bounded.
func TestVigil_DoubtsWithoutReasonCostLittle(t *testing.T) {
	t.Parallel()
	const n = 20
	sim, all := watch(t, 1, n, netsim.Faults{Delay: time.Millisecond}, nil)
	sim.RunFor(time.Minute)
	sent := sim.Stats().Sent
	const span, perSecond = time.Minute, 20
	for i := range int(span/time.Second) * perSecond {
		sim.RunFor(time.Second / perSecond)
		for to := range n - 1 {
			sim.Inject(n-1, netsim.ID(to), sign{From: n - 1, To: to, note: note{Doubt: &doubtMessage{About: testPeer(i % (n - 1))}}})
		}
	}
	rate := float64(sim.Stats().Sent-sent) / n / span.Seconds()
	t.Logf("%.1f messages a second and machine", rate)
	if rate > 80 {
		t.Errorf("%.1f messages a second and machine because of one that doubts", rate)
	}
	for _, w := range all {
		if len(w.gone) > 0 {
			t.Errorf("for %d some have died: %v", w.n, w.gone)
		}
		if w.n != n-1 && w.v.counts.dropped == 0 {
			t.Errorf("%d took every doubt", w.n)
		}
	}
}

func FuzzDoubt(f *testing.F) {
	for _, d := range []doubtMessage{{About: testPeer(1)}, {About: testPeer(1), Told: []PeerID{testPeer(2), testPeer(3)}}} {
		f.Add(d.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parseDoubt(b)
		if err != nil {
			return
		}
		if len(d.Told) > maxTold || string(d.append(nil)) != string(b) {
			t.Errorf("%x became %v", b, d)
		}
	})
}
