package node

import (
	"testing"
	"time"
)

// TestSim_ProvesWhatItHoldsWhenThereIsRoom: a machine that crashed and finds its disk
// full when it has to fetch something again counts in the end. Found by seed 2.
func TestSim_ProvesWhatItHoldsWhenThereIsRoom(t *testing.T) {
	w := newSimWorld(t, 1)
	a, b := w.add(w.settings()), w.add(w.settings())
	a.start()
	b.start()
	w.run(10 * time.Second)
	_ = a.do(a.put("/a", []byte("a")))
	w.run(10 * time.Second)
	if err := b.m.bodies.Delete(b.lastBody()); err != nil {
		t.Fatal(err)
	}
	_ = b.do(b.put("/b", []byte("b"))) // syncs
	b.crash()
	b.full(time.Minute)
	b.start()
	w.run(50 * time.Second)
	if !b.m.core.proving {
		t.Fatal("it counts before it can say what is missing")
	}
	if w.heal(); w.cause == "" {
		w.check()
	}
	if w.cause != "" {
		t.Fatalf("%s\n%s", w.cause, w.trace.last())
	}
}

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

// TestSim_LostIndexIsMadeAnew: a machine whose index is gone has what it wrote before in
// the segments, and when it meets others what it wrote last.
func TestSim_LostIndexIsMadeAnew(t *testing.T) {
	w := newSimWorld(t, 1)
	a, b := w.add(w.settings()), w.add(w.settings())
	a.start()
	b.start()
	w.run(10 * time.Second)
	for _, p := range []string{"/a", "/b", "/c", "/d"} {
		_ = a.do(a.put(p, []byte(p)))
	}
	w.run(2 * time.Minute) // garbage is collected
	before := a.vector()
	a.lose()
	a.side = 1
	a.start()
	if now := a.vector(); !now.Covers(before) {
		t.Errorf("it knew %v before, and knows %v", before, now)
	}
	_ = a.do(a.put("/e", []byte("e"))) // it may not yet
	if w.heal(); w.cause == "" {
		w.check()
	}
	if w.cause != "" {
		t.Fatalf("%s\n%s", w.cause, w.trace.last())
	}
}

// TestSim_NewHoldersAreNoEdit: a file is given another holder while somebody edits it
// elsewhere. There is one edit, so there is no conflict.
func TestSim_NewHoldersAreNoEdit(t *testing.T) {
	w := newSimWorld(t, 1)
	a, b := w.add(w.settings()), w.add(w.settings())
	a.start()
	_ = a.do(a.put("/plan", []byte("the first plan")))
	b.start()
	for b.heard(a.id) < 2 && w.cause == "" {
		w.run(10 * time.Millisecond)
	}
	b.side = 1
	w.rewire()
	_ = b.do(b.put("/plan", []byte("another plan")))
	w.run(10 * time.Second)
	if w.heal(); w.cause == "" {
		w.check()
	}
	if n := len(a.shownLosers()); n > 0 {
		w.fail("there are %d conflict copies: %v", n, a.paths(10))
	}
	if w.cause != "" {
		t.Fatalf("%s\n%s", w.cause, w.trace.last())
	}
}
