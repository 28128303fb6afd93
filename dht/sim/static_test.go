package sim

import (
	"fmt"
	"math"
	"testing"
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
