package records

import (
	"fmt"
	"testing"
	"time"
)

// bigger returns a world of n hosts in peace.
func bigger(t *testing.T, seed uint64, n, list int) *world {
	w := newWorld(t, seed, Sound)
	w.calm = true
	w.knobs.list, w.knobs.copies, w.knobs.disk = list, 5, 2*time.Millisecond
	for len(w.hosts) < n {
		w.addHost()
	}
	for _, h := range w.hosts {
		h.e.cfg.Copies = 5
	}
	return w
}

// The arcs of a ring come to their owners, whether nodes see all of it or only their
// neighbours; then nothing is sent any more.
func TestSim_ArcsComeToTheirOwners(t *testing.T) {
	for _, list := range []int{0, 10} {
		w := bigger(t, 5, 40, list)
		w.run(2*time.Second, nil)
		w.ask(0, Request{Op: Put, Name: "a", Value: []byte("x")})
		began := w.now
		leads := func() (n int) {
			for _, h := range w.hosts {
				n += len(h.e.leads)
			}
			return n
		}
		w.run(w.now+60*time.Second, func() bool { return leads() == 41 && w.check.whole() == "" })
		if why := w.check.whole(); why != "" || leads() != 41 || w.failure != "" {
			t.Errorf("lists of %d: %d arcs are led: %s %s", list, leads(), why, w.failure)
		}
		t.Logf("lists of %d: in order after %v", list, w.now-began)
		w.run(w.now+30*time.Second, nil)
		sent := func() (n uint64) {
			for _, h := range w.hosts {
				n += h.e.stats.Sent
			}
			return n
		}
		before := sent()
		w.run(w.now+60*time.Second, nil)
		if n := sent() - before; n > 0 {
			t.Errorf("lists of %d: %d messages in an idle minute", list, n)
		}
		if p := w.ask(0, Request{Op: Get, Name: "a"}); p.Status != OK || string(p.Record.Value) != "x" {
			t.Errorf("lists of %d: %v %q", list, p.Status, p.Record.Value)
		}
	}
}

// A newcomer gets its records in pieces, and all of them.
func TestSim_NewcomerIsHandedAll(t *testing.T) {
	w := bigger(t, 2, 4, 0)
	w.run(2*time.Second, nil)
	const n, size = 120, 20 << 10
	for i := range n {
		w.ask(0, Request{Op: Put, Name: fmt.Sprint(i), Value: append(make([]byte, size), byte(i))})
	}
	h := w.addHost()
	w.run(w.now+60*time.Second, func() bool { return len(h.e.leads) > 0 && w.check.whole() == "" })
	if s := h.e.Status(); s.Bytes < 2*maxPiece || w.failure != "" {
		t.Errorf("the newcomer has %d records, %d bytes: %s %s", s.Records, s.Bytes, w.failure, w.check.whole())
	}
	for i := range n {
		if p := w.ask(0, Request{Op: Get, Name: fmt.Sprint(i)}); p.Status != OK || len(p.Record.Value) != size+1 || p.Record.Value[size] != byte(i) {
			t.Errorf("%d: %v, %d bytes", i, p.Status, len(p.Record.Value))
		}
	}
}

// A watch is told to ask again when another node leads the name.
func TestSim_WatchesMoveOn(t *testing.T) {
	w := bigger(t, 3, 5, 0)
	w.run(2*time.Second, nil)
	w.ask(0, Request{Op: Put, Name: "a"})
	w.run(w.now+5*time.Second, nil)
	id := RequestID{77}
	leader := func() *host {
		for _, h := range w.hosts {
			if h.up && h.e.leadAt(h.e.key("a")) != nil {
				return h
			}
		}
		return nil
	}
	h := leader()
	h.do(func(e *Engine, now time.Time) { e.Do(now, Request{ID: id, Op: Watch, Name: "a"}) })
	w.run(w.now+time.Second, nil)
	w.ask(0, Request{Op: Put, Name: "a", Value: []byte("1")})
	if got := w.check.heard[id]; len(got) != 1 || got[0] != 2 {
		t.Errorf("heard of versions %v, want 2", got)
	}
	h.do(func(e *Engine, now time.Time) { e.Leave(now) })
	h.inRing = false
	w.ringChanged()
	w.run(w.now+10*time.Second, func() bool { return h.e.Idle() })
	end, ok := w.check.ended[id]
	if next := leader(); !ok || end.Name != "a" || next == nil || next == h {
		t.Errorf("ended %v with %+v", ok, end)
	}
	if len(h.e.watches.all)+len(h.e.watches.names) != 0 {
		t.Errorf("the watch is kept: %+v", h.e.watches)
	}
}
