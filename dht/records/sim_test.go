package records

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// outcome is what became of a run; equal seeds have equal ones.
type outcome struct {
	failure string
	trace   uint64
	led     int
	done    int
}

// simulate runs one seed: a start in peace, some trouble, and then peace, in which
// everything must come to order.
func simulate(t *testing.T, seed uint64, m Mutation, verbose bool) outcome {
	w := newWorld(t, seed, m)
	w.verbose = verbose
	w.calm = true
	for range w.knobs.clients {
		w.addClient()
	}
	w.run(3*time.Second, nil)
	w.run(9*time.Second, w.founded)
	w.calm = false
	w.trouble()
	w.run(w.now+10*time.Second, nil)
	w.settle()
	w.run(w.now+90*time.Second, func() bool { return w.check.whole() == "" })
	if w.failure == "" {
		if why := w.check.whole(); why != "" {
			w.fail("not in order after all is well: %s", why)
		}
	}
	if w.failure == "" {
		w.check.linear()
	}
	o := outcome{w.failure, w.trace.Sum64(), len(w.check.led), 0}
	for _, v := range w.check.history {
		if v.ended {
			o.done++
		}
	}
	return o
}

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
func TestSim_HoldsInEverySeedTwice(t *testing.T) {
	var mu sync.Mutex
	led, done := 0, 0
	each(seeds(t, 100), func(seed uint64) {
		o := simulate(t, seed, Sound, false)
		if o.failure != "" {
			t.Errorf("seed %d, trace hash %016x: %s", seed, o.trace, o.failure)
		}
		if again := simulate(t, seed, Sound, false); again != o {
			t.Errorf("seed %d gives %+v, and then %+v", seed, o, again)
		}
		mu.Lock()
		led, done = led+o.led, done+o.done
		mu.Unlock()
	})
	t.Logf("%d epochs, %d operations", led, done)
}

// One seed, with all that happens, to look at: AETHER_SIM_SEED.
func TestSim_OneSeed(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("AETHER_SIM_SEED"), 10, 64)
	m, _ := strconv.Atoi(os.Getenv("AETHER_SIM_MUTATION"))
	if o := simulate(t, seed, Mutation(m), os.Getenv("AETHER_SIM_SEED") != ""); o.failure != "" && m == 0 {
		t.Errorf("seed %d: %s", seed, o.failure)
	}
}
