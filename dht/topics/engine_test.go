package topics_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht/topics"
)

func echo(m *member, now time.Time, a topics.Asked) {
	m.Answer(now, a.ID, append([]byte("echo "), a.Payload...), nil)
}

func TestSend_OwnerAnswersOnce(t *testing.T) {
	w := newWorld(t, 1, 5, topics.Config{})
	for _, m := range w.nodes {
		m.service = echo
	}
	for i := range w.nodes {
		key := w.nodes[(i+2)%5].self.ID
		var n uint64
		w.do(i, func(m *member, now time.Time) { n = m.Send(now, key, "echo", []byte("hi")) })
		w.sim.RunFor(time.Second)
		a, ok := w.nodes[i].outcome(n).(topics.Answered)
		if !ok || string(a.Payload) != "echo hi" || a.By != key {
			t.Errorf("node %d: %+v", i, w.nodes[i].outcome(n))
		}
	}
}

func TestPublish_ReachesEachSubscriberOnceInOrder(t *testing.T) {
	w := newWorld(t, 1, 20, topics.Config{})
	w.subscribe("news", count(15)...)
	w.sim.RunFor(time.Second)
	var want []string
	for i := range 50 {
		n := w.publish(i%20, "news", fmt.Sprint("m", i))
		w.sim.RunFor(10 * time.Millisecond)
		if p, ok := w.nodes[i%20].outcome(n).(topics.Published); !ok || p.Copies != 3 {
			t.Fatalf("message %d: %+v", i, w.nodes[i%20].outcome(n))
		}
		want = append(want, fmt.Sprint("m", i))
	}
	w.sim.RunFor(time.Second)
	for i, m := range w.nodes {
		got := texts(m.got["news"])
		if i < 15 && !slices.Equal(got, want) || i >= 15 && got != nil {
			t.Errorf("node %d got %q", i, got)
		}
	}
}

func TestPublish_RefusesWhatIsTooLarge(t *testing.T) {
	w := newWorld(t, 1, 1, topics.Config{})
	w.subscribe("t", 0)
	var large, named, fits uint64
	w.do(0, func(m *member, now time.Time) {
		large = m.Publish(now, "t", make([]byte, topics.MaxPayload+1))
		named = m.Publish(now, "", nil)
		fits = m.Publish(now, "t", make([]byte, topics.MaxPayload))
	})
	if f, ok := w.nodes[0].outcome(large).(topics.Failed); !ok || !errors.Is(f.Err, topics.ErrTooLarge) {
		t.Errorf("large: %+v", w.nodes[0].outcome(large))
	}
	if f, ok := w.nodes[0].outcome(named).(topics.Failed); !ok || !errors.Is(f.Err, topics.ErrName) {
		t.Errorf("no name: %+v", w.nodes[0].outcome(named))
	}
	if _, ok := w.nodes[0].outcome(fits).(topics.Published); !ok || len(w.nodes[0].got["t"]) != 1 {
		t.Errorf("64 KiB: %+v", w.nodes[0].outcome(fits))
	}
}

func TestAnycast_TriesUntilOneAccepts(t *testing.T) {
	w := newWorld(t, 1, 30, topics.Config{MaxChildren: 3})
	asked := 0
	for i, m := range w.nodes {
		m.service = func(m *member, now time.Time, a topics.Asked) {
			asked++
			if i == 17 {
				m.Answer(now, a.ID, []byte("done"), nil)
			} else {
				m.Answer(now, a.ID, nil, errors.New("no time"))
			}
		}
	}
	any := func(i int) topics.Event {
		var n uint64
		w.do(i, func(m *member, now time.Time) { n = m.Anycast(now, "work", []byte("job")) })
		w.sim.RunFor(5 * time.Second)
		return w.nodes[i].outcome(n)
	}
	if f, ok := any(0).(topics.Failed); !ok || !errors.Is(f.Err, topics.ErrNobody) {
		t.Errorf("without subscribers: %+v", f)
	}
	w.subscribe("work", count(25)...)
	w.sim.RunFor(2 * time.Second)
	for _, i := range []int{28, 3, 17} {
		if a, ok := any(i).(topics.Answered); !ok || a.By != w.nodes[17].self.ID {
			t.Errorf("from %d: %+v", i, a)
		}
	}
	asked = 0
	w.do(17, func(m *member, now time.Time) { m.Unsubscribe(now, "work") })
	w.sim.RunFor(2 * time.Second)
	f, ok := any(29).(topics.Failed)
	if !ok || !errors.Is(f.Err, topics.ErrRefused) || asked != 24 {
		t.Errorf("refused by all: asked %d, %+v", asked, f)
	}
	t.Log(f.Err)
}

// The owner of a key that dies is not waited for longer than its request.
func TestSend_NextOwnerAnswersWhenTheFirstDies(t *testing.T) {
	w := newWorld(t, 1, 6, topics.Config{})
	for _, m := range w.nodes {
		m.service = echo
	}
	key := w.nodes[3].self.ID
	w.crash(3)
	var n uint64
	w.do(0, func(m *member, now time.Time) { n = m.Send(now, key, "echo", []byte("x")) })
	w.sim.RunFor(2 * time.Second)
	w.settleRing()
	w.sim.RunFor(2 * time.Second)
	a, ok := w.nodes[0].outcome(n).(topics.Answered)
	if !ok || a.By != successor(w.ring(0), key).ID {
		t.Errorf("%+v", w.nodes[0].outcome(n))
	}
}

func TestSend_GivesUpAtTheDeadline(t *testing.T) {
	w := newWorld(t, 1, 2, topics.Config{Deadline: 3 * time.Second})
	w.nodes[0].late = true
	var n uint64
	w.do(0, func(m *member, now time.Time) { n = m.Send(now, w.nodes[1].self.ID, "x", nil) })
	w.sim.RunFor(3 * time.Second)
	f, ok := w.nodes[0].outcome(n).(topics.Failed)
	if !ok || !errors.Is(f.Err, topics.ErrDeadline) {
		t.Fatalf("%+v", w.nodes[0].outcome(n))
	}
	if s := w.nodes[0].State(); s.Waiting != 0 {
		t.Errorf("%d requests wait after the deadline", s.Waiting)
	}
}
