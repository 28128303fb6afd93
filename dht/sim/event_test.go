package sim

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
)

// long reports whether all is to be run that takes minutes.
func long() bool { return os.Getenv("AETHER_LONG") != "" }

func seeds(ordinary int) int {
	if long() {
		return 20 * ordinary
	}
	return ordinary
}

// tellTwice runs a story two times and wants the same of both.
func tellTwice(t *testing.T, s Story) {
	t.Helper()
	a, b := Tell(s), Tell(s)
	if a.Err != nil {
		t.Errorf("seed %d, large %t: %v", s.Seed, s.Large, a.Err)
	}
	if a.Hash != b.Hash {
		t.Errorf("seed %d, large %t: the second run differs from the first", s.Seed, s.Large)
	}
}

func TestStory_EndsInOneRightRing(t *testing.T) {
	for part := range 4 {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			for seed := range seeds(40) {
				tellTwice(t, Story{Seed: uint64(4*seed + part), Large: seed%2 == 1})
			}
		})
	}
}

// shape says which nodes know each other before anybody has met.
type shape struct {
	name  string
	knows func(w *world, i int) []int
}

func shapes() []shape {
	return []shape{
		{"line", func(_ *world, i int) []int { return []int{i - 1} }},
		{"star", func(*world, int) []int { return []int{0} }},
		{"random", func(w *world, i int) []int { return []int{w.rng.IntN(i), w.rng.IntN(i)} }},
	}
}

// Nodes that all start at once form one right ring within 60 s, a thousand of them
// too: that takes half a minute of processor time for each shape, so AETHER_LONG=1
// has to be set for more than the small rings.
func TestWorld_AnyConnectedStartBecomesARing(t *testing.T) {
	counts := []int{150}
	if long() {
		counts = append(counts, 1000)
	}
	for i, s := range shapes() {
		for _, count := range counts {
			for _, most := range []int{0, 48} {
				t.Run(fmt.Sprint(s.name, count, "of", most), func(t *testing.T) {
					formRing(t, newWorld(uint64(i), dht.Config{MaxMembers: most}), count, s)
				})
			}
		}
	}
}

func formRing(t *testing.T, w *world, count int, s shape) {
	for i := range count {
		h := w.add()
		var contacts []*host
		if i > 0 {
			for _, c := range s.knows(w, i) {
				contacts = append(contacts, w.hosts[c])
			}
		}
		w.start(h, contacts...)
	}
	for w.whole() != nil || w.known() != nil {
		if w.run(w.now + time.Second); w.now >= 60*time.Second {
			t.Fatalf("after 60 s: %v, %v", w.whole(), w.known())
		}
	}
	t.Logf("one ring after %v and %d messages, %d bytes", w.now, w.traffic.messages, w.traffic.bytes)
}
