package node

import (
	"os"
	"strings"
	"time"
)

// few returns a random number up to n, small ones being likelier.
func (w *simWorld) few(n int) int { return min(w.rng.IntN(n+1), w.rng.IntN(n+1), w.rng.IntN(n+1)) }

func (w *simWorld) anyone() *simHost { return w.hosts[w.rng.IntN(len(w.hosts))] }

// settings are those of a machine like many.
func (w *simWorld) settings() Settings {
	return Settings{Space: 4 << 20, Copies: 2, Retention: w.retention}
}

// trouble decides how bad the network is.
func (w *simWorld) trouble() {
	pick := func(chances ...float64) float64 { return chances[w.rng.IntN(len(chances))] }
	w.net.slow = time.Duration(1+w.rng.IntN(400)) * time.Millisecond
	w.net.lost = pick(0, 0.02, 0.1, 0.3)
	w.net.twice = pick(0, 0, 0.05, 0.3)
	w.net.late = pick(0, 0, 0.05, 0.5)
	w.net.fruitles = pick(0, 0.2)
	w.grace = []time.Duration{0, time.Minute + w.within(10*time.Minute)}[w.rng.IntN(2)]
	w.retention = []int64{0, 1 + w.rng.Int64N(100)}[w.rng.IntN(2)]
}

// traceTo writes the whole trace to a file, unless its name is empty.
func (w *simWorld) traceTo(name string) {
	if name == "" {
		return
	}
	if err := os.WriteFile(name, []byte(strings.Join(w.trace.lines, "\n")+"\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// mishap lets something go wrong, now and then.
func (w *simWorld) mishap() {
	h := w.anyone()
	switch w.rng.IntN(60) {
	case 0, 1:
		w.count.cuts++
		w.part(2 + w.rng.IntN(2))
	case 2, 3, 4:
		w.part(1)
	case 5, 6:
		h.crash()
		w.after(w.within(time.Minute), "restart", h.start)
	case 7:
		h.stop()
		w.after(w.within(time.Minute), "restart", h.start)
	case 8:
		h.stop() // for long
		w.after(w.within(24*time.Hour), "restart", h.start)
	case 9:
		w.jump(h, w.within(10*time.Second)-5*time.Second)
	case 10:
		w.jump(h, w.within(48*time.Hour)-24*time.Hour)
	case 11:
		if len(w.hosts) < 50 {
			w.add(w.settings()).start()
		}
	case 12:
		w.note("%s is unplugged", h)
		h.side = -1
		w.rewire()
		w.after(w.within(10*time.Minute), "plugged in", func() { h.side = 0; w.rewire() })
	case 16:
		h.lose()
		w.after(w.within(time.Minute), "restart", h.start)
	case 14:
		w.bury(h)
	case 15:
		h.leave()
	case 13:
		h.full(w.within(2 * time.Minute))
	}
}

// jump sets a machine's clock.
func (w *simWorld) jump(h *simHost, by time.Duration) {
	w.note("the clock of %s jumps by %v", h, by)
	h.skew += by
}

// full fills the disk of a machine for a while.
func (h *simHost) full(d time.Duration) {
	if h.robbed { // it needs room to make its index anew
		return
	}
	h.w.note("the disk of %s is full", h)
	h.kv.full = true
	h.w.after(d, "room", func() {
		h.w.note("the disk of %s has room", h)
		h.kv.full = false
	})
}
