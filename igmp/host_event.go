package igmp

import (
	"fmt"
	"net/netip"
)

// HostEventKind is what a [HostEvent] tells.
type HostEventKind uint8

// The kinds of events of a Host.
const (
	// HostVersion: the host speaks Version from now on, because From asked in it or
	// nobody has for long (RFC 9776 section 7.2.1).
	HostVersion HostEventKind = iota + 1
	// HostSuppressed: From reported Group, so we need not (RFC 2236 section 3).
	HostSuppressed
	// HostDeferred: a query came too soon after another was answered; the answer,
	// for Group or for all, waits.
	HostDeferred
)

var hostEventNames = [...]string{"none", "version", "suppressed", "deferred"}

// String returns the kind in one lower-case word.
func (k HostEventKind) String() string {
	if int(k) >= len(hostEventNames) {
		return fmt.Sprintf("event %d", uint8(k))
	}
	return hostEventNames[k]
}

// HostEvent is what the user of a [Host] hears. Fields that its kind does not name
// are zero.
type HostEvent struct {
	Kind    HostEventKind
	Group   netip.Addr
	From    netip.Addr
	Version Version
}

// String returns the event in one line.
func (e HostEvent) String() string {
	switch e.Kind {
	case HostVersion:
		if !e.From.IsValid() {
			return fmt.Sprintf("%v %v", e.Kind, e.Version)
		}
		return fmt.Sprintf("%v %v by %v", e.Kind, e.Version, e.From)
	case HostSuppressed:
		return fmt.Sprintf("%v %v by %v", e.Kind, e.Group, e.From)
	}
	if !e.Group.IsValid() {
		return e.Kind.String()
	}
	return fmt.Sprintf("%v %v", e.Kind, e.Group)
}
