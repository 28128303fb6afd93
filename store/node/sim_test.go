package node

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// simBudget is how long the simulation of one test goes on finding new seeds.
const simBudget = 20 * time.Second

// simSeeds yields seeds: as many as AETHER_SIM_SEEDS says, else as many as fit into
// the budget, and with -short only few.
func simSeeds(t *testing.T, budget time.Duration) func(func(uint64) bool) {
	least, limit := uint64(3), uint64(1<<32)
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
func turmoil(t testing.TB, seed uint64) *simWorld {
	w := newSimWorld(t, seed)
	if name := os.Getenv("AETHER_SIM_TRACE"); name != "" { // the whole trace of the last run
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w.trace.all = f
	}
	for range 3 {
		w.add(Settings{Space: 4 << 20, Copies: 2})
	}
	w.net.slow = time.Duration(1+w.rng.IntN(400)) * time.Millisecond
	w.net.lost = []float64{0, 0.02, 0.2}[w.rng.IntN(3)]
	w.net.fruitles = []float64{0, 0.2}[w.rng.IntN(2)]
	for _, h := range w.hosts {
		h.start()
	}
	for range 150 {
		w.mishap()
		h := w.hosts[w.rng.IntN(len(w.hosts))]
		if h.m != nil {
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

// mishap lets something go wrong, now and then.
func (w *simWorld) mishap() {
	h := w.hosts[w.rng.IntN(len(w.hosts))]
	switch w.rng.IntN(40) {
	case 0, 1:
		w.count.cuts++
		w.part(2)
	case 2, 3:
		w.part(1)
	case 4:
		h.crash()
		w.after(w.within(time.Minute), "restart", h.start)
	case 5:
		h.stop()
		w.after(w.within(time.Minute), "restart", h.start)
	}
}

// TestSim_PoolsConverge: whatever happened, in the end all machines show the same
// tree and the same bytes, nothing that was safe is lost, and every file lies where it
// shall. A seed runs twice, and both runs are the same to the last message.
func TestSim_PoolsConverge(t *testing.T) {
	seeds, total := 0, simCounts{}
	for seed := range simSeeds(t, simBudget) {
		w := turmoil(t, seed)
		if w.cause != "" {
			t.Fatalf("seed %d: %s\nthe last of it:\n%s", seed, w.cause, w.trace.lines())
		}
		if again := turmoil(t, seed); again.trace.sum.Sum64() != w.trace.sum.Sum64() {
			t.Fatalf("seed %d: two runs differ:\n%s\nand\n%s", seed, w.trace.lines(), again.trace.lines())
		}
		seeds++
		total.actions += w.count.actions
		total.messages += w.count.messages
		total.crashes += w.count.crashes
		total.copies += w.count.copies
	}
	t.Logf("%d seeds: %+v", seeds, total)
}
