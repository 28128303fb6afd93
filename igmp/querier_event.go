package igmp

import (
	"fmt"
	"net/netip"
)

// QuerierEventKind is what a [QuerierEvent] tells.
type QuerierEventKind uint8

// The kinds of events of a Querier.
const (
	// QuerierChanged: Querier asks from now on; Own if that is us. The zero Addr
	// and not Own: nobody does any more.
	QuerierChanged QuerierEventKind = iota + 1
	// QuerierIgnored: Querier asked with an address that cannot win an election.
	QuerierIgnored
	// OlderQuerier: Querier asks in Version, which is older than ours; all routers
	// of a link must speak the same (RFC 9776 section 7.3.1).
	OlderQuerier
	// HostJoined: Host spoke for Group, and had not before.
	HostJoined
	// HostLeft: Host said that it listens to Group no more. Others may.
	HostLeft
	// GroupJoined: Group has its first member, Host.
	GroupJoined
	// GroupExpired: nobody listens to Group any more.
	GroupExpired
	// GroupSources: what is wanted of Group's sources is now Reception.
	GroupSources
	// GroupVersion: Group has members of Version from now on, and is treated as
	// that asks (RFC 9776 section 7.3.2).
	GroupVersion
	// GroupRefused: Group was not taken up, or not all its sources, for want of
	// room.
	GroupRefused
)

var querierEventNames = [...]string{
	"none", "querier", "querier-ignored", "older-querier", "host-joined", "host-left",
	"group-joined", "group-expired", "group-sources", "group-version", "group-refused",
}

// String returns the kind in lower-case words with hyphens.
func (k QuerierEventKind) String() string {
	if int(k) >= len(querierEventNames) {
		return fmt.Sprintf("event %d", uint8(k))
	}
	return querierEventNames[k]
}

// QuerierEvent is what the user of a [Querier] hears. Fields that its kind does
// not name are zero.
type QuerierEvent struct {
	Kind      QuerierEventKind
	Group     netip.Addr
	Host      netip.Addr
	Querier   netip.Addr
	Own       bool
	Version   Version
	Reception Reception
}

// String returns the event in one line.
func (e QuerierEvent) String() string {
	switch e.Kind {
	case QuerierChanged:
		switch {
		case e.Own:
			return fmt.Sprintf("%v %v (own)", e.Kind, e.Querier)
		case !e.Querier.IsValid():
			return fmt.Sprintf("%v none", e.Kind)
		}
		return fmt.Sprintf("%v %v", e.Kind, e.Querier)
	case QuerierIgnored:
		return fmt.Sprintf("%v %v", e.Kind, e.Querier)
	case OlderQuerier:
		return fmt.Sprintf("%v %v %v", e.Kind, e.Querier, e.Version)
	case HostJoined, HostLeft, GroupJoined:
		return fmt.Sprintf("%v %v %v", e.Kind, e.Group, e.Host)
	case GroupSources:
		return fmt.Sprintf("%v %v %v", e.Kind, e.Group, e.Reception)
	case GroupVersion:
		return fmt.Sprintf("%v %v %v", e.Kind, e.Group, e.Version)
	}
	return fmt.Sprintf("%v %v", e.Kind, e.Group)
}
