package paxos

import (
	"cmp"
	"slices"
	"time"
)

// A promise binds the disk that holds it. A node whose disk was wiped would promise
// and accept against its earlier word, and two values could be chosen (palantir
// atlasdb issues 1504, 1508). So a disk is given an incarnation when it is first
// used, a Membership says whose incarnation counts, and another one is a learner
// until changes of membership have made it a voter.
//
// That leaves the first membership, which knows no incarnations. A node with an
// empty disk cannot know whether it is new or was wiped, but the others can: each
// binds an ID to the first incarnation it hears of, durably. A disk is Confirmed,
// and counts, once every other first member has bound it; a second disk of the same
// ID finds that at least one of them knows another. The price is that all members
// must have met once before the cluster begins. Config.Vouched waives it.

// maxBound bounds the table of bindings.
const maxBound = MaxMembers

// identify gives a disk its incarnation and finds out whether it must be confirmed.
func (n *Node) identify() {
	if n.self.inc == 0 {
		n.self.inc = Incarnation(n.cfg.Rand.Uint64() | 1)
		n.disk.hard = true
		if n.broken == WipedVotes {
			n.self.inc, n.self.confirmed = Incarnation(n.cfg.ID), true
		}
	}
	if n.self.confirmed || n.members.Slot > 0 {
		n.greet()
		return
	}
	_, first := n.members.Find(n.cfg.ID)
	switch {
	case first && (n.cfg.Vouched || len(n.members.Members) == 1):
		n.confirm()
	case first:
		n.self.confirms = map[NodeID]bool{}
		n.wait.hello = n.now
	default:
		n.greet()
	}
}

// greet says Hello from time to time while no leader is heard, so that a leader
// learns of this node and its disk.
func (n *Node) greet() { n.wait.hello = n.now.Add(n.cfg.Timing.Heartbeat) }

func (n *Node) confirm() {
	n.self.confirmed, n.self.confirms, n.self.wiped = true, nil, false
	n.disk.hard = true
	n.greet()
	n.event(Event{Kind: EventConfirmed, Peer: n.cfg.ID})
}

// sayHello sends Hello to those who have not confirmed, or to all when the node is
// alone.
func (n *Node) sayHello(now time.Time) {
	asking := n.self.confirms != nil
	if !asking && !n.self.wiped && (n.role == Leading || now.Sub(n.acc.heard) < n.cfg.Timing.Election) {
		n.wait.hello = now.Add(n.cfg.Timing.Election)
		return
	}
	n.wait.hello = now.Add(2 * n.cfg.Timing.Heartbeat)
	for _, id := range n.peers() {
		if !n.self.confirms[id] {
			n.sendSaved(id, Hello{Chosen: n.chosen, Asking: asking || n.self.wiped})
		}
	}
}

// peers are the other members, or the contacts of a node that knows none.
func (n *Node) peers() (ids []NodeID) {
	for _, m := range n.members.Members {
		if m.ID != n.cfg.ID {
			ids = append(ids, m.ID)
		}
	}
	if len(n.members.Members) == 0 {
		return n.cfg.Contacts
	}
	return ids
}

// bind returns the incarnation that id is bound to, binding it to inc if none is.
func (n *Node) bind(id NodeID, inc Incarnation) Incarnation {
	i, ok := slices.BinarySearchFunc(n.self.bound, id, func(b Binding, id NodeID) int { return cmp.Compare(b.ID, id) })
	if ok {
		return n.self.bound[i].Incarnation
	}
	if _, first := n.members.Find(id); !first || len(n.self.bound) >= maxBound {
		return 0
	}
	n.self.bound = slices.Insert(n.self.bound, i, Binding{id, inc})
	n.disk.hard = true
	return inc
}

// bound returns the incarnation that id is known by, or 0.
func (n *Node) boundTo(id NodeID) Incarnation {
	if id == n.cfg.ID {
		return n.self.inc
	}
	for _, b := range n.self.bound {
		if b.ID == id {
			return b.Incarnation
		}
	}
	return 0
}

// onHello binds and answers: the binding is on disk before the answer leaves.
func (n *Node) onHello(m Message, h Hello) {
	known := Incarnation(0)
	if v, ok := n.members.Find(m.From); ok && n.members.Slot > 0 {
		known = v.Incarnation
	} else if ok {
		known = n.bind(m.From, m.Incarnation)
	}
	if h.Asking {
		n.sendSaved(m.From, HelloReply{Known: known, Formed: n.members.Slot > 0})
	}
	if n.lead != nil {
		if f := n.lead.follower(m.From); f != nil {
			f.due = true // it does not hear us
		}
	}
}

// onHelloReply counts who confirms this disk.
func (n *Node) onHelloReply(m Message, r HelloReply) {
	_, member := n.members.Find(m.From)
	if n.self.confirms == nil || !member {
		return
	}
	if r.Known != n.self.inc {
		if r.Known != 0 && !n.self.wiped {
			n.self.wiped = true
			n.event(Event{Kind: EventWiped, Peer: n.cfg.ID, Note: "node " + m.From.String() + " knows this node by another disk"})
		}
		return
	}
	if n.bind(m.From, m.Incarnation) != m.Incarnation {
		return // it was wiped itself, and cannot know
	}
	n.self.confirms[m.From] = true
	if len(n.self.confirms) == len(n.members.Members)-1 {
		n.confirm()
	}
}

// meet notes what every message tells: who is there.
func (n *Node) meet(m Message) {
	if n.lead != nil {
		n.lead.met(n, m)
	}
}
