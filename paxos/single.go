package paxos

import "math/bits"

// This file is Paxos for one decree, beside "Paxos Made Simple" (PMS) section 2: a
// value, a function a message. The Node does the same for every slot at once.

// Proposal is a value with the number under which it is proposed (PMS section 2.2).
// The zero Proposal is none.
type Proposal struct {
	N     Ballot
	Value string
}

// IsZero reports whether p is no proposal.
func (p Proposal) IsZero() bool { return p.N.IsZero() }

// Acceptor remembers a promise and an acceptance, both on disk before it answers
// (PMS section 2.5: stable storage). The zero Acceptor has promised nothing.
type Acceptor struct {
	Promised Ballot   // nothing below it is accepted
	Accepted Proposal // the highest-numbered one, if any
}

// OnPrepare is phase 1b (PMS section 2.2): a promise not to accept a number below n,
// "and with the highest-numbered proposal (if any) that it has accepted". ok is false
// if a higher number was promised: then the request may be ignored.
func (a *Acceptor) OnPrepare(n Ballot) (accepted Proposal, ok bool) {
	if n.Less(a.Promised) {
		return Proposal{}, false
	}
	a.Promised = n
	return a.Accepted, true
}

// OnAccept is phase 2b: p is accepted "unless it has already responded to a prepare
// request having a number greater than n".
func (a *Acceptor) OnAccept(p Proposal) bool {
	if p.N.Less(a.Promised) {
		return false
	}
	a.Promised, a.Accepted = p.N, p
	return true
}

// voters is a set of acceptors, numbered from 0 to 63.
type voters uint64

func (v voters) with(i int) voters { return v | 1<<i }
func (v voters) len() int          { return bits.OnesCount64(uint64(v)) }

// Proposer proposes one value under one number. A proposer that was refused begins
// anew with a higher number (PMS section 2.2); numbers are never used twice.
type Proposer struct {
	N      Ballot
	Value  string // its own; proposed unless a promise tells of another
	Quorum int    // the number of promises that it needs

	promises voters
	highest  Proposal // of those that promises told of
	asked    bool     // the accept requests are out
}

// OnPromise takes the answer of acceptor number from, 0 to 63. When a quorum has
// promised it returns the proposal to ask all acceptors to accept, once: "where v is
// the value of the highest-numbered proposal among the responses, or is any value if
// the responses reported no proposals" (PMS section 2.2).
func (p *Proposer) OnPromise(from int, accepted Proposal) (proposal Proposal, ready bool) {
	if p.highest.N.Less(accepted.N) && !p.asked {
		p.highest = accepted
	}
	p.promises = p.promises.with(from)
	if p.asked || p.promises.len() < p.Quorum {
		return Proposal{}, false
	}
	p.asked = true
	if !p.highest.IsZero() {
		return Proposal{p.N, p.highest.Value}, true
	}
	return Proposal{p.N, p.Value}, true
}

// Learner finds out what is chosen: a proposal that a quorum has accepted (PMS
// section 2.3).
type Learner struct {
	Quorum int

	accepted map[Proposal]voters
}

// OnAccepted takes the word of acceptor number from, 0 to 63, that it has accepted p.
// It reports whether p is chosen.
func (l *Learner) OnAccepted(from int, p Proposal) (chosen bool) {
	if l.accepted == nil {
		l.accepted = map[Proposal]voters{}
	}
	l.accepted[p] = l.accepted[p].with(from)
	return l.accepted[p].len() >= l.Quorum
}
