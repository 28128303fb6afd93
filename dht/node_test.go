package dht

import (
	"errors"
	"slices"
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
	for _, count := range []int{12, 40} {
		l := newLAN(t)
		l.ring(count, Config{Seed: 7, MaxMembers: 8})
	}
}

// Nodes are killed at many moments of the period.
func TestNode_DeathOfANeighborIsNoticedWithin3s(t *testing.T) {
	for _, count := range []int{2, 3, 6, 20} {
		l := newLAN(t)
		nodes := l.ring(count, Config{Seed: uint64(count)})
		for i := range min(count-1, 6) {
			l.run(time.Duration(i) * 370 * time.Millisecond) // at another moment of the period
			l.kill(nodes[0])
			nodes = nodes[1:]
			if took := l.until(10*time.Second, func() bool { return isWhole(nodes...) }); took > 3*time.Second {
				t.Errorf("%d nodes: the death of one was noticed after %v", len(nodes)+1, took)
			}
			l.run(2 * time.Second)
		}
	}
}

// With the transport's word that the machine refuses, it takes some round trips.
func TestNode_DeathIsNoticedAtOnceWhenTheTransportSaysSo(t *testing.T) {
	for _, count := range []int{2, 3, 20} {
		l := newLAN(t)
		nodes := l.ring(count, Config{Seed: uint64(count)})
		dead := nodes[count-1]
		l.kill(dead)
		nodes = nodes[:count-1]
		l.tap = func(from, to Peer, _ Message) { // the connection is refused
			if n := l.nodes[from.ID]; to.Is(dead.cfg.Self) && n != nil {
				l.refused = append(l.refused, lanRefusal{n, to})
			}
		}
		for _, n := range nodes {
			n.Unreachable(l.now, dead.cfg.Self) // it was reset
		}
		if took := l.until(10*time.Second, func() bool { return isWhole(nodes...) }); took > 100*time.Millisecond {
			t.Errorf("of %d: it took %v", count, took)
		}
		l.whole(nodes...)
	}
}

// The transport's word is not enough: who answers lives.
func TestNode_WrongHintOfTheTransportKillsNobody(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(6, Config{Seed: 2})
	for _, n := range nodes {
		for _, m := range nodes {
			n.Unreachable(l.now, m.cfg.Self)
		}
	}
	l.run(5 * time.Second)
	l.whole(nodes...)
	for _, n := range nodes {
		if died := n.Status().Counters.Died; died != 0 {
			t.Errorf("%d died", died)
		}
	}
}

// idleBudget is what a node may send and receive a second when nothing happens.
const idleBudget = 1000

// A packet is a message, 29 bytes of TLS and framing, 66 of Ethernet, IP and TCP. An
// answer acknowledges its question; each answer is acknowledged by 66 bytes more.
func TestNode_IdleTrafficOf20NodesIsBelow1kBps(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(20, Config{Seed: 3})
	l.run(30 * time.Second)
	l.sent, l.bytes = 0, 0
	const seconds = 120
	l.run(seconds * time.Second)
	l.whole(nodes...)
	wire := float64(l.bytes+l.sent*(66+29)+l.sent/2*66) / seconds / 20
	if l.sent == 0 || 2*wire > idleBudget {
		t.Errorf("a node sends %.0f bytes/s and receives as many", wire)
	}
	t.Logf("a node sends %.2f messages/s, %.0f bytes/s on the wire, and receives as many", float64(l.sent)/seconds/20, wire)
}

// The list never runs out: it outlives the death of all but one at once.
func TestNode_ConsecutiveDeathsAreSurvived(t *testing.T) {
	for _, count := range []int{3, 5, 9, 16} {
		l := newLAN(t)
		nodes := l.ring(count, Config{Seed: 4})
		ordered := inRingOrder(nodes)
		for _, n := range ordered[1 : count-1] {
			l.kill(n)
		}
		last := []*Node{ordered[0], ordered[count-1]}
		took := l.until(20*time.Second, func() bool { return isWhole(last...) })
		l.whole(last...)
		t.Logf("%d of %d died at once; whole after %v", count-2, count, took)
	}
}

func inRingOrder(nodes []*Node) []*Node {
	nodes = slices.Clone(nodes)
	slices.SortFunc(nodes, func(a, b *Node) int { return a.cfg.Self.ID.Compare(b.cfg.Self.ID) })
	return nodes
}

func TestNode_LeavingIsNoticedAtOnce(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(9, Config{Seed: 5})
	for len(nodes) > 1 {
		nodes[0].Leave(l.now)
		l.flush()
		l.kill(nodes[0])
		nodes = nodes[1:]
		if took := l.until(5*time.Second, func() bool { return isWhole(nodes...) }); took > 200*time.Millisecond {
			t.Errorf("%d are left; it took %v", len(nodes), took)
		}
		l.whole(nodes...)
	}
}

func TestNode_LeavingEndsItsLookups(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(3, Config{Seed: 5})
	nodes[0].Lookup(l.now, nodes[1].cfg.Self.ID)
	nodes[0].Leave(l.now)
	nodes[0].Lookup(l.now, nodes[1].cfg.Self.ID)
	for _, e := range nodes[0].Events() {
		if d, ok := e.(LookupDone); ok && errors.Is(d.Err, ErrLeft) {
			continue
		}
		t.Errorf("%v", e)
	}
	if _, ok := nodes[0].NextTimeout(); ok {
		t.Error("there is a timer")
	}
}

// After a better head is adopted it is that one that is notified, not the old one.
func TestNode_NewHeadIsNotified(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(4, Config{Seed: 6})
	between := l.add(Config{})
	told := false
	l.tap = func(_, to Peer, m Message) {
		if q, ok := m.(Query); ok && q.Head && to.Is(between.cfg.Self) {
			told = true
		}
	}
	between.Meet(l.now, nodes[0].cfg.Self)
	l.run(time.Second)
	l.whole(append(nodes, between)...)
	if !told {
		t.Error("the new head was not told")
	}
}

// IDs that begin with zeros are in their place like others.
func TestNode_IDsWithLeadingZeros(t *testing.T) {
	l := newLAN(t)
	var nodes []*Node
	for i, v := range []uint64{1, 255, 256, 65535, 65536, 1 << 40} {
		p := lanPeer(i)
		p.ID = fromWords(0, 0, v)
		nodes = append(nodes, l.add(Config{Self: p}))
		nodes[i].Meet(l.now, nodes[0].cfg.Self)
	}
	l.run(10 * time.Second)
	l.whole(nodes...)
	if owner, ok := nodes[5].Owner(fromWords(0, 0, 257)); !ok || !owner.Is(nodes[3].cfg.Self) {
		t.Errorf("257 belongs to %x", owner.ID)
	}
}

// The book's ring, by real nodes in a space of 5 bits.
func TestNode_BookRing(t *testing.T) {
	l := newLAN(t)
	s := space(t, 5)
	var nodes []*Node
	for i, v := range []uint64{1, 4, 9, 11, 14, 18, 20, 21, 28} {
		p := Peer{ID: s.Int(v), Incarnation: 1}
		nodes = append(nodes, l.add(Config{Space: s, Self: p}))
		nodes[i].Meet(l.now, nodes[0].cfg.Self)
	}
	l.run(10 * time.Second)
	l.whole(nodes...)
	for key := range uint64(32) {
		want := ownerOf(s.Int(key), nodes...)
		for _, n := range nodes {
			n.Lookup(l.now, s.Int(key))
			l.run(50 * time.Millisecond)
			done := eventsOf[LookupDone](l, n)
			if got := done[len(done)-1]; got.Err != nil || !got.Owner.Is(want.cfg.Self) || len(got.Hops) > 0 {
				t.Errorf("%d from %d: %v", key, n.cfg.Self.ID[19], got)
			}
		}
	}
}

// Two rings that have never heard of each other become one when one node of each
// meets.
func TestNode_TwoRingsThatMeetBecomeOne(t *testing.T) {
	for _, most := range []int{0, 5} {
		l := newLAN(t)
		a, b := l.ring(9, Config{Seed: 7, MaxMembers: most}), l.ring(8, Config{Seed: 70, MaxMembers: most})
		all := append(a, b...)
		b[3].Meet(l.now, a[2].cfg.Self)
		took := l.until(60*time.Second, func() bool { return isWhole(all...) })
		l.whole(all...)
		t.Logf("most %d: one ring after %v", most, took)
	}
}

// The halves of a divided ring go on by themselves and become one again when the
// network does, however long that takes.
func TestNode_PartitionHeals(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(12, Config{Seed: 8})
	side := map[ID]bool{}
	for i, n := range nodes {
		side[n.cfg.Self.ID] = i%2 == 0
	}
	var even, odd []*Node
	for i, n := range nodes {
		if i%2 == 0 {
			even = append(even, n)
		} else {
			odd = append(odd, n)
		}
	}
	l.cut = func(from, to ID) bool { return side[from] != side[to] }
	l.run(30 * time.Minute)
	l.whole(even...)
	l.whole(odd...)
	l.cut = nil
	took := l.until(90*time.Second, func() bool { return isWhole(nodes...) })
	l.whole(nodes...)
	t.Logf("one ring again after %v", took)
}

// A node that was suspended for an hour declares nobody dead, whatever its clock says.
func TestNode_SuspendedNodeDeclaresNobodyDead(t *testing.T) {
	for _, jump := range []time.Duration{3 * time.Second, time.Hour, 365 * 24 * time.Hour, -365 * 24 * time.Hour} {
		l := newLAN(t)
		nodes := l.ring(8, Config{Seed: 9})
		n := nodes[2]
		l.run(10 * time.Second)
		died := n.Status().Counters.Died
		l.offset[n.cfg.Self.ID] = jump
		l.run(30 * time.Second)
		if got := n.Status().Counters.Died; got != died {
			t.Errorf("after a jump of %v it has declared %d dead", jump, got-died)
		}
		l.whole(nodes...)
	}
}

// A node whose answers no longer reach anybody, and who hears nobody, asks longer
// before it believes that all others have died.
func TestNode_CutOffNodeDoubtsItself(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(8, Config{Seed: 10})
	lone := nodes[4].cfg.Self.ID
	l.cut = func(from, to ID) bool { return from == lone || to == lone }
	took := l.until(time.Minute, func() bool { return nodes[4].Status().Counters.Died > 0 })
	if took < 4*time.Second || nodes[4].Status().Doubt == 0 {
		t.Errorf("it doubted for %v", took)
	}
	l.run(10 * time.Second)
	l.cut = nil
	l.run(90 * time.Second)
	l.whole(nodes...)
}

// One direction of one path is cut: others vouch, and nobody dies.
func TestNode_OneWayCutKillsNobody(t *testing.T) {
	l := newLAN(t)
	nodes := inRingOrder(l.ring(8, Config{Seed: 11}))
	a, b := nodes[3].cfg.Self.ID, nodes[4].cfg.Self.ID
	l.cut = func(from, to ID) bool { return from == a && to == b }
	l.run(2 * time.Minute)
	for _, n := range nodes {
		if died := n.Status().Counters.Died; died != 0 {
			t.Errorf("%x has declared %d dead", n.cfg.Self.ID[:3], died)
		}
	}
	l.whole(nodes...)
}

// A node that has lost its counter of lives starts with one that was used before. It
// is taken back when the life that the others know is over.
func TestNode_LowerIncarnationIsTakenBackAfterTheDeathOfTheHigher(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(6, Config{Seed: 12})
	self := nodes[2].cfg.Self
	l.kill(nodes[2])
	self.Incarnation = 9
	nodes[2] = l.add(Config{Self: self, Seed: 1})
	nodes[2].Meet(l.now, nodes[0].cfg.Self)
	l.run(10 * time.Second)
	l.whole(nodes...)
	l.kill(nodes[2])
	self.Incarnation = 1
	nodes[2] = l.add(Config{Self: self, Seed: 2})
	nodes[2].Meet(l.now, nodes[0].cfg.Self)
	l.run(20 * time.Second)
	l.whole(nodes...)
}

// Lookups go on while the owner is dead and nobody knows yet.
func TestNode_LookupOutlivesTheDeathOfTheOwner(t *testing.T) {
	for _, most := range []int{0, 4} {
		l := newLAN(t)
		nodes := l.ring(12, Config{Seed: 13, MaxMembers: most})
		dead := nodes[5]
		l.kill(dead)
		nodes = slices.DeleteFunc(nodes, func(n *Node) bool { return n == dead })
		for _, n := range nodes {
			n.Lookup(l.now, dead.cfg.Self.ID)
		}
		l.run(12 * time.Second)
		want := ownerOf(dead.cfg.Self.ID, nodes...)
		for _, n := range nodes {
			done := eventsOf[LookupDone](l, n)
			if len(done) != 1 || done[0].Err != nil || !done[0].Owner.Is(want.cfg.Self) {
				t.Errorf("most %d: %v, ought to be %x", most, done, want.cfg.Self.ID[:4])
			}
		}
	}
}
