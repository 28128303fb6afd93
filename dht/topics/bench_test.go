package topics_test

import (
	"testing"
	"time"

	"github.com/aether-lan/aether/dht/topics"
)

// One message to 16 subscribers and two mirrors, coded and decoded, with all
// acknowledgements.
func BenchmarkPublish(b *testing.B) {
	w := newWorld(b, 1, 20, topics.Config{})
	w.subscribe("t", count(16)...)
	w.sim.RunFor(time.Second)
	payload := make([]byte, 10)
	b.ReportAllocs()
	for b.Loop() {
		w.do(19, func(m *member, now time.Time) { m.Publish(now, "t", payload) })
		w.sim.RunFor(10 * time.Millisecond)
	}
}

// One request and its answer.
func BenchmarkSend(b *testing.B) {
	w := newWorld(b, 1, 2, topics.Config{})
	w.nodes[1].service = echo
	payload := make([]byte, 10)
	b.ReportAllocs()
	for b.Loop() {
		w.do(0, func(m *member, now time.Time) { m.Send(now, w.nodes[1].self.ID, "s", payload) })
		w.sim.RunFor(3 * time.Millisecond)
		w.nodes[0].events = w.nodes[0].events[:0]
	}
}
