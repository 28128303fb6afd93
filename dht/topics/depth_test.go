package topics_test

import (
	"testing"
	"time"

	"github.com/aether-lan/aether/dht/topics"
)

// The tree stays flat, although nodes come and go all the time.
func TestTree_StaysFlatInChurn(t *testing.T) {
	w := newWorld(t, 5, 300, topics.Config{MaxChildren: 4, Renew: 2 * time.Second})
	for i := range 300 {
		w.subscribe("t", i)
		w.sim.RunFor(time.Millisecond)
	}
	w.sim.RunFor(10 * time.Second)
	depth := func() (deepest, attached int) {
		for i, m := range w.nodes {
			if w.alive[i] {
				st := m.State().Topics[0]
				deepest = max(deepest, st.Depth)
				if st.Root || st.Parent != (topics.TopicStatus{}).Parent {
					attached++
				}
			}
		}
		return deepest, attached
	}
	before, _ := depth()
	r := w.sim.Rand()
	for range 10 {
		var down []int
		for range 30 {
			if i := r.IntN(300); w.alive[i] {
				w.crash(i)
				down = append(down, i)
			}
		}
		w.settleRing()
		w.sim.RunFor(3 * time.Second)
		for _, i := range down {
			w.restart(i)
		}
		w.settleRing()
		for _, i := range down {
			w.subscribe("t", i)
		}
		w.sim.RunFor(3 * time.Second)
	}
	w.sim.RunFor(30 * time.Second)
	after, attached := depth()
	t.Logf("depth %d before, %d after 300 deaths and returns", before, after)
	if attached != 300 || after > before+2 {
		t.Errorf("depth %d before, %d after; %d of 300 attached", before, after, attached)
	}
}
