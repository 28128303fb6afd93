package dht

import (
	"testing"
	"time"
)

func TestNode_TwoBecomeARing(t *testing.T) {
	l := newLAN(t)
	a, b := l.add(Config{}), l.add(Config{})
	b.Meet(l.now, a.cfg.Self)
	took := l.until(5*time.Second, func() bool { return isWhole(a, b) })
	l.whole(a, b)
	if took > 100*time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

func TestNode_RingsOfManySizes(t *testing.T) {
	for _, count := range []int{1, 2, 3, 4, 5, 9, 20, 50} {
		l := newLAN(t)
		nodes := l.ring(count, Config{Seed: 7})
		for _, n := range nodes {
			if s := n.Status(); s.Members != count || s.Dead != 0 || s.Counters.Refused != [reasons]uint64{} {
				t.Errorf("of %d: %+v", count, s)
			}
		}
	}
}

func TestNode_RingAboveMaxMembers(t *testing.T) {
	for _, count := range []int{12, 40, 100} {
		l := newLAN(t)
		l.ring(count, Config{Seed: 7, MaxMembers: 8})
	}
}
