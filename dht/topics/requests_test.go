package topics_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/topics"
	"github.com/aether-lan/aether/internal/netsim"
)

// bench is one engine that is given messages by hand, the owner of everything.
func bench(limits topics.Limits) (*topics.Engine, dht.Space, time.Time) {
	space, _ := dht.NewSpace(160)
	e := topics.New(topics.Config{Space: space, Self: dht.Peer{ID: space.Int(1), Incarnation: 1}, Limits: limits})
	return e, space, time.Unix(1000, 0)
}

func askedOf(e *topics.Engine) (ids []topics.RequestID) {
	for _, ev := range e.Events() {
		if a, ok := ev.(topics.Asked); ok {
			ids = append(ids, a.ID)
		}
	}
	return ids
}

func repliesOf(e *topics.Engine) (list []topics.Reply) {
	for _, p := range e.Outgoing() {
		if r, ok := p.Message.(topics.Reply); ok {
			list = append(list, r)
		}
	}
	return list
}

func TestRequests_RepetitionIsAnsweredFromMemory(t *testing.T) {
	e, space, now := bench(topics.Limits{})
	from := dht.Peer{ID: space.Int(9), Incarnation: 3}
	r := topics.Request{Number: 5, Oldest: 5, Key: space.Int(7), Service: "s", Payload: []byte("p"), Wait: time.Second}
	e.HandleMessage(now, from, r)
	ids := askedOf(e)
	if len(ids) != 1 {
		t.Fatalf("asked %v", ids)
	}
	e.HandleMessage(now, from, r)
	if got := repliesOf(e); len(got) != 1 || got[0].Status != topics.Working || askedOf(e) != nil {
		t.Fatalf("while it is handled: %+v", got)
	}
	e.Answer(now, ids[0], []byte("answer"), nil)
	e.Answer(now, ids[0], []byte("another"), nil)
	for range 3 {
		e.HandleMessage(now.Add(time.Minute), from, r)
	}
	got := repliesOf(e)
	if len(got) != 4 || askedOf(e) != nil {
		t.Fatalf("%d replies", len(got))
	}
	for _, r := range got {
		if string(r.Payload) != "answer" {
			t.Errorf("%+v", r)
		}
	}
	// The sender tells that it waits for it no more: it is forgotten, and never handled
	// again.
	e.HandleMessage(now, from, topics.Request{Number: 6, Oldest: 6, Key: space.Int(7), Service: "s"})
	askedOf(e)
	e.HandleMessage(now, from, r)
	if ids := askedOf(e); ids != nil || repliesOf(e) != nil || e.State().Handled != 1 {
		t.Errorf("a request of the past is handled: %v", ids)
	}
	// So are those of an earlier life.
	from.Incarnation = 2
	e.HandleMessage(now, from, topics.Request{Number: 50, Oldest: 50, Key: space.Int(7), Service: "s"})
	if ids := askedOf(e); ids != nil {
		t.Errorf("a request of an earlier life is handled: %v", ids)
	}
	from.Incarnation = 4
	e.HandleMessage(now, from, topics.Request{Number: 1, Oldest: 1, Key: space.Int(7), Service: "s"})
	if ids := askedOf(e); len(ids) != 1 {
		t.Errorf("the first request of a new life: %v", ids)
	}
}

// Memory is bounded by refusing, never by forgetting what might come again.
func TestRequests_FullMemoryRefuses(t *testing.T) {
	e, space, now := bench(topics.Limits{Handled: 64})
	handled := 0
	for n := range uint64(20) {
		for from := range uint64(16) {
			e.HandleMessage(now, dht.Peer{ID: space.Int(100 + from), Incarnation: 1},
				topics.Request{Number: n + 1, Oldest: 1, Key: space.Int(7), Service: "s"})
			for _, id := range askedOf(e) {
				handled++
				e.Answer(now, id, nil, nil)
			}
		}
	}
	if st := e.State(); handled != 64 || st.Handled != 64 || st.Counters.Busy != 20*16-64 {
		t.Errorf("handled %d, %+v", handled, st)
	}
	// Those who ask nothing any more are forgotten after twice the longest deadline.
	now = now.Add(2*topics.MaxDeadline + time.Second)
	e.HandleMessage(now, dht.Peer{ID: space.Int(500), Incarnation: 1},
		topics.Request{Number: 1, Oldest: 1, Key: space.Int(7), Service: "s"})
	if ids := askedOf(e); len(ids) != 1 {
		t.Errorf("after %v: %v", 2*topics.MaxDeadline, ids)
	}
}

// One node cannot take all the room.
func TestRequests_OneSenderTakesAnEighth(t *testing.T) {
	e, space, now := bench(topics.Limits{Handled: 64})
	for n := range uint64(64) {
		e.HandleMessage(now, dht.Peer{ID: space.Int(9), Incarnation: 1},
			topics.Request{Number: n + 1, Oldest: 1, Key: space.Int(7), Service: "s"})
	}
	if n := len(askedOf(e)); n != 8 {
		t.Errorf("%d requests of one sender are handled, want 8", n)
	}
}

// A hundred thousand requests leave nothing behind but the last.
func TestRequests_AnswersAreForgottenAsTheSenderGoesOn(t *testing.T) {
	w := newWorld(t, 1, 2, topics.Config{})
	handled := 0
	w.nodes[1].service = func(m *member, now time.Time, a topics.Asked) { handled++; echo(m, now, a) }
	for range 1000 {
		w.do(0, func(m *member, now time.Time) { m.Send(now, w.nodes[1].self.ID, "s", nil) })
		w.sim.RunFor(3 * time.Millisecond)
	}
	if st := w.nodes[1].State(); handled != 1000 || st.Handled != 1 {
		t.Errorf("handled %d, remembers %d", handled, st.Handled)
	}
}

func TestRequests_AnswersToNoQuestionAreIgnored(t *testing.T) {
	w := newWorld(t, 1, 3, topics.Config{})
	w.nodes[1].service = func(*member, time.Time, topics.Asked) {}
	var n uint64
	w.do(0, func(m *member, now time.Time) {
		n = m.Send(now, w.nodes[1].self.ID, "s", nil)
		m.HandleMessage(now, w.nodes[2].self, topics.Reply{Number: n, Payload: []byte("lie")})
		m.HandleMessage(now, w.nodes[1].self, topics.Reply{Number: n + 1, Payload: []byte("lie")})
	})
	if ev := w.nodes[0].outcome(n); ev != nil || w.nodes[0].State().Counters.Unasked != 2 {
		t.Errorf("%+v, %+v", ev, w.nodes[0].State().Counters)
	}
}

func TestRequests_TooManyFailAtOnce(t *testing.T) {
	w := newWorld(t, 1, 2, topics.Config{Limits: topics.Limits{Outstanding: 3}})
	var last uint64
	for range 4 {
		w.do(0, func(m *member, now time.Time) { last = m.Send(now, w.nodes[1].self.ID, "s", nil) })
	}
	if f, ok := w.nodes[0].outcome(last).(topics.Failed); !ok || !errors.Is(f.Err, topics.ErrBusy) {
		t.Errorf("%+v", w.nodes[0].outcome(last))
	}
}

// On a network that loses a fifth of all packets and doubles a tenth, each request is
// handled once and answered.
func TestRequests_HandledOnceOnABadNetwork(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, 5, topics.Config{Deadline: topics.MaxDeadline})
		w.sim.Segment("lan").Faults = netsim.Faults{
			Delay: time.Millisecond, Jitter: 100 * time.Millisecond, Loss: 0.2, Duplicate: 0.1, Reorder: 0.1, ReorderDelay: 3 * time.Second,
		}
		times := map[string]int{}
		for _, m := range w.nodes {
			m.service = func(m *member, now time.Time, a topics.Asked) {
				times[string(a.Payload)]++
				echo(m, now, a)
			}
		}
		numbers := make([][]uint64, 5)
		for k := range 20 {
			for i := range w.nodes {
				w.do(i, func(m *member, now time.Time) {
					n := m.Send(now, w.nodes[(i+k)%5].self.ID, "s", fmt.Append(nil, i, "/", k))
					numbers[i] = append(numbers[i], n)
				})
			}
			w.sim.RunFor(200 * time.Millisecond)
		}
		w.sim.RunFor(time.Minute)
		for i, list := range numbers {
			for k, n := range list {
				text := fmt.Sprint(i, "/", k)
				a, ok := w.nodes[i].outcome(n).(topics.Answered)
				if !ok || string(a.Payload) != "echo "+text || times[text] != 1 {
					t.Errorf("seed %d: %s handled %d times: %+v", seed, text, times[text], w.nodes[i].outcome(n))
				}
			}
		}
	}
}
