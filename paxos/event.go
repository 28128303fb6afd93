package paxos

import "fmt"

// EventKind says what happened.
type EventKind int

// What a Node tells its driver.
const (
	// EventRole: the node is now in Role; Peer is the leader it follows, if any.
	EventRole EventKind = iota + 1
	// EventConfirmed: every first member knows this disk; its votes count.
	EventConfirmed
	// EventWiped: Peer came with another disk than the one that counts. If Peer is the
	// node itself, it is a learner until a change makes it a voter.
	EventWiped
	// EventMembers: Members counts from here on.
	EventMembers
	// EventFetch: fetch Snapshot from Peer, make it the application's state, and call
	// Restored. It is repeated until then.
	EventFetch
	// EventRemoved: the node is not a member any more and stays silent.
	EventRemoved
	// EventDiverged: after Slot the state hash differs from the leader's. The node
	// stops; its disk must be kept for whoever looks for the reason.
	EventDiverged
	// EventBadInput: a message of Peer was dropped: see Note.
	EventBadInput
)

// String returns the kind in lower case: "fetch".
func (k EventKind) String() string {
	names := [...]string{"", "role", "confirmed", "wiped", "members", "fetch", "removed", "diverged", "bad input"}
	if k < 1 || int(k) >= len(names) {
		return fmt.Sprintf("event %d", int(k))
	}
	return names[k]
}

// Event is what the driver should hear. Which fields are set says EventKind.
type Event struct {
	Kind     EventKind
	Role     Role
	Peer     NodeID
	Slot     Slot
	Ballot   Ballot
	Members  Membership
	Snapshot Snapshot
	Note     string
}

// String returns the event in a line.
func (e Event) String() string {
	switch e.Kind {
	case EventRole:
		return fmt.Sprintf("%v, ballot %v, leader %v", e.Role, e.Ballot, e.Peer)
	case EventMembers:
		return fmt.Sprintf("members after slot %v: %d", e.Members.Slot, len(e.Members.Members))
	case EventFetch:
		return fmt.Sprintf("fetch snapshot %v from %v", e.Snapshot.Slot, e.Peer)
	case EventDiverged:
		return fmt.Sprintf("diverged from %v after slot %v", e.Peer, e.Slot)
	case EventBadInput:
		return fmt.Sprintf("dropped a message of %v: %s", e.Peer, e.Note)
	}
	return fmt.Sprintf("%v %v", e.Kind, e.Peer)
}

// Role is what a node does at the moment.
type Role int

// The roles: see the drawing in the package comment.
const (
	Following Role = iota
	Polling
	Preparing
	Leading
	Stopped // removed or diverged
)

// String returns the role in lower case: "leading".
func (r Role) String() string {
	names := [...]string{"following", "polling", "preparing", "leading", "stopped"}
	if r < 0 || int(r) >= len(names) {
		return fmt.Sprintf("role %d", int(r))
	}
	return names[r]
}
