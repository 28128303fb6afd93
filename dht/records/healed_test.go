package records

import (
	"fmt"
	"testing"
	"time"
)

// pursue asks all hosts of a side in turn until one answers, for as long as d.
func (w *world) pursue(side int, q Request, d time.Duration) {
	w.seq++
	q.ID[0], q.ID[1], q.ID[2] = byte(w.seq), byte(w.seq>>8), 1
	answered := false
	w.check.pending[q.ID] = func(p Response) {
		answered = answered || p.Status != Elsewhere && p.Status != Busy && p.Status != NoMajority
	}
	end := w.now + d
	for n := w.rng.IntN(len(w.hosts)); !answered && w.now < end && w.failure == ""; n++ {
		if h := w.hosts[n%len(w.hosts)]; h.up && h.side == side {
			h.do(func(e *Engine, now time.Time) { e.Do(now, q) })
			w.run(w.now+50*time.Millisecond, nil)
		}
		q.Again = true
	}
}

// A ring that fell in two before it had settled, and is whole again, answers for all
// records soon. (AETHER_SIM_SEEDS=3000: one seed in three hundred took 8 to 33 s when a
// leader that had given up waited for others to begin a change.)
func TestSim_AnswersSoonAfterAMerge(t *testing.T) {
	worst := time.Duration(0)
	for seed := range seeds(t, 150) {
		w := newWorld(t, seed, Sound)
		w.calm = true
		w.knobs.disk, w.knobs.copies, w.knobs.list = 5*time.Millisecond, 3, 0
		w.run(time.Second, nil)
		for len(w.hosts) < 10 {
			w.addHost()
			w.run(w.now+time.Second, nil)
		}
		usual := func() {
			for _, h := range w.hosts {
				h.e.cfg.Copies, h.e.cfg.Settle, h.e.cfg.Resend, h.e.cfg.Patience = 3, 500*time.Millisecond, 200*time.Millisecond, 2*time.Second
			}
		}
		usual()
		put := func(side int, text string, d time.Duration) {
			for k := range 12 {
				w.pursue(side, Request{Op: Put, Name: fmt.Sprint("key/", k), Value: []byte(text)}, d)
			}
		}
		put(0, "one", 30*time.Second)
		a, b := w.rng.IntN(10), w.rng.IntN(9)
		if b >= a {
			b++
		}
		w.hosts[a].crash()
		w.run(w.now+50*time.Millisecond, nil)
		w.hosts[b].crash()
		put(0, "two", 30*time.Second)
		w.hosts[a].boot()
		w.hosts[b].boot()
		usual()
		w.run(w.now+time.Duration(w.rng.IntN(2500))*time.Millisecond, nil)
		perm := w.rng.Perm(10)
		for _, i := range perm[:4] {
			w.hosts[i].side = 1
		}
		w.after(w.exp(1500*time.Millisecond), w.ringChanged)
		put(0, "three", time.Second)
		put(1, "four", time.Second)
		w.heal()
		healed := w.now
		for k := range 12 {
			w.pursue(0, Request{Op: Get, Name: fmt.Sprint("key/", k)}, 2*time.Minute)
		}
		d := w.now - healed
		worst = max(worst, d)
		if d > 8*time.Second || w.failure != "" {
			t.Errorf("seed %d: all records answer after %v %s", seed, d, w.failure)
		}
	}
	t.Log(worst)
}
