package node

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// simBudget is how long the simulation of one test goes on finding new seeds.
const simBudget = 20 * time.Second

// simMost is how many seeds a test takes by itself: the same on every machine that is
// not slow.
const simMost = 30

// simSeeds yields seeds: as many as AETHER_SIM_SEEDS says, else simMost or as many as
// fit into the budget, and with -short only few. They begin with AETHER_SIM_FROM, or 0.
// AETHER_SIM_TRACE names a file for the whole trace of the last run, so that
//
//	AETHER_SIM_FROM=22 AETHER_SIM_SEEDS=1 AETHER_SIM_TRACE=/tmp/trace go test -run TestSim_Pools ./store/node
//
// looks closely at seed 22.
func simSeeds(t *testing.T, budget time.Duration) func(func(uint64) bool) {
	least, limit := uint64(3), uint64(simMost)
	if testing.Short() {
		budget, limit = 0, 3
	}
	from := uint64(0)
	if s := os.Getenv("AETHER_SIM_FROM"); s != "" {
		from, _ = strconv.ParseUint(s, 10, 32)
	}
	if s := os.Getenv("AETHER_SIM_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatalf("AETHER_SIM_SEEDS: %v", err)
		}
		least, limit, budget = n, n, 0
	}
	began := time.Now()
	return func(yield func(uint64) bool) {
		for n := uint64(0); n < limit && (n < least || time.Since(began) < budget); n++ {
			if !yield(from + n) {
				return
			}
		}
	}
}

// turmoil runs a pool of machines through whatever the seed has in store, and then
// looks what has become of it.
func turmoil(t testing.TB, seed uint64, wrong mistake) *simWorld {
	w := newSimWorld(t, seed)
	w.wrong = wrong
	defer w.traceTo(os.Getenv("AETHER_SIM_TRACE"))
	w.trouble()
	if w.deeds = deeds(); w.rng.IntN(3) == 0 {
		w.deeds = writing()
	}
	if wrong.deeds != nil {
		w.deeds = wrong.deeds()
	}
	for range 3 + w.few(9)*w.few(5) { // 3 to 50, most of them small
		w.add(w.settings()).start()
	}
	for range 150 {
		w.mishap()
		h := w.anyone()
		if h.m != nil && !h.parted {
			_ = h.act() // refusals are a part of life
		}
		w.run(w.within(4 * time.Second))
		if w.cause != "" {
			return w
		}
	}
	w.heal()
	if w.cause == "" {
		w.check()
	}
	return w
}

// TestSim_PoolsConverge: whatever happened, in the end all machines show the same
// tree and the same bytes, nothing that was safe is lost, and every file lies where it
// shall. A seed runs twice, and both runs are the same to the last message.
func TestSim_PoolsConverge(t *testing.T) {
	seeds, total := 0, simCounts{}
	for seed := range simSeeds(t, simBudget) {
		w := turmoil(t, seed, mistake{})
		if w.cause != "" {
			t.Fatalf("seed %d: %s\nthe last of it:\n%s", seed, w.cause, w.trace.last())
		}
		if again := turmoil(t, seed, mistake{}); again.trace.sum.Sum64() != w.trace.sum.Sum64() {
			t.Fatalf("seed %d: two runs differ:\n%s", seed, w.trace.differs(&again.trace))
		}
		seeds++
		total.add(w.count)
	}
	t.Logf("%d seeds: %+v", seeds, total)
}
