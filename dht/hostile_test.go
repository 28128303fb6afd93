package dht

import (
	"errors"
	"math"
	"testing"
	"time"
)

// outsider is a peer that can prove its ID and is not one of the nodes of a test.
func outsider(i int) Peer { return lanPeer(1000 + i) }

// A forged notification comes from a real peer, proven in ID; that it is not the
// nearest one before this node is no reason to make it the predecessor.
func TestNode_NotifyOfANodeFartherAwayIsNotBelieved(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(8, Config{Seed: 1})
	for i := range 40 {
		from := outsider(i)
		victim := nodes[0]
		if Between(victim.View().Predecessor.ID, from.ID, victim.cfg.Self.ID) {
			continue
		}
		l.inject(from, victim, Query{Token: 1, Head: true})
		if victim.View().Predecessor.Is(from) {
			t.Fatalf("%x has become predecessor of %x", from.ID[:4], victim.cfg.Self.ID[:4])
		}
	}
	l.run(10 * time.Second)
	l.whole(nodes...)
}

// A peer that notifies, lies nearest, and then is silent is found dead.
func TestNode_NotifierThatDoesNotAnswerIsForgotten(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(8, Config{Seed: 1})
	victim := nodes[0]
	from := outsider(1)
	for i := 2; !Between(victim.View().Predecessor.ID, from.ID, victim.cfg.Self.ID); i++ {
		from = outsider(i)
	}
	l.inject(from, victim, Query{Token: 1, Head: true})
	l.run(10 * time.Second)
	l.whole(nodes...)
}

// The names in a list of successors are asked before any of them is used; nodes with
// that rule taken out show that the test would notice.
func TestNode_LyingListsOfSuccessorsLeaveTheRingAsItWas(t *testing.T) {
	for _, broken := range []Mutation{Sound, TrustLists} {
		l := newLAN(t)
		nodes := l.ring(10, Config{Seed: 2})
		for _, n := range nodes {
			n.broken = broken
		}
		lies, believed := l.lie(nodes[3], nodes)
		if lies == 0 || (broken == TrustLists) != (believed > 0) {
			t.Errorf("mutation %d: %d lies, %d believed", broken, lies, believed)
		}
		if broken == Sound {
			l.run(20 * time.Second)
			l.whole(nodes...)
		}
	}
}

// lie lets one of the nodes tell whoever asks of successors that are not there.
func (l *lan) lie(liar *Node, nodes []*Node) (lies, believed int) {
	next := 0
	l.tap = func(from, to Peer, m Message) {
		q, ok := m.(Query)
		if !ok || !q.View || !to.Is(liar.cfg.Self) {
			return
		}
		list := []Peer{outsider(next), outsider(next + 1)}
		if next += 3; !Between(liar.cfg.Self.ID, list[0].ID, list[1].ID) {
			list[0], list[1] = list[1], list[0]
		}
		lies++ // this arrives before the true answer, which then is one never asked for
		l.forge(liar.cfg.Self, from.ID, Answer{Token: q.Token, Whole: true, Predecessor: outsider(next - 1), Successors: list})
	}
	for range 100 {
		l.run(300 * time.Millisecond)
		for _, n := range nodes {
			for _, p := range n.View().Successors {
				if l.nodes[p.ID] == nil {
					believed++
				}
			}
		}
	}
	l.tap = nil
	return lies, believed
}

func TestNode_ListOutOfOrderIsRefused(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(6, Config{Seed: 2})
	v := nodes[0].View()
	var token uint64
	l.tap = func(from, to Peer, m Message) {
		if q, ok := m.(Query); ok && q.View && from.Is(nodes[0].cfg.Self) {
			token = q.Token
		}
	}
	l.cut = func(_, to ID) bool { return to == v.Successors[0].ID }
	l.until(5*time.Second, func() bool { return token != 0 })
	l.inject(v.Successors[0], nodes[0], Answer{Token: token, Whole: true, Predecessor: v.Self, Successors: []Peer{v.Successors[2], v.Successors[1]}})
	if got := nodes[0].Status().Counters.Refused[OutOfOrder]; got != 1 {
		t.Errorf("refused %d times", got)
	}
	l.cut = nil
	l.run(20 * time.Second)
	l.whole(nodes...)
}

func TestNode_AnswersToQuestionsNeverAskedAreRefused(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(5, Config{Seed: 3})
	n, friend := nodes[0], nodes[1].cfg.Self
	before := n.View()
	for _, m := range []Message{
		Answer{Token: 5, Whole: true, Predecessor: friend, Successors: []Peer{friend}},
		Found{Token: 6, Owners: []Peer{friend}}, Probed{Token: 7, Alive: true}, Members{Token: 8, Parts: math.MaxUint32},
	} {
		l.inject(friend, n, m)
	}
	if got := n.Status().Counters.Refused[NeverAsked]; got != 4 {
		t.Errorf("refused %d of 4", got)
	}
	if after := n.View(); !after.Predecessor.Is(before.Predecessor) || len(after.Successors) != len(before.Successors) {
		t.Error("the view has changed")
	}
	l.whole(nodes...)
}

// Who answers another's question cannot know its token but by luck; even then the
// answer is the wrong peer's.
func TestNode_AnswerOfAnotherPeerIsRefused(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(5, Config{Seed: 3})
	var token uint64
	l.tap = func(from, _ Peer, m Message) {
		if f, ok := m.(Find); ok && from.Is(nodes[0].cfg.Self) {
			token = f.Token
		}
	}
	key := nodes[2].cfg.Self.ID
	nodes[0].Lookup(l.now, key)
	l.flush()
	l.inject(nodes[4].cfg.Self, nodes[0], Found{Token: token, Owners: []Peer{nodes[4].cfg.Self}})
	if got := nodes[0].Status().Counters.Refused[NeverAsked]; got != 1 {
		t.Errorf("refused %d times", got)
	}
	l.run(time.Second)
	done := eventsOf[LookupDone](l, nodes[0])
	if len(done) != 1 || !done[0].Owner.Is(nodes[2].cfg.Self) {
		t.Errorf("the lookup ended with %v", done)
	}
}

// Incarnations and counters near the end of all numbers are lies: there must always
// be a higher one.
func TestNode_VersionsThatWrapAreRefused(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(6, Config{Seed: 4})
	n := nodes[0]
	friend := n.View().Successors[0]
	wrapped := friend
	wrapped.Incarnation = math.MaxUint64
	l.inject(nodes[1].cfg.Self, n, Rumors{[]Rumor{{wrapped, Alive, math.MaxUint64}}})
	l.inject(wrapped, n, Query{Token: 1, Head: true})
	n.Meet(l.now, wrapped)
	l.inject(nodes[1].cfg.Self, n, Query{Token: 2, Accused: math.MaxUint64})
	c := n.Status().Counters
	if c.Refused[NoPoint] != 3 || c.Refused[FalseAccused] != 1 {
		t.Errorf("refused %v", c.Refused)
	}
	l.run(10 * time.Second)
	l.whole(nodes...)
	if n.counter != 0 {
		t.Errorf("the counter is %d", n.counter)
	}
}

// A rumour of a death, of a new life, or of new members is a hint to ask: a lie
// changes nothing.
func TestNode_RumorsOfOthersAreOnlyHints(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(6, Config{Seed: 5})
	liar := nodes[5].cfg.Self
	for i := range 5 {
		for _, n := range nodes[:5] {
			victim := nodes[i].cfg.Self
			next := victim
			next.Incarnation += 5
			l.inject(liar, n, Rumors{[]Rumor{{victim, Dead, 0}, {next, Alive, 0}, {outsider(i), Alive, 0}, {victim, Left, 9}}})
		}
		l.run(5 * time.Second)
	}
	l.run(10 * time.Second)
	l.whole(nodes...)
	for _, n := range nodes {
		if s := n.Status(); s.Members != 6 || s.Counters.Died != 0 {
			t.Errorf("%+v", s)
		}
	}
}

func TestNode_MessagesOfAnEarlierLifeAreRefused(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(5, Config{Seed: 6})
	old := nodes[1].cfg.Self
	l.kill(nodes[1])
	again := old
	again.Incarnation++
	nodes[1] = l.add(Config{Self: again, Seed: 77})
	nodes[1].Meet(l.now, nodes[0].cfg.Self)
	l.run(10 * time.Second)
	l.whole(nodes...)
	l.inject(old, nodes[0], Query{Token: 1, Head: true})
	l.inject(old, nodes[0], Farewell{})
	if got := nodes[0].Status().Counters.Refused[EarlierLife]; got != 2 {
		t.Errorf("refused %d of 2", got)
	}
	l.run(5 * time.Second)
	l.whole(nodes...)
}

func TestNode_OwnNameOfAnotherIsRefused(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(3, Config{Seed: 6})
	l.inject(nodes[0].cfg.Self, nodes[0], Farewell{})
	if nodes[0].Status().Counters.Refused[OwnName] != 1 {
		t.Error("it was believed")
	}
	l.run(5 * time.Second)
	l.whole(nodes...)
}

// Floods of names and questions fill bounded tables and are counted.
func TestNode_FloodsAreBounded(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(5, Config{Seed: 8, MaxMembers: 50})
	n, liar := nodes[0], nodes[1].cfg.Self
	for i := 0; i < 20000; i += MaxRumors {
		var m Rumors
		for k := range MaxRumors {
			m.List = append(m.List, Rumor{outsider(i + k), Alive, 0})
		}
		n.HandleMessage(l.now, liar, m)
		n.HandleMessage(l.now, liar, Probe{uint64(i), outsider(i)})
		n.Outgoing()
	}
	s := n.Status()
	if all := len(n.Members()); all > 4*50+4*MaxSuccessors+maxMeeting || len(n.book.names) > maxNames || s.Calls > maxCalls {
		t.Errorf("%d members, %d names, %+v", all, len(n.book.names), s)
	}
	if s.Counters.Dropped == 0 {
		t.Error("nothing was dropped")
	}
	n.Events()
	l.run(90 * time.Second)
	if s := n.Status(); s.Calls > 100 || len(n.book.ghosts) > maxGhosts {
		t.Errorf("after the flood: %+v", s)
	}
	l.whole(nodes...)
}

func TestNode_LookupsAreBounded(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(3, Config{Seed: 8})
	n := nodes[0]
	for range maxLookups + 10 {
		n.Lookup(l.now, nodes[1].cfg.Self.ID)
	}
	busy := 0
	for _, e := range n.Events() {
		if d, ok := e.(LookupDone); ok && errors.Is(d.Err, ErrBusy) {
			busy++
		}
	}
	if busy == 0 || len(n.finding.byID) > maxLookups+1 {
		t.Errorf("%d busy, %d under way", busy, len(n.finding.byID))
	}
}

// A node asked for a key that names nodes farther away leads nobody in circles.
func TestNode_LookupRefusesWhatIsNoProgress(t *testing.T) {
	l := newLAN(t)
	nodes := l.ring(24, Config{Seed: 9, MaxMembers: 6})
	liar := nodes[7]
	l.tap = func(from, to Peer, m Message) {
		if f, ok := m.(Find); ok && to.Is(liar.cfg.Self) {
			l.forge(to, from.ID, Found{Token: f.Token, Next: []Peer{liar.View().Predecessor, liar.cfg.Self}})
		}
	}
	for i := range 50 {
		key := outsider(i).ID
		id := nodes[3].Lookup(l.now, key)
		l.run(time.Second)
		done := eventsOf[LookupDone](l, nodes[3])
		last := done[len(done)-1]
		if want := ownerOf(key, nodes...); last.ID != id || last.Err != nil || !last.Owner.Is(want.cfg.Self) {
			t.Errorf("lookup %d: %v, ought to be %x", i, last, want.cfg.Self.ID[:4])
		}
	}
}

func ownerOf(key ID, nodes ...*Node) *Node {
	var owner *Node
	for _, n := range nodes {
		if owner == nil || n.cfg.Self.ID == key || owner.cfg.Self.ID != key && Between(key, n.cfg.Self.ID, owner.cfg.Self.ID) {
			owner = n
		}
	}
	return owner
}
