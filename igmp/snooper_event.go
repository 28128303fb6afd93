package igmp

import (
	"fmt"
	"net/netip"
)

// SnooperChange is what has changed in a switch's tables.
type SnooperChange uint8

// The changes.
const (
	// QuerierHeard: somebody asks, where nobody did or somebody else.
	QuerierHeard SnooperChange = iota + 1
	// QuerierLost: nobody has asked for the other querier present interval.
	QuerierLost
	// RouterPortLearnt and RouterPortLost are about a port and the router there.
	RouterPortLearnt
	RouterPortLost
	// MemberLearnt: a port wants a group.
	MemberLearnt
	// MemberLeft: it does not any more, by a leave that counted at once.
	MemberLeft
	// MemberExpired: nobody there has reported for too long, or answered.
	MemberExpired
)

var changeNames = [...]string{"", "querier heard", "querier lost", "router port learnt", "router port lost", "member learnt", "member left", "member expired"}

// String returns the change in words.
func (c SnooperChange) String() string {
	if int(c) >= len(changeNames) {
		return fmt.Sprintf("change %d", uint8(c))
	}
	return changeNames[c]
}

// SnooperEvent is one change.
type SnooperEvent struct {
	Change SnooperChange
	// VLAN is the number of the outer tag; 0 without one.
	VLAN uint16
	Port int
	// Addr is the querier's, the router's or the group's address.
	Addr netip.Addr
}

// String returns the event in one line.
func (e SnooperEvent) String() string {
	return fmt.Sprintf("vlan %d port %d %v %v", e.VLAN, e.Port, e.Change, e.Addr)
}

// maxSnooperEvents bounds the events that wait to be fetched.
const maxSnooperEvents = 4096

func (s *Snooper) tell(v *snoopedVLAN, change SnooperChange, port int, addr netip.Addr) {
	if len(s.events) >= maxSnooperEvents {
		s.stats.EventsLost++
		return
	}
	s.events = append(s.events, SnooperEvent{change, v.key.vlan, port, addr})
}
