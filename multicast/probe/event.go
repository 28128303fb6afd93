package probe

import (
	"fmt"
	"net/netip"
	"time"
)

// EventKind is what an event tells.
type EventKind int

// The kinds of events.
const (
	// Received: a numbered datagram came. Outcome says how.
	Received EventKind = iota + 1
	// Appeared: a sender was heard for the first time.
	Appeared
	// Restarted: a sender is the one that was heard from the same address before,
	// with a later epoch.
	Restarted
	// Rerouted: the distance to a sender is another than before; Hops is the new one.
	Rerouted
	// Ended: a sender has told that its stream is at its end; Seq is how many
	// datagrams it sent.
	Ended
	// Replied: a host answered; Path and RTT say how.
	Replied
	// Left: a host has told that it will not answer any more.
	Left
	// Finished: all that was asked for is done.
	Finished
)

var eventNames = [...]string{"none", "received", "appeared", "restarted", "rerouted", "ended", "reply", "left", "finished"}

// String returns the kind in one word.
func (k EventKind) String() string {
	if k < 0 || int(k) >= len(eventNames) {
		return fmt.Sprintf("event %d", int(k))
	}
	return eventNames[k]
}

// Outcome is how a numbered datagram arrived.
type Outcome int

// The outcomes.
const (
	// InOrder: later than all before it; Event.Gap numbers before it are missing.
	InOrder Outcome = iota
	// Duplicate: it had come before.
	Duplicate
	// Reordered: for the first time, but after one that was sent later.
	Reordered
	// Late: so old that it cannot be told whether it had come before.
	Late
)

var outcomeNames = [...]string{"in order", "duplicate", "reordered", "late"}

// String returns the outcome in words.
func (o Outcome) String() string {
	if o < 0 || int(o) >= len(outcomeNames) {
		return fmt.Sprintf("outcome %d", int(o))
	}
	return outcomeNames[o]
}

// Event is one thing that happened.
type Event struct {
	Kind EventKind
	// Time is when, as the engine was told.
	Time time.Time
	// From is the sender or the host that answered.
	From netip.AddrPort
	// Group is the group of a received datagram.
	Group netip.Addr
	Seq   uint64
	// Bytes is the length of the payload.
	Bytes int
	// Hops is the distance: how many routers the datagram passed; -1 unknown.
	Hops    int
	Outcome Outcome
	// Gap is how many numbers are missing right before this one.
	Gap uint64
	// Path and RTT are those of a Replied.
	Path Path
	RTT  time.Duration
}
