package sim

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
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

// each runs do for every seed below n, on all cores.
func each(n uint64, do func(seed uint64)) {
	next := make(chan uint64)
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for s := range next {
				do(s)
			}
		})
	}
	for s := range n {
		next <- s
	}
	close(next)
	all.Wait()
}

// Every seed holds, and every seed run twice is the same run.
func TestRun_HoldsInEverySeedTwice(t *testing.T) {
	each(seeds(t, 500), func(seed uint64) {
		r := run(t, Options{Seed: seed})
		if r.Failure != "" {
			t.Errorf("seed %d (%d nodes; %s), trace hash %016x: %s", seed, r.Nodes, r.Faults, r.Hash, r.Failure)
		}
		if again := run(t, Options{Seed: seed}); again != r {
			t.Errorf("seed %d gives %+v, and then %+v", seed, r, again)
		}
	})
}

// Every fault is drawn, and things happen: a world that does nothing finds nothing.
func TestRun_SeedsDiffer(t *testing.T) {
	drawn := map[string]int{}
	chosen, answers := 0, 0
	for seed := range uint64(60) {
		r := run(t, Options{Seed: seed})
		for f := range strings.SplitSeq(r.Faults.String(), ",") {
			drawn[f]++
		}
		chosen += r.Chosen
		answers += r.Answers
	}
	for _, f := range faultNames {
		if drawn[f] < 5 {
			t.Errorf("%s is drawn %d times in 60", f, drawn[f])
		}
	}
	if chosen < 60*40 || answers < 60*40 {
		t.Errorf("%d slots chosen and %d answers in 60 runs", chosen, answers)
	}
}

func TestRun_UnknownMutation(t *testing.T) {
	if _, err := Run(Options{Mutate: "nosuch"}); err == nil {
		t.Error("a mutation that is not there is made")
	}
}

// A crash at every boundary: before and after each thing that a host of a small
// cluster does in its first operations.
func TestRun_CrashAtEveryStep(t *testing.T) {
	step, crashed := uint64(0), true
	for crashed {
		step++
		r := run(t, Options{Seed: 1, Faults: new(FaultMask), Nodes: 3, Ops: 20, CrashAt: step})
		if r.Failure != "" {
			t.Fatalf("crash at step %d: %s", step, r.Failure)
		}
		crashed = r.Crashes > 0
	}
	t.Logf("%d steps", step)
	if step < 300 {
		t.Errorf("only %d steps to crash at", step)
	}
}

// What a failure does not need is taken away, and what is left fails again.
func TestShrink(t *testing.T) {
	var r Result
	o := Options{Mutate: "wiped-votes"}
	for o.Seed = 0; r.Failure == "" || !r.Faults.has(wipe); o.Seed++ { // a change of members may do, too
		r = run(t, o)
	}
	o.Seed = r.Seed
	left, s, err := Shrink(o, r)
	if err != nil || s.Failure == "" || left&^r.Faults != 0 {
		t.Fatalf("%v left of %v: %+v, %v", left, r.Faults, s, err)
	}
	if got, err := ParseFaults(left.String()); err != nil || got != left {
		t.Errorf("%v is read as %v: %v", left, got, err)
	}
	o.Faults = &left
	if again := run(t, o); again != s {
		t.Errorf("with %v: %+v, and then %+v", left, s, again)
	}
	if !left.has(wipe) || left == r.Faults {
		t.Errorf("of %v are left %v", r.Faults, left)
	}
	if _, err := ParseFaults("loss,nosuch"); err == nil {
		t.Error("a fault that is not there is taken")
	}
}
