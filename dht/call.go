package dht

import (
	"container/heap"
	"slices"
	"time"
)

// question is what a call is about.
type question uint8

const (
	asksLife    question = iota // Query
	asksView                    // Query with View
	asksOther                   // Probe: a third node asks
	asksForPeer                 // Query for a Probe
	asksKey                     // Find
	asksMembers                 // Sync
	asksLater                   // nobody: a lookup that begins again when the time is over
)

// call is a question that has not been answered yet.
type call struct {
	token    uint64
	to       Peer
	what     question
	sent     time.Time
	deadline time.Time
	lookup   *lookup // of asksKey and asksLater
	subject  Peer    // of asksOther
	asker    Peer    // of asksForPeer: who sent the Probe,
	reply    uint64  // and its token
}

// calls are the questions under way, and the timers.
type calls struct {
	open   map[uint64]*call
	timers timers
	late   [256]uint64 // tokens whose time is over
	at     int
}

// ask sends a question and waits for its answer.
func (n *Node) ask(c call) *call {
	if len(n.calls.open) >= maxCalls {
		n.counters.Dropped++
		return nil
	}
	c.token, c.sent = n.rng.Uint64(), n.clock.now
	wait := n.timeout()
	if c.what == asksForPeer {
		wait = n.cfg.Timeout * 7 / 10 // so that the asker hears before its own time is over
	}
	c.deadline = c.sent.Add(wait)
	n.calls.open[c.token] = &c
	n.calls.timers.set(timer{at: c.deadline, call: c.token})
	if c.what != asksLater {
		n.send(c.to, n.question(&c))
	}
	return &c
}

func (n *Node) question(c *call) Message {
	switch c.what {
	case asksOther:
		return Probe{c.token, c.subject}
	case asksKey:
		return Find{c.token, c.lookup.key}
	case asksMembers:
		return Sync{c.token, n.book.partHashes()}
	}
	q := Query{Token: c.token, View: c.what == asksView, Members: n.membersHash()}
	q.Head = n.ring.Head().Is(c.to) && n.broken != NeverNotify
	if q.View && n.stab.seenOf.Is(c.to) {
		q.Seen = n.stab.seenHash
	}
	if k := n.book.get(c.to.ID); k != nil && (k.state == Suspect || k.state == Dead) {
		q.Accused = k.counter + 1
	}
	return q
}

// answered takes the call that an answer belongs to: asked of that peer, about that,
// and still open.
func (n *Node) answered(from Peer, token uint64, what ...question) *call {
	c := n.calls.open[token]
	if c == nil && slices.Contains(n.calls.late[:], token) {
		n.counters.Late++
		return nil
	}
	if c == nil || c.to.ID != from.ID || !slices.Contains(what, c.what) {
		n.refuse(from, NeverAsked)
		return nil
	}
	delete(n.calls.open, token)
	n.doubt.answered = true
	return c
}

// expire ends a call that nobody answered in time.
func (n *Node) expire(c *call) {
	delete(n.calls.open, c.token)
	n.calls.late[n.calls.at%len(n.calls.late)] = c.token
	n.calls.at++
	switch c.what {
	case asksLife, asksView:
		if k := n.book.get(c.to.ID); k != nil {
			n.missed(k, c)
		}
	case asksForPeer:
		n.send(c.asker, Probed{c.reply, false})
	case asksKey:
		n.lookupMissed(c)
	case asksLater:
		if n.finding.byID[c.lookup.id] != nil {
			n.start(c.lookup)
		}
	case asksMembers:
		n.gossip.syncing = false
	case asksOther:
		if k := n.book.get(c.subject.ID); k != nil {
			n.relayDone(k)
		}
	}
}

// prolong gives all open questions their whole time again.
func (n *Node) prolong() {
	n.calls.timers = slices.DeleteFunc(n.calls.timers, func(t timer) bool { return t.call != 0 })
	for token, c := range n.calls.open { // in any order: tokens make the heap's order the same
		c.deadline = n.clock.now.Add(n.timeout())
		n.calls.timers = append(n.calls.timers, timer{at: c.deadline, call: token})
	}
	slices.SortFunc(n.calls.timers, func(a, b timer) int {
		if d := a.at.Compare(b.at); d != 0 {
			return d
		}
		switch {
		case a.call < b.call:
			return -1
		case a.call > b.call:
			return 1
		}
		return a.id.Compare(b.id)
	})
	heap.Init(&n.calls.timers)
}

// waits reports whether a question of that kind to that peer is open.
func (n *Node) waits(k *known) bool { return k != nil && n.calls.open[k.viewCall] != nil }
