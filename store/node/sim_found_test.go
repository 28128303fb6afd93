package node

import (
	"testing"
	"time"
)

// TestSim_FullDiskStopsNobody: a machine whose disk is full hears what others hold, and
// goes on when there is room. Found by seed 0 of the simulation.
func TestSim_FullDiskStopsNobody(t *testing.T) {
	w := newSimWorld(t, 1)
	a, b := w.add(w.settings()), w.add(w.settings())
	a.start()
	b.start()
	w.run(10 * time.Second)
	b.full(time.Minute)
	_ = a.do(a.put("/a", []byte("a")))
	w.run(30 * time.Second)
	if w.heal(); w.cause == "" {
		w.check()
	}
	if w.cause != "" {
		t.Fatalf("%s\n%s", w.cause, w.trace.last())
	}
}
