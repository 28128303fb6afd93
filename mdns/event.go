package mdns

import (
	"fmt"
	"net/netip"
)

// EventKind says what happened.
type EventKind int

// What a Host tells its user.
const (
	// EventProbe: a probe for Name was sent (RFC 6762 section 8.1).
	EventProbe EventKind = iota + 1
	// EventDeferred: another host that probes for Name at the same moment won
	// the tie-break; probing goes on a second later (section 8.2).
	EventDeferred
	// EventAnnounce: records of Name were announced (section 8.3).
	EventAnnounce
	// EventClaimed: Name is ours on every interface.
	EventClaimed
	// EventConflict: From has a record that conflicts with Name (sections 8.1, 9).
	EventConflict
	// EventRenamed: a host claim gave up Previous and took Name.
	EventRenamed
	// EventLost: Name was given up; what was published under it is withdrawn.
	EventLost
	// EventGoodbye: records of Name were withdrawn (section 10.1).
	EventGoodbye
	// EventChange: Change says what became of a record in the cache.
	EventChange
	// EventHeard: Heard is a record in a received message.
	EventHeard
	// EventNote: Note explains a decision; only while tracing is on.
	EventNote
)

var eventNames = [...]string{"", "probe", "deferred", "announce", "claimed", "conflict", "renamed", "lost", "goodbye", "change", "heard", "note"}

// String returns the kind in lower case: "probe".
func (k EventKind) String() string {
	if k < 1 || int(k) >= len(eventNames) {
		return fmt.Sprintf("event %d", int(k))
	}
	return eventNames[k]
}

// Event is one thing that happened on one interface, or on all (IfIndex 0).
type Event struct {
	Kind      EventKind
	Interface string
	IfIndex   int
	// Set is the number that [Host.Publish] gave the records, 0 for the cache.
	Set int
	// Name is the name in question, Previous the one it had before a rename.
	Name, Previous string
	// From is who sent the conflicting record.
	From netip.Addr
	// Change is set in an EventChange, Heard in an EventHeard.
	Change *Change
	Heard  *Heard
	// Note is set in an EventNote.
	Note *Note
}

// String returns e in a few words.
func (e Event) String() string {
	s := e.Kind.String()
	switch e.Kind {
	case EventChange:
		return s + " " + e.Change.String()
	case EventHeard:
		return s + " " + e.Heard.Record.String()
	case EventNote:
		return s + " " + e.Note.String()
	case EventRenamed:
		s += " " + e.Previous + " to"
	}
	s += " " + e.Name
	if e.From.IsValid() {
		s += " from " + e.From.String()
	}
	return s
}

// Op is what became of a record.
type Op int

// The operations. Add and Update both say that the record is there now.
const (
	// Add: the record was not known.
	Add Op = iota + 1
	// Update: the record was not known and takes the place of another one of its
	// unique set, whose Remove (reason Flushed) follows in a second or, when
	// that one came from another host and is in use, two.
	Update
	// Remove: the record is gone, for the Reason given.
	Remove
)

// String returns the operation in lower case: "add".
func (o Op) String() string {
	switch o {
	case Add:
		return "add"
	case Update:
		return "update"
	case Remove:
		return "remove"
	}
	return fmt.Sprintf("op %d", int(o))
}

// Reason says why a record changed.
type Reason int

// The reasons.
const (
	// Answered: somebody sent it, asked or not.
	Answered Reason = iota
	// Goodbye: its owner withdrew it (RFC 6762 section 10.1).
	Goodbye
	// Expired: its time to live ran out (section 10).
	Expired
	// Flushed: its owner announced the set anew without it (section 10.2).
	Flushed
	// LinkDown: its interface went away or changed networks (section 10.3).
	LinkDown
	// Evicted: the cache was full.
	Evicted
	// Poof: its owner did not answer other hosts that asked for it (section 10.5).
	Poof
	// Unconfirmed: its owner did not answer when it was reconfirmed (section 10.4).
	Unconfirmed
)

var reasonNames = [...]string{"answered", "goodbye", "expired", "flushed", "link-down", "evicted", "poof", "unconfirmed"}

// String returns the reason in lower case: "goodbye".
func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasonNames) {
		return fmt.Sprintf("reason %d", int(r))
	}
	return reasonNames[r]
}

// Change is what became of one record on one interface.
type Change struct {
	Op     Op
	Reason Reason
	Record Record
	// Interface and IfIndex say where it was heard.
	Interface string
	IfIndex   int
	// From is who sent it last, with the zone of the interface.
	From netip.Addr
	// Local marks a record that this machine's own [Host] publishes.
	Local bool
}

// String returns c in a few words.
func (c Change) String() string {
	s := fmt.Sprintf("%v %v", c.Op, c.Record)
	if c.Op == Remove {
		s += " (" + c.Reason.String() + ")"
	}
	return s
}

// Heard is one record as it stood in a received response.
type Heard struct {
	Record    Record
	Interface string
	IfIndex   int
	From      netip.AddrPort
}

// ConflictError reports that a name is in use by another host.
type ConflictError struct {
	// Name is the name, From a host that has it.
	Name string
	From netip.Addr
}

// Error returns the message.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("mdns: %s is in use by %v", e.Name, e.From)
}
