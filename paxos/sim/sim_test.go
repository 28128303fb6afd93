package sim

import (
	"os"
	"strconv"
	"testing"
)

// seeds returns how many seeds to run: n, or AETHER_SIM_SEEDS.
func seeds(t *testing.T, n uint64) uint64 {
	t.Helper()
	s := os.Getenv("AETHER_SIM_SEEDS")
	if s == "" {
		return n
	}
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func run(t *testing.T, o Options) Result {
	t.Helper()
	r, err := Run(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRun_HoldsInEverySeed(t *testing.T) {
	bad := 0
	for seed := range seeds(t, 500) {
		r := run(t, Options{Seed: seed})
		if r.Failure != "" {
			t.Errorf("seed %d (%d nodes; %s): %s", seed, r.Nodes, r.Faults, r.Failure)
			if bad++; bad > 5 {
				t.Fatal("and more")
			}
		}
	}
}
