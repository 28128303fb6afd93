package sim

import (
	"time"

	"github.com/aether-lan/aether/dht"
)

// slowStory is a ring in which one node at a time stands still again and again, and
// then its network does. It counts the peers that such a node declared dead: they were all alive.
func slowStory(seed uint64, broken dht.Mutation) (wrong int) {
	w := newWorld(seed, dht.Config{})
	w.broken = broken
	w.net.delay = 5 * time.Millisecond
	until := map[int]time.Duration{} // how long a host counts as slow
	w.watch = func(h *host, e dht.Event) {
		if d, ok := e.(dht.MemberDied); ok && w.byID[d.Peer.ID].paused < w.now-10*time.Second && w.now < until[h.at] {
			wrong++
		}
	}
	for range 8 {
		h := w.add()
		w.start(h, w.hosts[:min(h.at, 1)]...)
	}
	w.run(20 * time.Second)
	for range 4 {
		h := w.hosts[w.rng.IntN(len(w.hosts))]
		for range 20 { // it runs for moments only
			w.pause(h, 500*time.Millisecond+time.Duration(w.rng.Int64N(int64(800*time.Millisecond))))
			until[h.at] = h.paused + 5*time.Second
			w.run(h.paused + time.Duration(w.rng.Int64N(int64(30*time.Millisecond))))
		}
		w.run(w.now + 20*time.Second)
		w.net.sides = make([]int, len(w.hosts)) // its network stands still
		w.net.sides[h.at] = 1
		until[h.at] = w.now + 8*time.Second
		w.run(w.now + 2500*time.Millisecond)
		w.net.heal()
		w.run(w.now + 20*time.Second)
	}
	return wrong
}
