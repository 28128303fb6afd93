package netsim_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netsim"
)

type packet struct{ From, To, Seq int } // To < 0: everybody

// talker sends count packets, one each gap, and remembers what it heard.
type talker struct {
	id, to, count int
	gap           time.Duration
	next          time.Time
	heard         []packet
	at            []time.Time
	out           []packet
	ev            []string
}

func newTalker(id, to, count int, first time.Time, gap time.Duration) *talker {
	return &talker{id: id, to: to, count: count, gap: gap, next: first}
}

func (k *talker) HandlePacket(now time.Time, p packet) {
	k.heard, k.at = append(k.heard, p), append(k.at, now)
	k.ev = append(k.ev, fmt.Sprint("heard ", p.Seq, " from ", p.From))
}

func (k *talker) HandleTimeout(now time.Time) {
	if k.count > 0 && !now.Before(k.next) {
		k.out = append(k.out, packet{k.id, k.to, k.count})
		k.count--
		k.next = k.next.Add(k.gap)
	}
}

func (k *talker) NextTimeout() (time.Time, bool) { return k.next, k.count > 0 }
func (k *talker) Outgoing() []packet             { o := k.out; k.out = nil; return o }
func (k *talker) Events() []string               { e := k.ev; k.ev = nil; return e }

func unicast(_ netsim.ID, p packet) (netsim.ID, bool) { return netsim.ID(p.To), p.To >= 0 }

func fill(s *netsim.Sim[packet, string], nodes, count int) []*talker {
	s.To = unicast
	var ks []*talker
	for i := range nodes {
		k := newTalker(i, -1, count, netsim.Start.Add(time.Duration(s.Rand().Int64N(int64(time.Second)))), time.Second)
		ks = append(ks, k)
		s.Attach(k, "lan")
	}
	return ks
}

func TestSim_SameSeedSameTrace(t *testing.T) {
	run := func(seed uint64) (uint64, netsim.Stats) {
		s := netsim.New[packet, string](seed)
		s.Segment("lan").Faults = netsim.Faults{Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.2, Duplicate: 0.1, Reorder: 0.1}
		fill(s, 20, 10)
		if !s.RunIdle(time.Hour) {
			t.Fatal("not idle after an hour")
		}
		return s.Trace(), s.Stats()
	}
	seen := map[uint64]bool{}
	for seed := range uint64(20) {
		a, sa := run(seed)
		b, sb := run(seed)
		if a != b || sa != sb {
			t.Errorf("seed %d: traces %x and %x, %+v and %+v", seed, a, b, sa, sb)
		}
		seen[a] = true
	}
	if len(seen) != 20 {
		t.Errorf("20 seeds gave %d traces", len(seen))
	}
}

func TestSim_LossShare(t *testing.T) {
	for _, f := range []netsim.Faults{{Loss: 0.25}, {Loss: 0.25, Jitter: time.Millisecond}} {
		s := netsim.New[packet, string](1)
		s.Segment("lan").Faults = f
		fill(s, 10, 500)
		s.RunIdle(time.Hour)
		st := s.Stats()
		if st.Delivered+st.Lost != 10*9*500 {
			t.Fatalf("%+v: %d delivered, %d lost, of 45,000", f, st.Delivered, st.Lost)
		}
		if share := float64(st.Lost) / (10 * 9 * 500); share < 0.24 || share > 0.26 {
			t.Errorf("%+v: lost %.3f, want about 0.25", f, share)
		}
	}
}

func TestSim_PartitionCutsAndHeals(t *testing.T) {
	s := netsim.New[packet, string](1)
	s.Segment("lan").Faults.Delay = time.Millisecond
	ks := fill(s, 4, 10)
	s.Partition([]netsim.ID{0, 1}, []netsim.ID{2})
	s.At(5*time.Second, s.Heal)
	s.RunUntil(5 * time.Second)
	for _, p := range ks[0].heard {
		if p.From != 1 {
			t.Fatalf("node 0 heard node %d through a partition", p.From)
		}
	}
	if len(ks[0].heard) != 5 || len(ks[2].heard) != 0 || len(ks[3].heard) != 0 {
		t.Errorf("heard %d, %d, %d while divided, want 5, 0, 0", len(ks[0].heard), len(ks[2].heard), len(ks[3].heard))
	}
	s.RunIdle(time.Hour)
	if len(ks[2].heard) != 15 {
		t.Errorf("node 2 heard %d in all, want 15 from after the heal", len(ks[2].heard))
	}
}

func TestSim_UnicastAndSegments(t *testing.T) {
	s := netsim.New[packet, string](1)
	s.To = unicast
	a := newTalker(0, 1, 1, netsim.Start, time.Second)  // to b
	b := newTalker(1, -1, 1, netsim.Start, time.Second) // to all near it
	c := newTalker(2, 0, 1, netsim.Start, time.Second)  // to a, out of reach
	s.Attach(a, "left")
	s.Attach(b, "left", "right")
	s.Attach(c, "right")
	if !s.RunIdle(time.Minute) {
		t.Fatal("not idle")
	}
	if fmt.Sprint(a.heard, b.heard, c.heard) != "[{1 -1 1}] [{0 1 1}] [{1 -1 1}]" {
		t.Errorf("heard %v %v %v", a.heard, b.heard, c.heard)
	}
	if s.Stats().Cut != 1 {
		t.Errorf("cut %d, want the packet between segments", s.Stats().Cut)
	}
}

func TestSim_DelayJitterDuplicationReordering(t *testing.T) {
	s := netsim.New[packet, string](3)
	s.Segment("lan").Faults = netsim.Faults{Delay: 10 * time.Millisecond, Jitter: 5 * time.Millisecond, Duplicate: 0.5, Reorder: 0.3, ReorderDelay: time.Second}
	a, b := newTalker(0, -1, 1000, netsim.Start, 10*time.Millisecond), newTalker(1, -1, 0, netsim.Start, 0)
	s.Attach(a, "lan")
	s.Attach(b, "lan")
	s.RunIdle(time.Hour)
	if n := len(b.heard); n < 1400 || n > 1600 {
		t.Errorf("heard %d of 1000, want about 1500", n)
	}
	early, late, swapped := 0, 0, 0
	for i, p := range b.heard {
		sent := netsim.Start.Add(time.Duration(1000-p.Seq) * 10 * time.Millisecond)
		switch d := b.at[i].Sub(sent); {
		case d < 10*time.Millisecond || d > 1015*time.Millisecond || d > 15*time.Millisecond && d < 1010*time.Millisecond:
			t.Fatalf("packet %d took %v", p.Seq, d)
		case d <= 15*time.Millisecond:
			early++
		default:
			late++
		}
		if i > 0 && b.heard[i-1].Seq < p.Seq {
			swapped++
		}
	}
	if share := float64(late) / float64(early+late); share < 0.25 || share > 0.35 || swapped == 0 {
		t.Errorf("held back %.3f, %d out of order", share, swapped)
	}
}

func TestSim_CrashAndRestart(t *testing.T) {
	s := netsim.New[packet, string](1)
	ks := fill(s, 2, 10)
	s.At(3*time.Second, func() { s.Crash(1) })
	s.At(6*time.Second, func() { s.Restart(1, newTalker(1, -1, 2, s.Now(), time.Second)) })
	s.RunIdle(time.Hour)
	if len(ks[0].heard) != 5 || len(ks[1].heard) != 3 {
		t.Errorf("node 0 heard %d, want 3 before the crash and 2 after; node 1's first life heard %d, want 3", len(ks[0].heard), len(ks[1].heard))
	}
}

type spinner struct{ talker }

func (*spinner) HandleTimeout(time.Time)        {}
func (*spinner) NextTimeout() (time.Time, bool) { return netsim.Start, true }

func TestSim_NamesAnEngineThatSpins(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	s := netsim.New[packet, string](1)
	s.Attach(new(spinner), "lan")
	s.RunFor(time.Second)
}

func TestSim_TwoThousandNodes(t *testing.T) {
	s := netsim.New[packet, string](1)
	s.Segment("lan").Faults = netsim.Faults{Delay: time.Millisecond, Loss: 0.01}
	s.Encode = func(b []byte, p packet) []byte { return append(b, byte(p.From), byte(p.Seq)) }
	for i := range 2000 {
		n := 0
		if i%20 == 0 {
			n = 3
		}
		s.Attach(newTalker(i, -1, n, netsim.Start, time.Second), "lan")
	}
	began := time.Now()
	s.RunIdle(time.Hour)
	if got := s.Stats().Sent; got != 300 {
		t.Errorf("sent %d, want 300", got)
	}
	t.Logf("%d deliveries in %v", s.Stats().Delivered, time.Since(began))
}

// The loop drives engines over a Medium, in fake time.
func TestMedium_CarriesTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := netsim.NewMedium[packet](1, netsim.Faults{Delay: 10 * time.Millisecond})
		m.To = unicast
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ks := []*talker{newTalker(0, -1, 3, start, time.Second), newTalker(1, 0, 1, start, time.Second), newTalker(2, -1, 0, start, 0)}
		ended := make(chan error)
		for _, k := range ks {
			c := m.Attach()
			go func() { ended <- loop.Run(ctx, k, c, loop.Config[packet, string]{}) }()
		}
		for range ks {
			if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Run = %v", err)
			}
		}
		if time.Since(start) != time.Hour {
			t.Errorf("ran for %v", time.Since(start))
		}
		if fmt.Sprint(ks[0].heard) != "[{1 0 1}]" || fmt.Sprint(ks[2].heard) != "[{0 -1 3} {0 -1 2} {0 -1 1}]" {
			t.Errorf("heard %v and %v", ks[0].heard, ks[2].heard)
		}
		for i, at := range ks[2].at {
			if want := time.Duration(i)*time.Second + 10*time.Millisecond; at.Sub(start) != want {
				t.Errorf("packet %d at %v, want %v", i, at.Sub(start), want)
			}
		}
	})
}

func TestMedium_OrderLossPartitionClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := netsim.NewMedium[packet](7, netsim.Faults{Delay: time.Millisecond})
		a, b := m.Attach(), m.Attach()
		for i := range 1000 {
			if err := a.WritePacket(packet{Seq: i}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 1000 {
			if p, err := b.ReadPacket(); err != nil || p.Seq != i {
				t.Fatalf("packet %d: %v, %v", i, p, err)
			}
		}
		m.Partition([]netsim.ID{0})
		a.WritePacket(packet{Seq: 1})
		m.Heal()
		m.SetFaults(netsim.Faults{Loss: 1})
		a.WritePacket(packet{Seq: 2})
		m.SetFaults(netsim.Faults{})
		a.WritePacket(packet{Seq: 3})
		if p, err := b.ReadPacket(); err != nil || p.Seq != 3 {
			t.Errorf("heard %v, %v; want only packet 3", p, err)
		}
		for range 5000 {
			a.WritePacket(packet{})
		}
		if b.Dropped() != 5000-4096 {
			t.Errorf("dropped %d", b.Dropped())
		}
		c := m.Attach()
		go func() { time.Sleep(time.Second); c.Close(); c.Close() }()
		if _, err := c.ReadPacket(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("ReadPacket after Close: %v", err)
		}
		if err := c.WritePacket(packet{}); !errors.Is(err, net.ErrClosed) {
			t.Errorf("WritePacket after Close: %v", err)
		}
	})
}

func BenchmarkSim(b *testing.B) {
	s := netsim.New[packet, string](rand.Uint64())
	s.Encode = func(b []byte, p packet) []byte { return append(b, byte(p.From)) }
	for i := range 100 {
		s.Attach(newTalker(i, -1, 0, netsim.Start, 0), "lan")
	}
	s.Attach(newTalker(100, -1, b.N, netsim.Start, time.Second), "lan")
	s.RunIdle(1 << 62)
}
