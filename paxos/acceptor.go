package paxos

import (
	"slices"
	"time"
)

// onPrepare is phase 1b: "If an acceptor receives a prepare request with number n
// greater than that of any prepare request to which it has already responded, then
// it responds to the request with a promise not to accept any more proposals
// numbered less than n and with the highest-numbered proposal (if any) that it has
// accepted" (PMS section 2.2), here for every slot at once.
func (n *Node) onPrepare(m Message, p Prepare) {
	n.seen(p.Ballot)
	if p.Ballot.Less(n.acc.promised) {
		n.send(m.From, Nack{p.Ballot, n.acc.promised})
		return
	}
	if p.Ballot.Node != m.From {
		n.reject(m, "prepares the ballot of another node")
		return
	}
	if n.leased(m.From) && p.TakeOver != n.acc.promised {
		return // the leader may be reading, trusting in our word
	}
	if n.acc.promised.Less(p.Ballot) {
		n.promise(p.Ballot)
		n.follow(0)
	}
	n.sendSaved(m.From, n.promised(p.First))
}

// leased reports whether a promise to id would break a lease given to another.
func (n *Node) leased(id NodeID) bool {
	return n.now.Before(n.acc.lease) && id != n.acc.promised.Node
}

// promise raises the promised ballot. Slots after the watermark are not accepted in
// it yet.
func (n *Node) promise(b Ballot) {
	n.acc.promised, n.acc.accepted, n.acc.leader = b, n.chosen, 0
	n.disk.hard, n.acc.record = true, n.disk.seq+1
}

// promised is the Promise for the slots from first on. It names as chosen what the
// watermark says, and tells every acceptance after it: nothing chosen is left out,
// whatever first is (a proposer that does not know slots to the watermark asks).
func (n *Node) promised(first Slot) Promise {
	p := Promise{Ballot: n.acc.promised, Chosen: n.chosen, Snapshot: n.app.forgotten}
	p.Accepted = slices.Clone(n.log.between(n.chosen+1, n.log.last()))
	if n.broken == PromiseWithoutWatermark {
		p.Chosen, p.Snapshot = min(first-1, n.chosen), 0
	}
	return p
}

// onAccept is phase 2b: "If an acceptor receives an accept request for a proposal
// numbered n, it accepts the proposal unless it has already responded to a prepare
// request having a number greater than n" (PMS section 2.2). It accepts no slot
// before the one below, so that one number says what it holds.
func (n *Node) onAccept(m Message, a Accept) {
	n.seen(a.Ballot)
	if a.Ballot.Less(n.acc.promised) {
		n.send(m.From, Nack{a.Ballot, n.acc.promised})
		return
	}
	if a.Ballot.Node != m.From {
		n.reject(m, "proposes in the ballot of another node")
		return
	}
	if n.acc.promised.Less(a.Ballot) {
		if n.leased(m.From) {
			return
		}
		n.promise(a.Ballot)
	}
	n.listen(m.From, a)
	gap := a.First > n.acc.accepted+1
	if gap && n.broken == AckOverGap {
		n.fillOver(a.First)
		gap = false
	}
	if gap && m.To == Everyone && len(a.Entries) > 0 && n.acc.leader == m.From && a.First > n.acc.accepted+1+Slot(n.cfg.Limits.InFlight)*Slot(len(a.Entries)) {
		return // far behind what others get; the leader sends to us alone
	}
	if !gap && len(a.Entries) > 0 && n.full() {
		n.out.dropped++ // as if lost: it comes again
		return
	}
	if !gap {
		n.accept(a)
	}
	n.learn(min(a.Chosen, n.acc.accepted))
	n.compareHash(m.From, a)
	n.acknowledge(m.From, a, gap)
}

// full reports whether the application is so far behind that nothing more is taken:
// what it has not got yet must stay in memory.
func (n *Node) full() bool {
	return n.storage != nil && n.log.bytes > n.cfg.Limits.Cache+2*n.cfg.Limits.Unchosen
}

// accept stores the entries of a that are new.
func (n *Node) accept(a Accept) {
	for i, e := range a.Entries {
		e.Slot, e.Ballot = a.First+Slot(i), a.Ballot
		if e.Slot <= n.acc.accepted {
			continue
		}
		n.log.set(e)
		n.disk.touch(e.Slot)
		n.acc.accepted = e.Slot
	}
}

// fillOver is the mistake AckOverGap.
func (n *Node) fillOver(first Slot) {
	for s := n.acc.accepted + 1; s < first; s++ {
		n.log.set(Entry{Slot: s, Ballot: n.acc.promised, Kind: Noop})
		n.disk.touch(s)
		n.acc.accepted = s
	}
}

// acknowledge answers a. An answer to values waits for the disk. One to a heartbeat
// goes at once, with what is on disk already, so that a busy disk does not make the
// leader believe that nobody listens.
func (n *Node) acknowledge(to NodeID, a Accept, gap bool) {
	r := Accepted{Ballot: a.Ballot, Through: n.acc.accepted, Chosen: n.chosen, Round: a.Round, Applied: n.app.applied}
	if gap {
		r.Want = n.acc.accepted + 1
	}
	if len(a.Entries) > 0 && !gap {
		n.sendSaved(to, r)
		return
	}
	r.Through = min(r.Through, n.durable())
	if n.disk.saved < n.acc.record {
		r.Through = min(r.Through, n.app.given) // the ballot is not on disk yet: claim only what is chosen
	}
	n.send(to, r)
}

// listen takes the sender of a for the leader.
func (n *Node) listen(leader NodeID, a Accept) {
	if n.role != Following || n.acc.leader != leader || n.self.removed {
		n.acc.leader, n.self.removed = leader, false
		n.follow(leader)
	}
	n.acc.heard = n.now
	n.wait.election = n.electionTime(n.now)
	if a.Lease > 0 {
		if until := n.now.Add(min(a.Lease, n.cfg.Timing.Election)); until.After(n.acc.lease) {
			n.acc.lease = until
		}
	}
}

// follow makes the node an acceptor and learner only; leader may be 0.
func (n *Node) follow(leader NodeID) {
	was := n.role
	n.failReads(ErrNotLeader)
	n.role, n.try, n.lead = Following, nil, nil
	n.wait.retry, n.wait.heartbeat = time.Time{}, time.Time{}
	if was != Following {
		n.wait.election = n.electionTime(n.now)
	}
	n.event(Event{Kind: EventRole, Role: Following, Peer: leader, Ballot: n.acc.promised})
}

// seen remembers the highest round, so that the next ballot is above it.
func (n *Node) seen(b Ballot) { n.acc.highest = max(n.acc.highest, b.Round) }

// learn moves the watermark to slot: the values to there, as they are in the log,
// are chosen. A change of membership takes effect on the way.
func (n *Node) learn(to Slot) {
	for n.chosen < to {
		e, ok := n.log.at(n.chosen + 1)
		if !ok {
			return
		}
		n.chosen++
		if e.Kind == Change {
			n.adopt(e)
		}
	}
	n.acc.accepted = max(n.acc.accepted, n.chosen)
}

// onCatchUp sends chosen values to a node that is behind: a candidate, usually.
func (n *Node) onCatchUp(m Message, c CatchUp) {
	if c.First > n.chosen || c.First == 0 {
		return
	}
	entries := n.read(c.First)
	for i, e := range entries {
		if e.Slot > n.chosen {
			entries = entries[:i]
			break
		}
	}
	if len(entries) == 0 {
		n.offer(m.From)
		return
	}
	n.send(m.From, CaughtUp{Entries: entries, Chosen: n.chosen})
}

// read returns a batch of entries from first on, out of memory or storage; none if
// they were forgotten. It returns only chosen ones from storage.
func (n *Node) read(first Slot) []Entry {
	if list := n.log.between(first, n.log.last()); first >= n.log.first {
		return batch(list, n.cfg.Limits.Batch)
	}
	if n.storage == nil || first <= n.app.forgotten {
		return nil
	}
	list, err := n.storage.Entries(first, n.cfg.Limits.Batch)
	if err != nil {
		n.event(Event{Kind: EventBadInput, Peer: n.cfg.ID, Slot: first, Note: "storage: " + err.Error()})
		return nil
	}
	for i, e := range list {
		if e.Slot != first+Slot(i) || e.Slot >= n.log.first {
			return list[:i]
		}
	}
	return batch(list, n.cfg.Limits.Batch)
}

// trusts reports whether id may tell what is chosen: a member, or whoever leads in
// the promised ballot, for the membership known here may be long outdated.
func (n *Node) trusts(id NodeID) bool {
	_, member := n.members.Find(id)
	return member || id == n.acc.leader || len(n.members.Members) == 0
}

// onCaughtUp takes chosen values. They are stored as accepted in the ballot that is
// promised, which is not below any in which they were accepted here: a lower one
// could let a proposer prefer another value.
func (n *Node) onCaughtUp(m Message, c CaughtUp) {
	if !n.trusts(m.From) || n.lead != nil && (n.lead.settled || n.lead.changing != 0) || len(c.Entries) == 0 {
		return
	}
	first := c.Entries[0].Slot
	if first > n.chosen+1 {
		return
	}
	for i, e := range c.Entries {
		if e.Slot != first+Slot(i) || e.Slot > c.Chosen {
			n.reject(m, "values that do not follow on each other")
			return
		}
		if e.Slot > n.chosen { // even if accepted: a later leader may have had another value chosen
			e.Ballot = n.acc.promised
			n.log.set(e)
			n.disk.touch(e.Slot)
		}
	}
	n.learn(c.Entries[len(c.Entries)-1].Slot)
	if n.chosen < c.Chosen {
		n.send(m.From, CatchUp{n.chosen + 1})
	}
	switch n.role {
	case Preparing:
		n.tryLead()
	case Leading:
		n.lead.caughtUp(n)
	}
}
