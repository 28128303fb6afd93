package records

import (
	"fmt"
	"testing"
	"time"
)

// ask does a request at whoever leads, trying all hosts that see h's side.
func (w *world) ask(side int, q Request) (out Response) {
	w.seq++
	q.ID[0], q.ID[1], q.ID[2] = byte(w.seq), byte(w.seq>>8), 1
	answered := false
	w.check.pending[q.ID] = func(p Response) {
		if p.Status != Elsewhere && p.Status != Busy && p.Status != NoMajority {
			out, answered = p, true
		}
	}
	for n := 0; !answered && n < 400 && w.failure == ""; n++ {
		if h := w.hosts[n%len(w.hosts)]; h.up && h.side == side {
			h.do(func(e *Engine, now time.Time) { e.Do(now, q) })
			w.run(w.now+50*time.Millisecond, nil)
		}
		q.Again = true
	}
	if !answered {
		w.fail("%v %s is not answered", q.Op, q.Name)
	}
	return out
}

// Two rings that were born apart meet: what either kept is kept, but for one of two
// records of a name, of which the higher version stays.
func TestSim_LineagesMeet(t *testing.T) {
	for seed := range seeds(t, 20) {
		w := newWorld(t, seed, Sound)
		w.calm, w.check.apart = true, true
		for i, h := range w.hosts {
			h.side = i % 2
		}
		w.ringChanged()
		for i := range 12 {
			for side := range 2 {
				name := fmt.Sprintf("%d.%d", side, i)
				if p := w.ask(side, Request{Op: Put, Name: name, Value: []byte(name)}); p.Status != OK {
					t.Fatalf("seed %d: put %s: %v %s", seed, name, p.Status, p.Text)
				}
			}
		}
		for range 3 {
			w.ask(1, Request{Op: Put, Name: "both", Value: []byte("more often")})
		}
		w.ask(0, Request{Op: Put, Name: "both", Value: []byte("once")})
		w.heal()
		w.run(w.now+20*time.Second, func() bool { return w.check.whole() == "" && w.oneLineage() })
		for i := range 12 {
			for side := range 2 {
				name := fmt.Sprintf("%d.%d", side, i)
				if p := w.ask(0, Request{Op: Get, Name: name}); p.Status != OK || string(p.Record.Value) != name || p.Record.Version != 1 {
					t.Errorf("seed %d: %s is %v, version %d, %q", seed, name, p.Status, p.Record.Version, p.Record.Value)
				}
			}
		}
		if p := w.ask(0, Request{Op: Get, Name: "both"}); string(p.Record.Value) != "more often" || p.Record.Version != 3 {
			t.Errorf("seed %d: both is version %d, %q", seed, p.Record.Version, p.Record.Value)
		}
		if w.check.merged == 0 {
			t.Errorf("seed %d: nobody told of the record that was lost", seed)
		}
		if why := w.check.whole(); why != "" || w.failure != "" || !w.oneLineage() {
			t.Errorf("seed %d: %s %s", seed, why, w.failure)
		}
	}
}

// oneLineage reports whether nothing is led that was not merged.
func (w *world) oneLineage() bool {
	seen := map[uint64]bool{}
	for _, h := range w.hosts {
		for _, r := range h.e.replicas {
			if r.phase == active {
				seen[r.group.Lineage] = true
			}
		}
	}
	return len(seen) == 1
}

// A node that leaves hands over all that it keeps, also when it is one of two.
func TestSim_LeavesWithNothing(t *testing.T) {
	w := newWorld(t, 1, Sound)
	w.calm = true
	w.run(time.Second, nil)
	for i := range 8 {
		w.ask(0, Request{Op: Put, Name: fmt.Sprint(i), Value: []byte{byte(i)}})
	}
	for len(w.hosts) > 1 {
		h := w.hosts[0]
		h.do(func(e *Engine, now time.Time) { e.Leave(now) })
		h.inRing = false
		w.ringChanged()
		w.run(w.now+30*time.Second, func() bool { return h.e.Idle() })
		if !h.e.Idle() {
			t.Fatalf("%s keeps %+v with %d others left", h.name(), h.e.Status(), len(w.hosts)-1)
		}
		h.up = false
		w.hosts = w.hosts[1:]
	}
	for i := range 8 {
		if p := w.ask(0, Request{Op: Get, Name: fmt.Sprint(i)}); p.Status != OK || len(p.Record.Value) != 1 || p.Record.Value[0] != byte(i) {
			t.Errorf("%d is %v, %q", i, p.Status, p.Record.Value)
		}
	}
	if w.failure != "" {
		t.Error(w.failure)
	}
}

// A record answers again soon after its leader died: within five seconds, of which the
// ring takes some to notice.
func TestSim_AnswersSoonAfterADeath(t *testing.T) {
	for seed := range uint64(10) {
		w := newWorld(t, seed, Sound)
		w.calm = true
		w.knobs.disk = 5 * time.Millisecond
		w.run(time.Second, nil)
		w.ask(0, Request{Op: Put, Name: "a", Value: []byte("x")})
		w.run(w.now+5*time.Second, nil)
		for _, h := range w.hosts {
			if h.e.leadAt(h.e.key("a")) != nil {
				h.crash()
				break
			}
		}
		died := w.now
		if p := w.ask(0, Request{Op: Get, Name: "a"}); p.Status != OK || w.failure != "" {
			t.Errorf("seed %d: %v %s", seed, p.Status, w.failure)
		}
		if d := w.now - died; d > 4*time.Second {
			t.Errorf("seed %d: it took %v", seed, d)
		}
	}
}
