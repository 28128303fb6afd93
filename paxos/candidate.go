package paxos

import (
	"slices"
	"time"
)

// candidacy is an attempt to lead: first the poll, then phase 1.
type candidacy struct {
	ballot   Ballot
	granted  []NodeID // by whom the poll was granted
	promises []promiseOf
	takeOver Ballot // of the leader that asked for it
	behind   NodeID // whom to ask for chosen values, 0: nobody
	to       Slot   // that are chosen, says the one ahead
	asked    []NodeID
}

// promiseOf is a Promise and who gave it.
type promiseOf struct {
	id        NodeID
	inc       Incarnation
	confirmed bool
	Promise
}

// mayLead returns why this node may not stand for leader, or "".
func (n *Node) mayLead() string {
	switch {
	case n.self.stopped:
		return "stopped: the state differs from the other nodes'"
	case n.self.removed:
		return "not a member of the cluster"
	case n.self.wiped:
		return "this disk is not the one the others know; a leader must admit it"
	case n.self.confirms != nil:
		return "waiting for every first member to confirm that this disk is new"
	case !n.members.Counts(n.cfg.ID, n.self.inc, n.self.confirmed):
		return "a learner: has no say"
	case n.hangs(n.now):
		return "own disk does not answer"
	}
	return ""
}

// poll asks whether a quorum would promise, which raises no ballot: a node that is
// cut off and comes back disturbs nobody. It begins again at every election time.
func (n *Node) poll(now time.Time) {
	n.wait.election = n.electionTime(now)
	if n.mayLead() != "" {
		if n.role != Following {
			n.follow(0)
		}
		return
	}
	n.failReads(ErrNotLeader)
	n.acc.highest = max(n.acc.highest, n.acc.promised.Round)
	n.role, n.lead = Polling, nil
	n.try = &candidacy{ballot: Ballot{n.acc.highest + 1, n.cfg.ID}, granted: []NodeID{n.cfg.ID}}
	n.wait.retry = now.Add(n.cfg.Timing.Heartbeat)
	n.event(Event{Kind: EventRole, Role: Polling, Ballot: n.try.ballot})
	n.askPoll()
	n.tryPrepare()
}

func (n *Node) askPoll() {
	for _, m := range n.members.Members {
		if !m.Learner && m.ID != n.cfg.ID && !slices.Contains(n.try.granted, m.ID) {
			n.send(m.ID, Poll{n.try.ballot, n.chosen})
		}
	}
}

// onPoll: yes, if no live leader is heard and the ballot is high enough. That the
// asking node lacks values is no reason to refuse: it will learn them in phase 1.
func (n *Node) onPoll(m Message, p Poll) {
	r := PollReply{Ballot: p.Ballot, Highest: n.acc.promised, Chosen: n.chosen}
	switch {
	case n.role == Leading:
		r.Leader = n.cfg.ID
	case n.acc.leader != 0 && n.acc.leader != m.From && n.now.Sub(n.acc.heard) < n.cfg.Timing.Election:
		r.Leader = n.acc.leader
	case n.leased(m.From):
		r.Leader = n.acc.promised.Node
	}
	r.Granted = r.Leader == 0 && n.acc.promised.Less(p.Ballot)
	n.send(m.From, r)
}

// onPollReply: a node that a quorum of both phases hears, and that hears it, is
// quorum-connected (Omni-Paxos section 4): only such a node can make progress.
func (n *Node) onPollReply(m Message, r PollReply) {
	n.seen(r.Highest)
	if n.role != Polling || r.Ballot != n.try.ballot {
		return
	}
	if r.Chosen > n.chosen {
		n.send(m.From, CatchUp{n.chosen + 1}) // what will be needed anyway
	}
	if !r.Granted || !n.members.Counts(m.From, m.Incarnation, m.Confirmed) || slices.Contains(n.try.granted, m.From) {
		return
	}
	n.try.granted = append(n.try.granted, m.From)
	n.tryPrepare()
}

func (n *Node) tryPrepare() {
	if p, a := n.members.Quorums(); len(n.try.granted) >= max(p, a) {
		n.prepare(Ballot{})
	}
}

// prepare is phase 1a for all slots after the watermark. The ballot is promised
// here and on disk before anybody hears of it, so that it is never used twice.
func (n *Node) prepare(takeOver Ballot) {
	b := Ballot{max(n.acc.highest, n.acc.promised.Round) + 1, n.cfg.ID}
	n.seen(b)
	n.promise(b)
	n.role, n.lead = Preparing, nil
	n.try = &candidacy{ballot: b, takeOver: takeOver}
	n.wait.election = n.electionTime(n.now)
	n.wait.retry = n.now.Add(n.cfg.Timing.Heartbeat)
	n.event(Event{Kind: EventRole, Role: Preparing, Ballot: b})
	n.askPrepare()
}

func (n *Node) askPrepare() {
	for _, m := range n.members.Members {
		if !m.Learner && m.ID != n.cfg.ID && !n.try.promisedBy(m.ID) {
			n.sendSaved(m.ID, Prepare{n.try.ballot, n.chosen + 1, n.try.takeOver})
		}
	}
}

// retryCandidacy repeats what may have been lost.
func (n *Node) retryCandidacy(now time.Time) {
	n.wait.retry = now.Add(n.cfg.Timing.Heartbeat)
	switch n.role {
	case Polling:
		n.askPoll()
	case Preparing:
		n.askPrepare()
		if n.try.behind != 0 {
			n.send(n.try.behind, CatchUp{n.chosen + 1})
		}
	}
}

func (c *candidacy) promisedBy(id NodeID) bool {
	return slices.ContainsFunc(c.promises, func(p promiseOf) bool { return p.id == id })
}

// promiseSelf counts the node's own promise once it is on disk.
func (n *Node) promiseSelf() {
	if n.disk.saved < n.acc.record || n.try.promisedBy(n.cfg.ID) {
		return
	}
	n.promisedTo(promiseOf{n.cfg.ID, n.self.inc, n.self.confirmed, n.promised(n.chosen + 1)})
}

func (n *Node) onPromise(m Message, p Promise) {
	for i, e := range p.Accepted {
		if e.Slot != p.Chosen+1+Slot(i) && n.broken != PromiseWithoutWatermark {
			n.reject(m, "promise with gaps")
			return
		}
	}
	of := promiseOf{m.From, m.Incarnation, m.Confirmed, p}
	switch {
	case n.role == Preparing && p.Ballot == n.try.ballot:
		n.promisedTo(of)
	case n.role == Leading && p.Ballot == n.acc.promised:
		n.lead.promised(n, of)
	}
}

func (n *Node) promisedTo(p promiseOf) {
	if n.try.promisedBy(p.id) {
		return
	}
	n.try.promises = append(n.try.promises, p)
	n.tryLead()
}

// tryLead ends phase 1: a quorum has promised, and the values of all slots that any
// of them knows to be chosen are known here. Without the latter, decided slots would
// be decided again: the promises say nothing of them but the watermark.
func (n *Node) tryLead() {
	if n.mayLead() != "" { // as it turned out since
		n.follow(0)
		return
	}
	c := n.try
	count := 0
	c.behind, c.to = 0, n.chosen
	for _, p := range c.promises {
		if n.members.Counts(p.id, p.inc, p.confirmed) {
			count++
		}
		if p.Chosen > c.to {
			c.behind, c.to = p.id, p.Chosen
		}
	}
	if c.behind != 0 && !slices.Contains(c.asked, c.behind) {
		c.asked = append(c.asked, c.behind)
		n.send(c.behind, CatchUp{n.chosen + 1})
	}
	q, _ := n.members.Quorums()
	if count < q {
		if n.members.Slot > 0 && len(c.promises) > count {
			n.askPrepare() // a change learned on the way asks for others
		}
		return
	}
	if c.behind == 0 {
		n.takeLead()
	}
}

// onNack: somebody promised more. The next ballot is above it.
func (n *Node) onNack(_ Message, k Nack) {
	n.seen(k.Promised)
	if n.acc.promised == k.Ballot && k.Ballot.Less(k.Promised) && (n.role == Preparing || n.role == Leading) {
		n.follow(0)
	}
}

// onTakeOver begins phase 1 at once, for the leader that asks.
func (n *Node) onTakeOver(m Message, t TakeOver) {
	if n.role == Following && t.Ballot == n.acc.promised && n.acc.leader == m.From && n.mayLead() == "" {
		n.prepare(t.Ballot)
	}
}
