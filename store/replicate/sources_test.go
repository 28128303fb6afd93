package replicate

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
)

func orderOf(s *Sources, now time.Time, likely []store.MachineID, ids ...store.MachineID) (names string) {
	for _, id := range s.Order(now, ids, likely, rand.New(rand.NewPCG(1, 2))) {
		names += string(id[0])
	}
	return names
}

func answer(s *Sources, id store.MachineID, times int, took time.Duration) {
	for range times {
		s.Asked(start, id)
		s.Answered(start, id, took)
	}
}

func TestSources_Order(t *testing.T) {
	a, b, c := store.MachineID{'a'}, store.MachineID{'b'}, store.MachineID{'c'}
	var s Sources
	answer(&s, a, 5, 30*time.Millisecond)
	answer(&s, b, 5, 10*time.Millisecond)
	if got := orderOf(&s, start, []store.MachineID{a, b}, a, b); got != "ba" {
		t.Errorf("the quicker is not first: %s", got)
	}
	if got := orderOf(&s, start, []store.MachineID{a}, a, b); got != "ab" {
		t.Errorf("a holder is not first: %s", got)
	}
	if got := orderOf(&s, start, []store.MachineID{a, b, c}, a, b, c); got != "cba" {
		t.Errorf("one that is not known is not tried: %s", got)
	}
	for range 3 {
		s.Asked(start, b)
	}
	if got := orderOf(&s, start, []store.MachineID{a, b}, a, b); got != "ab" {
		t.Errorf("work under way does not count: %s", got)
	}
	for range 3 {
		s.GaveUp(start, b, time.Millisecond)
	}
	s.Wrong(start, b)
	if got := orderOf(&s, start, []store.MachineID{b}, a, b); got != "ab" {
		t.Errorf("one that lies is not last: %s", got)
	}
	if got := orderOf(&s, start.Add(shunMin), []store.MachineID{b}, a, b); got != "ba" {
		t.Errorf("it is not forgiven: %s", got)
	}
	s.Wrong(start, b)
	if !s.Shunned(start.Add(shunMin), b) {
		t.Error("lying again does not cost more")
	}
}

func TestSources_Hedge(t *testing.T) {
	a := store.MachineID{'a'}
	var s Sources
	if d := s.Hedge(a); d != HedgeFirst {
		t.Errorf("unknown: %v", d)
	}
	answer(&s, a, 30, 20*time.Millisecond)
	answer(&s, a, 1, time.Second)
	if d := s.Hedge(a); d != 25*time.Millisecond {
		t.Errorf("one slow answer of many counts: %v", d)
	}
	answer(&s, a, 30, time.Microsecond)
	if d := s.Hedge(a); d < HedgeMin {
		t.Errorf("quick: %v", d)
	}
	answer(&s, a, 40, time.Minute)
	if d := s.Hedge(a); d != HedgeMax {
		t.Errorf("slow: %v", d)
	}
}

// What is remembered is bounded; what was not asked for longest goes first.
func TestSources_Bounded(t *testing.T) {
	var s Sources
	for i := range maxSources + 10 {
		s.Answered(start.Add(time.Duration(i)), store.MachineID{byte(i >> 8), byte(i), 1}, time.Millisecond)
	}
	if len(s.of) != maxSources {
		t.Errorf("%d machines", len(s.of))
	}
	if s.of[store.MachineID{0, 0, 1}] != nil || s.of[store.MachineID{0, 10, 1}] == nil {
		t.Error("not the oldest went")
	}
}
