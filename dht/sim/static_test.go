package sim

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/aether-lan/aether/dht"
)

func ring(t testing.TB, cfg StaticConfig) *Static {
	t.Helper()
	s, err := NewStatic(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func lookups(t testing.TB, s *Static, n int) Lookups {
	t.Helper()
	l, err := s.Lookups(t.Context(), n, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Hops.Count() + uint64(l.Failed+l.Wrong); l.Asked != n || got != uint64(n) {
		t.Fatalf("%d lookups: %d asked, %d counted", n, l.Asked, got)
	}
	return l
}

// A lookup goes to half as many nodes as IDs have bits that tell nodes apart.
func TestStatic_MeanHopsAreAtMostHalfLog2N(t *testing.T) {
	for _, k := range []int{10, 14} {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			s := ring(t, StaticConfig{Nodes: 1 << k, Seed: 1})
			l := lookups(t, s, 10_000)
			want := 0.5 * float64(k)
			t.Logf("%.2f hops, half log2 N is %.1f, the paper's formula %.2f", l.Hops.Mean(), want, ExpectedHops(1<<k, s.Config().List))
			if l.Hops.Mean() > want || l.Failed+l.Wrong > 0 {
				t.Errorf("mean %.2f, want %.1f at most; %d failed, %d wrong", l.Hops.Mean(), want, l.Failed, l.Wrong)
			}
			if off := math.Abs(l.Hops.Mean() - ExpectedHops(1<<k, s.Config().List)); off > 0.25 {
				t.Errorf("mean %.2f, off by %.2f", l.Hops.Mean(), off)
			}
		})
	}
}

// Half the nodes die at once, nobody repairs anything.
func TestStatic_NoLookupFailsAfterHalfTheNodesDied(t *testing.T) {
	for _, k := range []int{10, 14} {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			for seed := range uint64(5) {
				s := ring(t, StaticConfig{Nodes: 1 << k, Seed: seed})
				if err := s.Kill(0.5); err != nil {
					t.Fatal(err)
				}
				l := lookups(t, s, 10_000)
				t.Logf("seed %d: %.2f hops, %.2f timeouts", seed, l.Hops.Mean(), l.Timeouts.Mean())
				if l.Failed+l.Wrong > 0 {
					t.Errorf("seed %d: %d failed, %d wrong", seed, l.Failed, l.Wrong)
				}
			}
		})
	}
}

// tables are the real tables of all nodes of a ring.
func tables(s *Static) []*dht.Table {
	list := make([]*dht.Table, len(s.ids))
	for i := range s.ids {
		p := pointers{Static: s}
		p.move(i)
		r := dht.NewRing(p.Self(), s.cfg.List)
		view := dht.View{Self: p.Predecessor()}
		for j := range p.Successors() {
			view.Successors = append(view.Successors, p.Successor(j))
		}
		if len(s.ids) > 1 && !r.Join(view) {
			panic("the node does not fit between its neighbours")
		}
		list[i] = dht.NewTable(s.space, r)
		for f := 1; f <= s.space.Bits(); f++ {
			// The plain way to find a finger: go through all nodes.
			begin := s.space.FingerStart(s.ids[i], f)
			best := 0
			for j, id := range s.ids {
				if s.space.Distance(begin, id).Compare(s.space.Distance(begin, s.ids[best])) < 0 {
					best = j
				}
			}
			list[i].SetFinger(f, s.peer(best))
		}
	}
	return list
}

// What is measured is what a node with a table in memory would do.
func TestStatic_RoutesAsRealTablesDo(t *testing.T) {
	for _, cfg := range []StaticConfig{
		{Nodes: 1}, {Nodes: 2, Bits: 3}, {Nodes: 8, Bits: 3}, {Nodes: 9, Bits: 5, List: 1}, {Nodes: 60, Bits: 6},
		{Nodes: 100, Bits: 37}, {Nodes: 150, Bits: 64, List: 3}, {Nodes: 200, List: 16}, {Nodes: 90, Bits: 159, List: 200},
	} {
		s := ring(t, cfg)
		rng := rand.New(rand.NewPCG(7, 7))
		for i, table := range tables(s) {
			p := pointers{Static: s}
			p.move(i)
			if table.Predecessor() != p.Predecessor() {
				t.Fatalf("%+v: node %d: predecessor %v, want %v", cfg, i, p.Predecessor(), table.Predecessor())
			}
			for range 20 {
				key := drawID(s.space, rng)
				if rng.IntN(4) == 0 {
					key = s.ids[rng.IntN(len(s.ids))]
				}
				owner, _, ok := dht.OwnerBy(&p, key)
				want, wantOK := table.Owner(key)
				if owner != want || ok != wantOK {
					t.Fatalf("%+v: node %d, key %v: owner %v, %v, the table says %v, %v", cfg, i, key, owner, ok, want, wantOK)
				}
				if got, want := dht.NextBy(nil, &p, key, 5), table.Next(key, 5); !slices.Equal(got, want) {
					t.Fatalf("%+v: node %d, key %v: next %v, the table says %v", cfg, i, key, got, want)
				}
			}
		}
	}
}

// The same seed leads to the same figures, on however many processors.
func TestStatic_TheSeedDecides(t *testing.T) {
	run := func(seed uint64, processors int) string {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		s := ring(t, StaticConfig{Nodes: 500, Seed: seed})
		if err := s.Kill(0.3); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(lookups(t, s, 5500))
	}
	if a, b := run(3, 1), run(3, 4); a != b {
		t.Errorf("one seed, two outcomes:\n%s\n%s", a, b)
	}
	if run(3, 1) == run(4, 1) {
		t.Error("two seeds, one outcome")
	}
}

// Where all nodes but a few are dead, lookups find who is left or say that they
// failed; they do not name a dead node, nor go on for ever.
func TestStatic_LittleIsLeft(t *testing.T) {
	for _, c := range []struct {
		cfg   StaticConfig
		share float64
		fail  bool // some lookups may
	}{
		{StaticConfig{Nodes: 1}, 1, false},
		{StaticConfig{Nodes: 2}, 0.5, false},
		{StaticConfig{Nodes: 8, Bits: 3, List: 7}, 1, false}, // all are in all lists
		{StaticConfig{Nodes: 1000, List: 1}, 0.5, true},
		{StaticConfig{Nodes: 1000}, 0.99, true},
	} {
		s := ring(t, c.cfg)
		if err := s.Kill(c.share); err != nil {
			t.Fatal(err)
		}
		l := lookups(t, s, 1000)
		if l.Wrong > 0 || !c.fail && l.Failed > 0 || c.fail && l.Failed == 0 {
			t.Errorf("%+v, %v dead: %d failed, %d wrong", c.cfg, c.share, l.Failed, l.Wrong)
		}
		if tried := l.Hops.Max() + l.Timeouts.Max(); tried > 2*patience {
			t.Errorf("%+v: %d nodes tried", c.cfg, tried)
		}
	}
}

// Each question is at most answered once, and an answer is larger.
func TestStatic_CountsItsTraffic(t *testing.T) {
	l := lookups(t, ring(t, StaticConfig{Nodes: 4096}), 3000)
	if l.Messages != uint64(l.Hops.Mean()*3000+0.5) {
		t.Errorf("%d questions for %.2f hops of 3000 lookups", l.Messages, l.Hops.Mean())
	}
	each := float64(l.Bytes) / float64(l.Messages)
	if least, most := float64(findSize()), float64(findSize()+foundSize(alternatives)); each <= least || each > most {
		t.Errorf("%.0f bytes a question and its answer, want %.0f to %.0f", each, least, most)
	}
}

func TestStaticConfig_Refuses(t *testing.T) {
	for _, cfg := range []StaticConfig{
		{Nodes: -1}, {Nodes: MaxStaticNodes + 1}, {Bits: 2}, {Bits: -1}, {Bits: 161}, {Nodes: 9, Bits: 3}, {List: -1},
	} {
		if _, err := NewStatic(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
	s := ring(t, StaticConfig{})
	if c := s.Config(); c.Nodes != 1000 || c.Bits != 160 || c.List != 20 {
		t.Errorf("defaults are %+v", c)
	}
	for _, share := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		if s.Kill(share) == nil {
			t.Errorf("a share of %v is taken", share)
		}
	}
	for _, cfg := range []LoadConfig{{Nodes: -1}, {Virtual: -1}, {Keys: -1}, {Virtual: 1 << 40}, {Keys: 1 << 40}} {
		if _, err := Load(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}

func TestStatic_LookupsEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	_, err := ring(t, StaticConfig{}).Lookups(ctx, 1<<30, func(int) { cancel(stop) })
	if !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

// The paper's figures of load, in its set-up.
func TestLoad_IsAsInThePaper(t *testing.T) {
	plain, err := Load(LoadConfig{Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if plain.Count() != PaperLoadNodes || plain.Mean() != 50 {
		t.Fatalf("%d nodes, %.2f keys each", plain.Count(), plain.Mean())
	}
	if busiest := float64(plain.Max()) / 50; busiest < 6 || busiest > 14 {
		t.Errorf("the busiest node has %.1f times the mean, the paper %.1f", busiest, PaperBusiest)
	}
	if p := float64(plain.Percentile(0.99)) / 50; math.Abs(p-PaperPercentile99) > 0.5 {
		t.Errorf("99th percentile %.2f, the paper %.1f", p, PaperPercentile99)
	}
	virtual, err := Load(LoadConfig{Virtual: PaperVirtual, Keys: 1_000_000, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if p := float64(virtual.Percentile(0.99)) / 100; math.Abs(p-PaperVirtualPercentile99) > 0.1 {
		t.Errorf("99th percentile with virtual nodes %.2f, the paper %.1f", p, PaperVirtualPercentile99)
	}
	if p := float64(virtual.Percentile(0.01)) / 100; math.Abs(p-PaperVirtualPercentile1) > 0.1 {
		t.Errorf("first percentile with virtual nodes %.2f, the paper %.1f", p, PaperVirtualPercentile1)
	}
}

// Lookups that fail where lists are too short are those that have to, but for some
// that try patience nodes and find no way around those that are cut off.
func TestStatic_FailsOnlyWhereTheListsAreDead(t *testing.T) {
	for _, r := range []int{2, 3, 5, 10} {
		for seed := range uint64(2) {
			s := ring(t, StaticConfig{Nodes: 1000, List: r, Seed: seed})
			if err := s.Kill(0.5); err != nil {
				t.Fatal(err)
			}
			const n = 1000
			got, want := float64(lookups(t, s, n).Failed)/n, s.CutOff()
			t.Logf("lists of %d: %.3f fail, %.3f must", r, got, want)
			if random := 4 * math.Sqrt(want*(1-want)/n); got < want-random || got > 1.25*want+random {
				t.Errorf("lists of %d: %.3f fail, want %.3f", r, got, want)
			}
		}
	}
	if s := ring(t, StaticConfig{}); s.CutOff() != 0 {
		t.Error("where all live, some are cut off")
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if h.Mean() != 0 || h.Max() != 0 || h.Count() != 0 {
		t.Error("an empty one is not")
	}
	for n := range 100 {
		h.Add(n + 1)
	}
	var g Histogram
	g.Add(1000)
	g.Merge(h)
	if h.Mean() != 50.5 || h.Percentile(0) != 1 || h.Percentile(0.01) != 1 || h.Percentile(0.99) != 99 || h.Max() != 100 {
		t.Errorf("%v %d %d %d", h.Mean(), h.Percentile(0.01), h.Percentile(0.99), h.Max())
	}
	if g.Count() != 101 || g.Max() != 1000 {
		t.Errorf("merged: %d, %d", g.Count(), g.Max())
	}
}

// The sizes of the paper and beyond: hops and failures a million nodes cost, and the
// time and memory of measuring it.
func BenchmarkStatic(b *testing.B) {
	for _, k := range []int{10, 14, 17, 20} {
		for _, share := range []float64{0, 0.5} {
			b.Run(fmt.Sprintf("nodes=2^%d/dead=%v", k, share), func(b *testing.B) {
				for b.Loop() {
					s := ring(b, StaticConfig{Nodes: 1 << k, Seed: 1})
					if err := s.Kill(share); err != nil {
						b.Fatal(err)
					}
					l := lookups(b, s, 100_000)
					if l.Failed+l.Wrong > 0 || share == 0 && l.Hops.Mean() > 0.5*float64(k) {
						b.Fatalf("%d failed, %d wrong, %.2f hops", l.Failed, l.Wrong, l.Hops.Mean())
					}
					b.ReportMetric(l.Hops.Mean(), "hops")
					b.ReportMetric(l.Timeouts.Mean(), "timeouts")
				}
			})
		}
	}
}
