package topics_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht/topics"
)

// Ten thousand subscribers, and nobody sends more than 16 copies, but for the root's
// two mirrors.
func TestTree_TenThousandSubscribers(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 2_000
	}
	w := newWorld(t, 1, n, topics.Config{})
	for i := range n {
		w.subscribe("all", i)
		w.sim.RunFor(100 * time.Microsecond)
	}
	w.sim.RunFor(30 * time.Second)
	for i := range 3 {
		w.publish(i*7, "all", fmt.Sprint("m", i))
		w.sim.RunFor(50 * time.Millisecond)
	}
	before := w.sim.Stats().Sent
	deepest, widest, most := 0, 0, 0
	for i, m := range w.nodes {
		if got := texts(m.got["all"]); len(got) != 3 {
			t.Fatalf("node %d got %q", i, got)
		}
		st := m.State().Topics[0]
		deepest, widest = max(deepest, st.Depth), max(widest, len(st.Children))
		for _, copies := range m.sent {
			most = max(most, copies)
		}
	}
	t.Logf("%d subscribers: depth %d, at most %d children, at most %d copies of a message from one node", n, deepest, widest, most)
	if deepest > 5 || widest > 16 || most > 16 {
		t.Errorf("want depth at most 5, 16 children, 16 copies")
	}
	// What is said when nothing is published: a renewal and its answer, each Renew.
	w.sim.RunFor(10 * time.Second)
	if idle := w.sim.Stats().Sent - before; idle > 25*n/10 {
		t.Errorf("%d packets in 10 s without a message", idle)
	}
}

func TestTree_NothingIsSaidWithoutTopics(t *testing.T) {
	w := newWorld(t, 1, 20, topics.Config{})
	w.subscribe("t", 1, 2, 3)
	w.publish(4, "t", "x")
	w.sim.RunFor(time.Minute)
	for i := 1; i < 4; i++ {
		w.do(i, func(m *member, now time.Time) { m.Unsubscribe(now, "t") })
	}
	w.sim.RunFor(20 * time.Minute)
	for i, m := range w.nodes {
		st := m.State()
		if _, timed := m.NextTimeout(); timed || len(st.Topics) > 0 || st.Handled > 0 {
			t.Errorf("node %d still has %+v, timer %v", i, st, timed)
		}
	}
	before := w.sim.Stats().Sent
	w.sim.RunFor(time.Hour)
	if n := w.sim.Stats().Sent - before; n > 0 {
		t.Errorf("%d packets in an idle hour", n)
	}
}

// The root dies while many are publishing; everything that was told as published
// arrives, once.
func TestTree_RootDiesWhilePublishing(t *testing.T) {
	w := newWorld(t, 3, 24, topics.Config{MaxChildren: 3})
	w.subscribe("t", count(24)...)
	w.sim.RunFor(2 * time.Second)
	root := w.rootOf("t")
	numbers := map[int]uint64{}
	for i := range 24 {
		if i != root {
			numbers[i] = w.publish(i, "t", fmt.Sprint("m", i))
		}
	}
	w.sim.RunFor(2500 * time.Microsecond) // some are with the mirrors, none is answered
	w.crash(root)
	w.sim.RunFor(time.Second)
	w.settleRing()
	w.sim.RunFor(10 * time.Second)
	for i, n := range numbers {
		if _, ok := w.nodes[i].outcome(n).(topics.Published); !ok {
			t.Errorf("node %d: %+v", i, w.nodes[i].outcome(n))
		}
		had := map[string]int{}
		for _, text := range texts(w.nodes[i].got["t"]) {
			had[text]++
		}
		for j := range numbers {
			if k := had[fmt.Sprint("m", j)]; k != 1 {
				t.Errorf("node %d got m%d %d times", i, j, k)
			}
		}
	}
}

// A child that acknowledges nothing costs no memory, holds nobody up, and hears what
// it has missed.
func TestTree_SlowChildHearsOfTheGap(t *testing.T) {
	w := newWorld(t, 1, 4, topics.Config{Renew: time.Minute, Limits: topics.Limits{Window: 16}})
	root := w.rootOf("t")
	slow, other := (root+1)%4, (root+2)%4
	w.subscribe("t", root, slow, other)
	w.sim.RunFor(time.Second)
	w.publish(root, "t", "m0")
	w.sim.RunFor(time.Second)
	w.sim.Crash(number(w.nodes[slow].self))
	for i := 1; i <= 100; i++ {
		w.publish(root, "t", fmt.Sprint("m", i))
		w.sim.RunFor(100 * time.Millisecond)
	}
	if n := len(w.nodes[other].got["t"]); n != 101 {
		t.Errorf("the other child got %d of 101", n)
	}
	if st := w.nodes[root].State().Topics[0]; st.Kept > 16 {
		t.Errorf("the root keeps %d messages, the window has 16", st.Kept)
	}
	w.sim.Restart(number(w.nodes[slow].self), w.nodes[slow])
	w.sim.RunFor(10 * time.Second)
	var gaps []topics.Gap
	for _, ev := range w.nodes[slow].events {
		if g, ok := ev.(topics.Gap); ok {
			gaps = append(gaps, g)
		}
	}
	got := texts(w.nodes[slow].got["t"])
	if len(gaps) != 1 || int(gaps[0].Missed)+len(got) != 101 || got[len(got)-1] != "m100" {
		t.Errorf("gaps %+v, got %q", gaps, got)
	}
}

// Large messages are bounded by the window's bytes, not by their number.
func TestTree_WindowIsBoundedInBytes(t *testing.T) {
	w := newWorld(t, 1, 5, topics.Config{})
	w.subscribe("t", 0, 1, 2)
	w.sim.RunFor(time.Second)
	for i := range 40 {
		w.do(i%5, func(m *member, now time.Time) { m.Publish(now, "t", bytes.Repeat([]byte{byte(i)}, topics.MaxPayload)) })
		w.sim.RunFor(100 * time.Millisecond)
	}
	for i, m := range w.nodes {
		for _, st := range m.State().Topics {
			if st.Bytes > 1<<20 {
				t.Errorf("node %d keeps %d bytes", i, st.Bytes)
			}
		}
		if n := len(m.got["t"]); i < 3 && n != 40 {
			t.Errorf("node %d got %d of 40", i, n)
		}
	}
}

// Whoever subscribes hears what is published from then on, and nothing older, also
// when roots change.
func TestTree_NewSubscriberHearsNothingOld(t *testing.T) {
	w := newWorld(t, 1, 9, topics.Config{})
	w.subscribe("t", 0, 1, 2)
	w.sim.RunFor(time.Second)
	w.publish(0, "t", "old")
	w.sim.RunFor(5 * time.Second)
	w.subscribe("t", 3, 4)
	w.sim.RunFor(time.Second)
	w.crash(w.rootOf("t"))
	w.settleRing()
	w.sim.RunFor(5 * time.Second)
	w.publish(5, "t", "new")
	w.sim.RunFor(5 * time.Second)
	for i := range 5 {
		if !w.alive[i] {
			continue
		}
		got := texts(w.nodes[i].got["t"])
		if i < 3 && len(got) != 2 || i >= 3 && (len(got) != 1 || got[0] != "new") {
			t.Errorf("node %d got %q", i, got)
		}
	}
}
