package igmp

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// MonitorKind is what a [MonitorEvent] tells.
type MonitorKind uint8

// The kinds. The first three are messages on the wire, the other three
// conclusions.
const (
	HeardQuery MonitorKind = iota + 1
	// HeardReport tells of one record of a report, and where the record includes
	// sources, of one source of it.
	HeardReport
	// HeardLeave: a host wants a group, or one source of it, no longer.
	HeardLeave
	// Joined: a host that was not known as a member has reported.
	Joined
	// Expired: a member has neither reported for the group membership interval
	// nor said that it leaves.
	Expired
	// HeardMalformed: a message with a wrong checksum or other mistakes.
	HeardMalformed
)

var monitorKinds = [...]string{"", "query", "report", "leave", "join", "expire", "malformed"}

// String returns query, report, leave, join, expire or malformed.
func (k MonitorKind) String() string {
	if int(k) >= len(monitorKinds) {
		return fmt.Sprintf("kind%d", uint8(k))
	}
	return monitorKinds[k]
}

// MonitorEvent is one thing that a [Monitor] has heard or concluded.
type MonitorEvent struct {
	Kind MonitorKind
	// At is when.
	At time.Time
	// Group is what it is about; invalid for a general query.
	Group netip.Addr
	// Source is the source that is wanted, or asked for when it is the only one;
	// invalid means any.
	Source netip.Addr
	// Sources are all of a query, or those excluded by a record.
	Sources []netip.Addr
	// Host is who has sent the message, or the member.
	Host MonitorHost
	// Version is that of the message.
	Version Version
	// Record is the type of the record told of, 0 where there is none.
	Record RecordType
	// Packet is what was heard; zero for Joined and Expired.
	Packet Packet
	// Err is what is wrong with a malformed message.
	Err error
}

// MonitorHost is a machine as its messages show it.
type MonitorHost struct {
	// Addr is its IP address: 0.0.0.0 or :: for one that has none yet.
	Addr netip.Addr
	// HardwareAddr is zero where it is not known.
	HardwareAddr HardwareAddr
}

// String returns the address, with the hardware address where there is no other.
func (h MonitorHost) String() string {
	if h.Addr.IsValid() && h.Addr.IsUnspecified() {
		return fmt.Sprintf("%v (%v)", h.Addr, h.HardwareAddr)
	}
	return h.Addr.String()
}

// String returns the event in one line.
func (e MonitorEvent) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v", e.Kind)
	switch {
	case e.Kind == HeardMalformed:
		fmt.Fprintf(&b, " from %v: %v", e.Host, e.Err)
		return b.String()
	case e.Kind == HeardQuery && !e.Group.IsValid():
		b.WriteString(" general")
	case e.Source.IsValid():
		fmt.Fprintf(&b, " (%v,%v)", e.Source, e.Group)
	default:
		fmt.Fprintf(&b, " %v", e.Group)
	}
	if e.Record != 0 {
		fmt.Fprintf(&b, " %v", e.Record)
	}
	if len(e.Sources) > 0 && !e.Source.IsValid() {
		fmt.Fprintf(&b, " %v", e.Sources)
	}
	fmt.Fprintf(&b, " %v from %v", e.Version, e.Host)
	return b.String()
}
