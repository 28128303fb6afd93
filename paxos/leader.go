package paxos

import (
	"fmt"
	"slices"
	"time"
)

// leadership is what a leader knows; it ends with the role.
type leadership struct {
	followers []*follower // the other members, ordered by ID
	placed    Slot        // the last slot proposed in this ballot
	begin     Slot        // the first slot that was not proposed before
	queue     queue
	recovered []Entry     // accepted values that phase 1 found after placed, by slot
	promises  []promiseOf // without their entries
	settled   bool        // enough of them for the slots after placed
	changing  Slot        // the slot of a Change that is not chosen, 0: none
	rounds    rounds
	transfer  transfer
	batchAt   time.Time // when a batch that waits for company must leave
	tellAt    time.Time // when followers must hear of the watermark
}

// queue are values that have no slot yet, and what is not chosen in bytes.
type queue struct {
	values   []Entry
	bytes    int
	unchosen int       // bytes of the slots after the watermark
	since    time.Time // when the first of values came
}

// takeLead begins phase 2 for what phase 1 found: "a proposer issues a proposal
// numbered n with value v, where v is the value of the highest-numbered proposal
// among the responses" (PMS section 2.2), gaps get a Noop (section 3).
func (n *Node) takeLead() {
	c := n.try
	l := &leadership{placed: n.chosen, settled: true}
	n.role, n.try, n.lead = Leading, nil, l
	n.acc.leader, n.acc.accepted = n.cfg.ID, n.chosen
	n.wait.retry = time.Time{}
	for _, p := range c.promises {
		l.recover(n.chosen, p.Accepted)
		p.Accepted = nil
		l.promises = append(l.promises, p)
	}
	if n.broken == NoGapFill && len(l.recovered) > 0 {
		l.placed = l.recovered[len(l.recovered)-1].Slot
		n.acc.accepted, l.recovered = l.placed, nil
		for s := n.log.last() + 1; s <= l.placed; s++ {
			n.log.set(Entry{Slot: s, Ballot: n.acc.promised, Kind: Noop})
		}
	}
	l.begin = l.placed + 1
	if k := len(l.recovered); k > 0 {
		l.begin = l.recovered[k-1].Slot + 1
	}
	if n.broken == NoNoop {
		l.begin = n.chosen
	}
	l.reconcile(n)
	for _, e := range n.firstValue() {
		l.enqueue(n, e)
	}
	n.event(Event{Kind: EventRole, Role: Leading, Peer: n.cfg.ID, Ballot: n.acc.promised})
	n.heartbeat(n.now)
}

// firstValue is the value that begins a ballot: a Noop, without which the leader
// does not know which of the values before are chosen (etcd issue 7331); or what
// binds the incarnations of the first members.
func (n *Node) firstValue() []Entry {
	if n.broken == NoNoop && n.members.Slot > 0 {
		return nil
	}
	m := n.members
	if m.Slot > 0 || len(n.lead.recovered) > 0 {
		return []Entry{{Kind: Noop}}
	}
	for _, v := range m.Members {
		v.Incarnation = n.boundTo(v.ID)
		if v.Incarnation == 0 {
			return []Entry{{Kind: Noop}} // a vouched disk does not wait for the others
		}
		m = m.with(v)
	}
	return []Entry{{Kind: Change, Value: m.encode()}}
}

// recover keeps of each slot after the watermark the acceptance of the highest
// ballot.
func (l *leadership) recover(after Slot, accepted []Entry) {
	for _, e := range accepted {
		if e.Slot <= after {
			continue
		}
		i, ok := slices.BinarySearchFunc(l.recovered, e.Slot, func(e Entry, s Slot) int { return int(int64(e.Slot) - int64(s)) })
		switch {
		case !ok:
			l.recovered = slices.Insert(l.recovered, i, e)
		case l.recovered[i].Ballot.Less(e.Ballot):
			l.recovered[i] = e
		}
	}
}

// promised takes a promise that comes after phase 1: of one who counts since a
// change of membership.
func (l *leadership) promised(n *Node, p promiseOf) {
	if !slices.ContainsFunc(l.promises, func(q promiseOf) bool { return q.id == p.id && q.inc == p.inc }) {
		l.recover(l.placed, p.Accepted)
		l.begin = max(l.begin, p.Chosen)
		if k := len(l.recovered); k > 0 && l.recovered[k-1].Slot >= l.begin {
			l.begin = l.recovered[k-1].Slot + 1
			l.enqueue(n, Entry{Kind: Noop})
		}
		p.Accepted = nil
		l.promises = append(l.promises, p)
		if f := l.follower(p.id); f != nil {
			f.restart(p.Chosen + 1)
		}
	}
	l.settle(n)
}

// settle finds out whether a quorum of phase 1 of the present members has promised.
// Each slot is Paxos among the members that count for it, so that any two quorums
// of its phases meet, whatever the change was.
func (l *leadership) settle(n *Node) {
	q, _ := n.members.Quorums()
	for _, p := range l.promises {
		if n.members.Counts(p.id, p.inc, p.confirmed) {
			q--
		}
	}
	l.settled = q <= 0
	for _, p := range l.promises { // as in phase 1: what is chosen must be known here
		if p.Chosen > l.placed {
			l.settled = false
			n.send(p.id, CatchUp{n.chosen + 1})
		}
	}
	if l.settled {
		return
	}
	for _, m := range n.members.Members {
		if !m.Learner && !slices.ContainsFunc(l.promises, func(p promiseOf) bool { return p.id == m.ID && p.inc == m.Incarnation }) {
			n.send(m.ID, Prepare{Ballot: n.acc.promised, First: n.chosen + 1})
		}
	}
}

// caughtUp goes on after chosen values that a promise after phase 1 told of.
func (l *leadership) caughtUp(n *Node) {
	l.placed = max(l.placed, n.chosen)
	n.acc.accepted = max(n.acc.accepted, n.chosen)
	l.settle(n)
}

// Propose asks that value be chosen, at some slot: it comes out of Chosen, once, if
// the node leads for long enough. Otherwise it may be chosen later or never: who
// proposes it again must be able to tell, by a session in the value. The errors are
// ErrNotLeader, ErrBusy, ErrTooLarge and ErrStopped. The node keeps value.
func (n *Node) Propose(now time.Time, value []byte) error {
	n.advance(now)
	l := n.lead
	switch {
	case n.self.stopped:
		return fmt.Errorf("paxos: propose: %w", ErrStopped)
	case l == nil:
		return fmt.Errorf("paxos: propose: %w", ErrNotLeader)
	case len(value) > MaxValue:
		return fmt.Errorf("paxos: propose: %d bytes: %w", len(value), ErrTooLarge)
	case l.transfer.to != 0, n.full(), l.queue.bytes+l.queue.unchosen+len(value) > n.cfg.Limits.Unchosen:
		return fmt.Errorf("paxos: propose: %w", ErrBusy)
	}
	l.enqueue(n, Entry{Kind: Command, Value: value})
	return nil
}

func (l *leadership) enqueue(n *Node, e Entry) {
	if len(l.queue.values) == 0 {
		l.queue.since = n.now
	}
	l.queue.values = append(l.queue.values, e)
	l.queue.bytes += e.size()
}

// propose gives slots to what waits: first to what phase 1 found, then to what was
// asked for. Nothing is proposed after a Change before it is chosen, because who
// counts there depends on it.
func (n *Node) propose() {
	l := n.lead
	l.batchAt = time.Time{}
	if len(l.recovered) == 0 && !l.gathered(n) {
		return
	}
	for l.settled && l.changing == 0 && (len(l.recovered) > 0 || len(l.queue.values) > 0) {
		e := Entry{Kind: Noop} // fills the gap
		switch {
		case len(l.recovered) > 0 && l.recovered[0].Slot <= l.placed+1:
			e, l.recovered = l.recovered[0], l.recovered[1:]
			if e.Slot <= l.placed {
				continue
			}
		case len(l.recovered) > 0:
		default:
			e = l.queue.values[0]
			l.queue.values[0] = Entry{}
			l.queue.values = l.queue.values[1:]
			l.queue.bytes -= e.size()
		}
		n.place(e)
	}
}

// gathered reports whether the values that wait shall have slots now. They shall at once
// if nothing is under way; otherwise when they are half as many as what is, or
// their time has come. So batches, and with them syncs and messages, grow with the load,
// and few of them are under way at a time (etcd issue 14624, hashicorp/raft issue 541:
// deep pipelines ruin latency, shallow ones throughput).
func (l *leadership) gathered(n *Node) bool {
	q := &l.queue
	if len(q.values) == 0 || q.bytes >= n.cfg.Limits.Batch || Slot(2*len(q.values)) >= l.placed-min(n.chosen, l.placed) {
		return true
	}
	if at := q.since.Add(n.cfg.Timing.Batch); n.now.Before(at) {
		l.batchAt = at
		return false
	}
	return true
}

// place proposes e in the next slot, which this node's acceptor accepts at once.
func (n *Node) place(e Entry) {
	l := n.lead
	l.placed++
	e.Slot, e.Ballot = l.placed, n.acc.promised
	n.log.set(e)
	n.disk.touch(e.Slot)
	n.acc.accepted = e.Slot
	l.queue.unchosen += e.size()
	if e.Kind == Change {
		l.changing = e.Slot
	}
}

// onAccepted counts an acceptance.
func (n *Node) onAccepted(m Message, a Accepted) {
	n.seen(a.Ballot)
	if n.role != Leading || a.Ballot != n.acc.promised {
		return
	}
	f := n.lead.follower(m.From)
	if f == nil {
		return
	}
	if f.inc != m.Incarnation { // another disk holds nothing of what this one did
		n.lead.visitor(n, f, m, a)
		return
	}
	f.acked(n, a)
	n.choose()
	n.confirmedReads()
	if n.lead != nil && n.lead.transfer.to == f.id {
		n.tryTransfer()
	}
}

// choose moves the watermark to the slot that a quorum of phase 2 has accepted. This
// node counts like any other, from when its disk has the values.
func (n *Node) choose() {
	l := n.lead
	_, q := n.members.Quorums()
	through := make([]Slot, 0, MaxMembers)
	if n.members.Counts(n.cfg.ID, n.self.inc, n.self.confirmed) {
		through = append(through, min(l.placed, n.durable()))
	}
	for _, f := range l.followers {
		if n.members.Counts(f.id, f.inc, f.confirmed) {
			through = append(through, f.match)
		}
	}
	if len(through) < q {
		return
	}
	slices.Sort(through)
	to := min(through[len(through)-q], l.placed)
	if to <= n.chosen {
		return
	}
	for _, e := range n.log.between(n.chosen+1, to) {
		l.queue.unchosen -= e.size()
	}
	n.learn(to)
	if n.lead == nil {
		return
	}
	n.confirmedReads()
}

// heartbeat does what a leader does from time to time.
func (n *Node) heartbeat(now time.Time) {
	l := n.lead
	n.wait.heartbeat = now.Add(n.cfg.Timing.Heartbeat)
	if !l.connected(n, now) || n.hangs(now) {
		n.acc.leader = 0
		n.acc.heard = time.Time{}
		n.follow(0)
		if n.hangs(now) { // give others the time to notice
			n.wait.election = now.Add(2 * n.cfg.Timing.Election)
		}
		return
	}
	if !l.settled {
		l.settle(n)
	}
	for _, f := range l.followers {
		f.retry(n)
	}
	n.admit()
	n.finishTransfer(now)
	if n.lead != nil {
		l.startRound(n)
	}
}

// connected reports whether a quorum of phase 2 was heard within an election time
// (check-quorum): a leader that cannot get anything chosen must make room for one
// that can.
func (l *leadership) connected(n *Node, now time.Time) bool {
	_, q := n.members.Quorums()
	return l.live(n.members, n, now) >= q
}

// live counts the voters of m that were heard within an election time.
func (l *leadership) live(m Membership, n *Node, now time.Time) (count int) {
	for _, v := range m.Members {
		if v.Learner {
			continue
		}
		f := l.follower(v.ID)
		if v.ID == n.cfg.ID || f != nil && now.Sub(f.heard) <= n.cfg.Timing.Election {
			count++
		}
	}
	return count
}
