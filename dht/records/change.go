package records

import (
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// step is how far a change has come.
type step uint8

const (
	preparing  step = 1 + iota // phase 1: sealing the epoch
	gathering                  // fetching the records of a member that has all
	installing                 // handing them to the next groups
	moved                      // or to another lineage
	accepting                  // phase 2
	announcing                 // decided
)

// change is an attempt of this node to have decided what follows a group. There is one
// at a time for a group; one that fails is followed by another with a higher ballot.
type change struct {
	group    Group
	ref      Ref
	plan     plan
	ballot   Ballot
	step     step
	due      time.Time // to send again
	since    time.Time // of the step
	promises []promise
	from     source
	targets  []*target
	decision Decision
	accepted []dht.ID
	acks     []ack
}

// promise is a member's answer in phase 1.
type promise struct {
	peer dht.Peer
	m    Promise
}

// source is where the records of the sealed epoch come from.
type source struct {
	peer  dht.Peer
	seq   uint64
	shelf *shelf
	after string // gathered up to here
}

// target is a member of a next group that is handed its first records.
type target struct {
	peer   dht.Peer
	group  Group
	own    bool   // it takes them from its own part of the sealed group
	part   uint64 // that is on its way
	after  string // what was handed over before that part
	next   string // and with it
	last   bool   // it is the last
	done   bool
	failed bool
	sent   time.Time
}

// ack is who knows that a group was decided.
type ack struct {
	peer dht.Peer
	of   Ref
	got  bool
}

// begin begins a change, if none is under way. It returns when to look again.
func (e *Engine) begin(g Group, p plan) time.Time {
	if slices.ContainsFunc(e.changes, func(c *change) bool { return c.ref == g.Ref() && c.step != announcing }) {
		return time.Time{}
	}
	if t := e.survey.tries[g.Arc.To]; e.now.Before(t.next) {
		return t.next
	}
	// One after the other: a node that changes everything at once holds everything up.
	if n := len(slices.DeleteFunc(slices.Clone(e.changes), func(c *change) bool { return c.step == announcing })); n >= 8 {
		return e.now.Add(e.cfg.Resend)
	}
	c := &change{group: g, ref: g.Ref(), plan: p, step: preparing, since: e.now, due: e.now.Add(e.cfg.Resend)}
	c.ballot = e.nextBallot(g.Ref())
	e.changes = append(e.changes, c)
	e.stats.Changes++
	for _, p := range g.Members {
		e.send(p, Prepare{g, c.ballot})
	}
	return time.Time{}
}

// nextBallot returns a ballot over all that this node has seen for the group. Rounds
// are not saved: the life of the node is part of a ballot.
func (e *Engine) nextBallot(of Ref) Ballot {
	e.rounds++
	if r := e.find(of, active); r != nil {
		e.rounds = max(e.rounds, r.acceptor.promised.Round+1)
	}
	return Ballot{e.rounds, e.cfg.Self.ID, e.cfg.Self.Incarnation}
}

// change returns the change of the group in the ballot, if it is at one of the steps.
func (e *Engine) change(of Ref, b Ballot, steps ...step) *change {
	for _, c := range e.changes {
		if c.ref == of && c.ballot == b && slices.Contains(steps, c.step) {
			return c
		}
	}
	return nil
}

// onPromise takes the answer of a member in phase 1. A majority is enough, whether all
// have records or not: it meets the majority that was handed the group's first records,
// and every majority that has a write.
func (e *Engine) onPromise(from dht.Peer, m Promise) {
	c := e.change(m.Of, m.Ballot, preparing)
	if c == nil || !c.group.Has(from.ID) || slices.ContainsFunc(c.promises, func(p promise) bool { return p.peer.ID == from.ID }) {
		return
	}
	c.promises = append(c.promises, promise{from, m})
	installed := false
	var heed Promise
	for _, p := range c.promises {
		installed = installed || p.m.Installed
		if heed.Accepted.Less(p.m.Accepted) {
			heed = p.m
		}
	}
	if len(c.promises) < c.group.majority() || !installed {
		return
	}
	// "v is the value of the highest-numbered proposal among the responses" (PMS
	// section 2.2): its groups have their records already, on majorities.
	if !heed.Decision.isZero() && e.broken != IgnoreAccepted {
		c.decision = heed.Decision
		e.propose(c)
		return
	}
	e.gather(c)
}

// gather fetches the records of the member that has most. Each has the leader's writes
// in order up to some number, so that one has all that any member of this majority
// has, and with it all that was ever told to be done.
func (e *Engine) gather(c *change) {
	best := -1
	for i, p := range c.promises {
		switch {
		case !p.m.Installed:
		case best < 0, p.m.Seq > c.promises[best].m.Seq && e.broken != GatherFirst,
			p.m.Seq == c.promises[best].m.Seq && p.peer.ID == e.cfg.Self.ID:
			best = i
		}
	}
	p := c.promises[best]
	c.from = source{peer: p.peer, seq: p.m.Seq}
	e.stepTo(c, gathering)
	if r := e.find(c.ref, active); p.peer.ID == e.cfg.Self.ID && r != nil {
		// Sealed, it does not change any more.
		c.from.shelf = newShelf(0)
		for _, n := range r.shelf.sorted() {
			c.from.shelf.put(r.shelf.items[n])
		}
		e.gathered(c)
		return
	}
	c.from.shelf = newShelf(0)
	e.send(p.peer, Gather{c.ref, c.ballot, ""})
}

// onPiece takes a piece of the records.
func (e *Engine) onPiece(from dht.Peer, m Piece) {
	c := e.change(m.Of, m.Ballot, gathering)
	if c == nil || from.ID != c.from.peer.ID || m.After != c.from.after {
		return
	}
	for _, n := range m.Entries {
		i, err := e.item(n)
		if err != nil || n.Name < c.from.after {
			e.refuse(from, "malformed piece")
			return
		}
		c.from.shelf.put(i)
		c.from.after = n.Name
	}
	c.since, c.due = e.now, e.now.Add(e.cfg.Resend)
	if !m.Last {
		e.send(from, Gather{c.ref, c.ballot, c.from.after})
		return
	}
	e.gathered(c)
}

// propose is phase 2: all members are asked to accept the decision.
func (e *Engine) propose(c *change) {
	e.stepTo(c, accepting)
	for _, p := range c.group.Members {
		e.send(p, Accept{c.ref, c.ballot, c.decision})
	}
}

// onAccepted counts acceptances; with a majority it is decided.
func (e *Engine) onAccepted(from dht.Peer, m Accepted) {
	c := e.change(m.Of, m.Ballot, accepting)
	if c == nil || !c.group.Has(from.ID) || slices.Contains(c.accepted, from.ID) {
		return
	}
	c.accepted = append(c.accepted, from.ID)
	if len(c.accepted) >= c.group.majority() {
		e.announce(c)
	}
}

// announce tells the old members and the new ones.
func (e *Engine) announce(c *change) {
	e.stepTo(c, announcing)
	if c.decision.Into != 0 {
		e.markOver(c.group)
	}
	for _, g := range c.decision.Groups {
		if sameMembers(e.members(g, g.Leader.ID), g.Members) {
			delete(e.survey.tries, g.Arc.To)
		} else {
			e.retryAfter(g.Arc.To) // what came is not what the ring asks for
		}
	}
	for _, p := range c.group.Members {
		c.acks = append(c.acks, ack{peer: p, of: c.ref})
	}
	for _, g := range c.decision.Groups {
		e.learn(Tiding{Group: g})
		for _, p := range g.Members {
			c.acks = append(c.acks, ack{peer: p, of: g.Ref()})
		}
	}
	e.tell(c)
}

// tell sends the decision to those who have not said that they know it.
func (e *Engine) tell(c *change) {
	var told []dht.ID
	for _, a := range c.acks {
		if !a.got && !slices.Contains(told, a.peer.ID) {
			told = append(told, a.peer.ID)
			e.send(a.peer, Decided{c.ref, c.decision})
		}
	}
}

// changeActive notes that a member knows its group to be decided. When majorities of
// all do, the old members need not remember.
func (e *Engine) changeActive(from dht.Peer, of Ref) {
	for _, c := range e.changes {
		if c.step != announcing {
			continue
		}
		before := c.complete()
		for i := range c.acks {
			if c.acks[i].peer.ID == from.ID && c.acks[i].of == of {
				c.acks[i].got = true
			}
		}
		if !before && c.complete() {
			var m Arcs
			for _, g := range c.decision.Groups {
				t := Tiding{Group: g, Established: true}
				m.List = append(m.List, t)
				e.learn(t)
			}
			m.Lineage = e.lineage
			for _, p := range c.group.Members {
				if p.ID != e.cfg.Self.ID {
					e.send(p, m)
				}
			}
		}
	}
}

// complete reports whether majorities of all next groups know of their decision.
func (c *change) complete() bool {
	for _, g := range c.decision.Groups {
		n := 0
		for _, a := range c.acks {
			if a.of == g.Ref() && a.got {
				n++
			}
		}
		if n < g.majority() {
			return false
		}
	}
	return true
}

// changeDecided ends a change that another proposer brought to its end.
func (e *Engine) changeDecided(m Decided) {
	for _, c := range slices.Clone(e.changes) {
		if c.ref == m.Of && c.step != announcing && !m.Decision.isZero() {
			if c.step != accepting {
				e.abandon(c)
			}
			c.decision = m.Decision
			e.announce(c)
			e.retryAfter(c.group.Arc.To) // what this node knew was old
		}
	}
}

// onNack ends an attempt: somebody prepared a higher ballot.
func (e *Engine) onNack(_ dht.Peer, m Nack) {
	if c := e.change(m.Of, m.Ballot, preparing, gathering, installing, moved, accepting); c != nil {
		e.rounds = max(e.rounds, m.Promised.Round)
		e.fail(c)
	}
}

// fail ends an attempt. Another may follow, not at once.
func (e *Engine) fail(c *change) {
	if c.step != accepting {
		e.abandon(c)
	}
	e.changes = slices.DeleteFunc(e.changes, func(v *change) bool { return v == c })
	e.retryAfter(c.group.Arc.To)
}

// abandon tells those who hold records of groups that will never be decided: phase 2
// was not begun in this ballot, and will not be.
func (e *Engine) abandon(c *change) {
	for _, t := range c.targets {
		e.send(t.peer, Abandon{t.group.Ref()})
	}
	c.targets = nil
}

func (e *Engine) stepTo(c *change, s step) {
	c.step, c.since, c.due = s, e.now, e.now.Add(e.cfg.Resend)
}

// changesTimeout sends again, and gives up what does not get on.
func (e *Engine) changesTimeout() {
	for _, c := range slices.Clone(e.changes) {
		if c.due.IsZero() || e.now.Before(c.due) {
			continue
		}
		age := e.now.Sub(c.since)
		c.due = e.now.Add(e.cfg.Resend + min(age/2, 10*e.cfg.Resend))
		if c.step != announcing && (e.settled(c.group) || e.idle(c)) {
			e.fail(c)
			continue
		}
		e.pushOn(c, age)
	}
}

// idle reports whether a change waits for a majority that does not come, and its
// reason is gone.
func (e *Engine) idle(c *change) bool {
	if owner, ok := e.view.owner(c.group.Arc.To); c.step == preparing && ok && owner.ID != e.cfg.Self.ID {
		return e.now.Sub(c.since) > 20*e.cfg.Resend
	}
	return false
}

func (e *Engine) pushOn(c *change, age time.Duration) {
	switch c.step {
	case preparing:
		for _, p := range c.group.Members {
			if !slices.ContainsFunc(c.promises, func(v promise) bool { return v.peer.ID == p.ID }) {
				e.send(p, Prepare{c.group, c.ballot})
			}
		}
	case gathering:
		if age > 10*e.cfg.Resend {
			e.fail(c) // the next attempt may find another source
			return
		}
		e.send(c.from.peer, Gather{c.ref, c.ballot, c.from.after})
	case installing:
		e.pushInstall(c, age)
	case accepting:
		for _, p := range c.group.Members {
			if !slices.Contains(c.accepted, p.ID) {
				e.send(p, Accept{c.ref, c.ballot, c.decision})
			}
		}
	case announcing:
		if age > 10*e.cfg.Resend {
			e.changes = slices.DeleteFunc(e.changes, func(v *change) bool { return v == c })
			return
		}
		e.tell(c)
	}
}
