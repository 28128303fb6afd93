package node

import (
	"net/netip"

	"github.com/aether-lan/aether/store"
)

// EventKind is what happened to a serving node.
type EventKind string

// The kinds of events, as they stand in JSON.
const (
	// EventServing: the node is up; Listen, WebDAV and Dir say where.
	EventServing EventKind = "serving"
	// EventAddress: an interface was given an address.
	EventAddress EventKind = "address"
	// EventNamed: the host has a name on its links.
	EventNamed EventKind = "named"
	// EventConnected and EventDisconnected: a machine of the pool came or went.
	EventConnected    EventKind = "connected"
	EventDisconnected EventKind = "disconnected"
	// EventRefused: somebody who does not belong tried to connect.
	EventRefused EventKind = "refused"
	// EventFault: a machine of the pool sent what it should not have.
	EventFault EventKind = "fault"
)

// Event is one thing that happened to a serving node.
type Event struct {
	Kind      EventKind
	Machine   store.MachineID // connected, disconnected, refused, fault
	Name      string          // named
	Interface string          // address
	Address   netip.AddrPort  // address, connected, refused
	Reason    string          // disconnected, refused, fault
}
