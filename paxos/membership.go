package paxos

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// MaxMembers bounds a Membership, learners included.
const MaxMembers = 64

// maxAddr bounds the Addr of a member, in bytes.
const maxAddr = 255

// Member is a node of the cluster.
type Member struct {
	ID NodeID
	// Incarnation is the one whose promises count. 0: not yet known, see Membership.
	Incarnation Incarnation
	// Learner is told what is chosen, but does not count in quorums.
	Learner bool
	// Promote makes a learner a voter once it has caught up.
	Promote bool
	// Addr is where the transport finds the node; it means nothing here.
	Addr string
}

// Membership says who counts for the slots after Slot, up to the next change.
//
// The one at Slot 0 comes from Config: its members have no incarnation, and the
// promises of those count that say Confirmed (see hello.go). The first leader binds
// the incarnations by a change.
type Membership struct {
	// Slot is where this membership was chosen; 0 for the first one.
	Slot Slot
	// Members are ordered by ID.
	Members []Member
	// AcceptQuorum is the number of voters that choose a value; 0 is a majority. A
	// phase 1 takes so many that any two quorums meet (Flexible Paxos: Q1 + Q2 > N).
	AcceptQuorum int
}

// Find returns the member with that ID.
func (m Membership) Find(id NodeID) (Member, bool) {
	i, ok := slices.BinarySearchFunc(m.Members, id, func(m Member, id NodeID) int { return cmp.Compare(m.ID, id) })
	if !ok {
		return Member{}, false
	}
	return m.Members[i], true
}

// Voters returns how many members count.
func (m Membership) Voters() (n int) {
	for _, v := range m.Members {
		if !v.Learner {
			n++
		}
	}
	return n
}

// Quorums returns how many voters make a quorum of phase 1 and of phase 2.
func (m Membership) Quorums() (prepare, accept int) {
	n := m.Voters()
	accept = n/2 + 1
	if m.AcceptQuorum > 0 {
		accept = min(m.AcceptQuorum, n)
	}
	return n + 1 - accept, accept
}

// Counts reports whether a promise or acceptance by incarnation inc of id counts.
// confirmed is what its message said.
func (m Membership) Counts(id NodeID, inc Incarnation, confirmed bool) bool {
	v, ok := m.Find(id)
	if !ok || v.Learner {
		return false
	}
	if v.Incarnation == 0 {
		return confirmed
	}
	return v.Incarnation == inc
}

// with returns a copy in which v stands for its ID.
func (m Membership) with(v Member) Membership {
	m = m.without(v.ID)
	m.Members = append(m.Members, v)
	slices.SortFunc(m.Members, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return m
}

// without returns a copy that lacks id.
func (m Membership) without(id NodeID) Membership {
	m.Members = slices.DeleteFunc(slices.Clone(m.Members), func(v Member) bool { return v.ID == id })
	return m
}

var errMembership = errors.New("bad membership")

// check returns an error unless the members are ordered, unique, within bounds and
// at least one of them counts.
func (m Membership) check() error {
	switch {
	case len(m.Members) > MaxMembers:
		return fmt.Errorf("%w: %d members, at most %d", errMembership, len(m.Members), MaxMembers)
	case m.Voters() == 0:
		return fmt.Errorf("%w: no voter", errMembership)
	case m.AcceptQuorum < 0 || m.AcceptQuorum > MaxMembers:
		return fmt.Errorf("%w: a quorum of %d", errMembership, m.AcceptQuorum)
	}
	for i, v := range m.Members {
		if v.ID == Everyone || i > 0 && m.Members[i-1].ID >= v.ID {
			return fmt.Errorf("%w: node %v zero, double or out of order", errMembership, v.ID)
		}
		if len(v.Addr) > maxAddr {
			return fmt.Errorf("%w: address of node %v longer than %d bytes", errMembership, v.ID, maxAddr)
		}
	}
	return nil
}
