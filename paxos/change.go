package paxos

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Errors of changing the membership.
var (
	// ErrChanging: a change is under way; there is one at a time.
	ErrChanging = errors.New("a change of membership is under way")
	// ErrNoQuorum: after the change no quorum of live members would be left.
	ErrNoQuorum = errors.New("the change would leave no live quorum")
	// ErrMember: the node is a member already, or is none.
	ErrMember = errors.New("not a change of membership")
	// ErrLagging: the learner has not caught up.
	ErrLagging = errors.New("the learner has not caught up yet")
)

// Membership decodes the value of a Change.
func (e Entry) Membership() (Membership, error) {
	if e.Kind != Change {
		return Membership{}, fmt.Errorf("paxos: membership of a %v: %w", e.Kind, errMembership)
	}
	m, err := ParseMembership(e.Value)
	m.Slot = e.Slot
	return m, err
}

func (m Membership) encode() []byte { return m.Append(nil) }

// AddMember makes m a learner; with m.Promote it becomes a voter when it has caught
// up. The errors are those above, ErrNotLeader and ErrBusy.
func (n *Node) AddMember(now time.Time, m Member) error {
	if _, ok := n.members.Find(m.ID); ok {
		return fmt.Errorf("paxos: add member %v: %w", m.ID, ErrMember)
	}
	m.Learner, m.Incarnation = true, 0
	return n.change(now, n.members.with(m))
}

// RemoveMember takes id out, the leader itself too: it then makes room.
func (n *Node) RemoveMember(now time.Time, id NodeID) error {
	if _, ok := n.members.Find(id); !ok {
		return fmt.Errorf("paxos: remove member %v: %w", id, ErrMember)
	}
	return n.change(now, n.members.without(id))
}

// PromoteMember makes the learner id a voter; it must have caught up.
func (n *Node) PromoteMember(now time.Time, id NodeID) error {
	m, ok := n.members.Find(id)
	if !ok || !m.Learner {
		return fmt.Errorf("paxos: promote member %v: %w", id, ErrMember)
	}
	if n.lead != nil {
		f := n.lead.follower(id)
		if f == nil || f.inc == 0 || f.match+n.cfg.Limits.Promote < n.chosen {
			return fmt.Errorf("paxos: promote member %v: %w", id, ErrLagging)
		}
		m.Incarnation = f.inc
	}
	m.Learner, m.Promote = false, false
	return n.change(now, n.members.with(m))
}

// change proposes the membership m. It takes effect when it is chosen, for the slots
// after its own.
func (n *Node) change(now time.Time, m Membership) error {
	n.advance(now)
	l := n.lead
	switch {
	case l == nil:
		return fmt.Errorf("paxos: change membership: %w", ErrNotLeader)
	case l.changing != 0 || l.hasChange() || !l.settled || n.chosen < l.begin:
		return fmt.Errorf("paxos: change membership: %w", ErrChanging)
	}
	if err := m.check(); err != nil {
		return fmt.Errorf("paxos: change membership: %w", err)
	}
	if p, a := m.Quorums(); l.live(m, n, now) < max(p, a) {
		return fmt.Errorf("paxos: change membership: %w", ErrNoQuorum)
	}
	l.enqueue(n, Entry{Kind: Change, Value: m.encode()})
	return nil
}

func (l *leadership) hasChange() bool {
	for _, e := range l.queue.values {
		if e.Kind == Change {
			return true
		}
	}
	return len(l.recovered) > 0
}

// adopt lets the membership of the chosen e take effect.
func (n *Node) adopt(e Entry) {
	m, err := e.Membership()
	if err != nil {
		n.event(Event{Kind: EventBadInput, Peer: n.cfg.ID, Slot: e.Slot, Note: err.Error()})
		return
	}
	n.setMembers(m)
	n.disk.hard = true // with the watermark: a restart must know who counts, or might ask those who are gone
	if l := n.lead; l != nil {
		if l.changing <= e.Slot {
			l.changing = 0
		}
		l.reconcile(n)
		l.settle(n)
	}
	switch _, ok := m.Find(n.cfg.ID); {
	case !ok:
		n.tell()
		n.setRemoved()
	case n.lead != nil && !m.Counts(n.cfg.ID, n.self.inc, n.self.confirmed):
		n.tell()
		n.acc.leader = 0
		n.follow(0) // a learner: let one lead who counts
	}
}

// setMembers makes m count.
func (n *Node) setMembers(m Membership) {
	n.members = m
	n.self.confirms = nil
	v, ok := m.Find(n.cfg.ID)
	n.self.removed = n.self.removed && !ok
	n.self.wiped = ok && v.Incarnation != 0 && v.Incarnation != n.self.inc
	n.event(Event{Kind: EventMembers, Members: m})
}

// tell lets the others know what is chosen before a leader that does not count any
// more makes room.
func (n *Node) tell() {
	if n.lead == nil {
		return
	}
	for _, f := range n.lead.followers {
		n.sendAccept(f.id, f.next, nil)
	}
}

// admit makes a voter of a learner that has caught up and shall be one, and a
// learner of a member that came back with another disk while the one that counts is
// silent: an amnesiac is a learner until it is rebuilt.
func (n *Node) admit() {
	for _, m := range n.members.Members {
		f := n.lead.follower(m.ID)
		if f == nil {
			continue
		}
		e := n.cfg.Timing.Election
		r := &f.report
		if r.newProven && !n.cfg.KeepWiped && n.now.Sub(f.heard) > e && n.now.Sub(r.newSince) > e {
			m.Promote = m.Promote || !m.Learner
			m.Learner, m.Incarnation = true, r.newInc
			if n.change(n.now, n.members.with(m)) == nil {
				n.event(Event{Kind: EventWiped, Peer: m.ID})
				return
			}
		}
		if m.Learner && m.Promote && n.now.Sub(f.heard) <= e && n.PromoteMember(n.now, m.ID) == nil {
			return
		}
	}
}

// transfer is a change of leader on request.
type transfer struct {
	to    NodeID // 0: none
	until time.Time
	told  bool
}

// Transfer makes to the leader: this node takes no more values, waits until to holds
// all and asks it to take over. If it does not within an election time, this node
// goes on. The errors are ErrNotLeader and ErrMember, if to does not count.
func (n *Node) Transfer(now time.Time, to NodeID) error {
	n.advance(now)
	if n.lead == nil {
		return fmt.Errorf("paxos: transfer: %w", ErrNotLeader)
	}
	f := n.lead.follower(to)
	if f == nil || !n.members.Counts(to, f.inc, f.confirmed) {
		return fmt.Errorf("paxos: transfer to %v: %w", to, ErrMember)
	}
	n.lead.transfer = transfer{to: to, until: now.Add(n.cfg.Timing.Election)}
	n.tryTransfer()
	return nil
}

// tryTransfer asks for the take-over once everything is there. The lease is given up
// first, for good: rounds that began before count no more.
func (n *Node) tryTransfer() {
	l := n.lead
	f := l.follower(l.transfer.to)
	if f == nil || l.transfer.told || f.match < l.placed || len(l.queue.values) > 0 {
		return
	}
	l.transfer.told = true
	l.rounds.leaseFrom, l.rounds.leaseAt = math.MaxUint64, time.Time{}
	n.send(f.id, TakeOver{n.acc.promised})
}

func (n *Node) finishTransfer(now time.Time) {
	l := n.lead
	switch {
	case l.transfer.to == 0:
	case now.After(l.transfer.until):
		l.transfer = transfer{}
	default:
		n.tryTransfer()
	}
}
