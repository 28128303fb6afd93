package linklocal

import (
	"fmt"
	"net/netip"
	"strings"
)

// EventKind is what an Event tells.
type EventKind int

// The kinds of events.
const (
	// EventProbe: a probe for Address was sent.
	EventProbe EventKind = iota + 1
	// EventAnnounce: Address was announced.
	EventAnnounce
	// EventClaimed: Address may be used from now on.
	EventClaimed
	// EventFree: the test of Address found nobody who has it.
	EventFree
	// EventConflict: the station HardwareAddr claims Address too.
	EventConflict
	// EventDefended: Address was announced against HardwareAddr.
	EventDefended
	// EventLost: Address must not be used any more, for Reason.
	EventLost
	// EventReleased: Address is given up, for Reason.
	EventReleased
	// EventDeprecated: Address should serve existing connections only.
	EventDeprecated
	// EventRestored: Address, which was deprecated, is in full use again.
	EventRestored
	// EventWaiting: no address is being claimed at present, for Reason.
	EventWaiting
)

var eventNames = [...]string{"none", "probe", "announce", "claimed", "free", "conflict", "defended", "lost", "released", "deprecated", "restored", "waiting"}

// String returns the kind in one lower-case word.
func (k EventKind) String() string {
	if k < 0 || int(k) >= len(eventNames) {
		return fmt.Sprintf("event %d", int(k))
	}
	return eventNames[k]
}

// Reason is why an address was lost or released, or why none is claimed.
type Reason int

// The reasons.
const (
	// ReasonConflict: another host has the address, or, for EventWaiting, has had
	// MaxConflicts of them.
	ReasonConflict Reason = iota + 1
	// ReasonLink: the interface lost its link. The address must be tested anew
	// before it is used (RFC 3927 section 2.2).
	ReasonLink
	// ReasonResumed: the machine has slept, and may be elsewhere now.
	ReasonResumed
	// ReasonDeleted: somebody took the address off the interface.
	ReasonDeleted
	// ReasonRoutable: the interface has a routable address (RFC 3927 section 1.9).
	ReasonRoutable
	// ReasonStopped: the user wanted no more.
	ReasonStopped
)

var reasonNames = [...]string{"", "conflict", "no link", "resumed from sleep", "deleted from the interface", "routable address present", "stopped"}

// String returns the reason in lower-case words, nothing for zero.
func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasonNames) {
		return fmt.Sprintf("reason %d", int(r))
	}
	return reasonNames[r]
}

// Event is something the user of an engine should hear. Events are comparable;
// fields that do not apply are zero.
type Event struct {
	Kind    EventKind
	Address netip.Addr
	// HardwareAddr is the other station of a conflict; for a Monitor, whoever
	// sent the packet.
	HardwareAddr HardwareAddr
	// Previous is, for a Monitor's conflict, the station that had the address.
	Previous HardwareAddr
	Reason   Reason
}

// String returns the event in one line.
func (e Event) String() string {
	var b strings.Builder
	b.WriteString(e.Kind.String())
	if e.Address.IsValid() {
		fmt.Fprintf(&b, " %v", e.Address)
	}
	if e.HardwareAddr != (HardwareAddr{}) {
		fmt.Fprintf(&b, " with %v", e.HardwareAddr)
	}
	if e.Previous != (HardwareAddr{}) {
		fmt.Fprintf(&b, " and %v", e.Previous)
	}
	if e.Reason != 0 {
		fmt.Fprintf(&b, " (%v)", e.Reason)
	}
	return b.String()
}
