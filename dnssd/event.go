package dnssd

import (
	"fmt"

	"github.com/aether-lan/aether/mdns"
)

// Event is what became of an instance.
type Event struct {
	Op       Op
	Instance Instance
	// Reason says why an instance was removed; mdns.Answered otherwise.
	Reason mdns.Reason
}

// String returns e in a few words.
func (e Event) String() string {
	s := fmt.Sprintf("%v %v", e.Op, e.Instance)
	if e.Op == Remove {
		s += " (" + e.Reason.String() + ")"
	}
	return s
}

// Op is what became of an instance or a service.
type Op = mdns.Op

// The operations.
const (
	// Add: it was not known.
	Add = mdns.Add
	// Update: something about it has changed.
	Update = mdns.Update
	// Remove: it is gone. The Event holds what was known last.
	Remove = mdns.Remove
)

// TypeEvent says that a service is on offer, or no longer.
type TypeEvent struct {
	// Op is Add or Remove.
	Op Op
	// Service is "_ipp._tcp".
	Service string
	Domain  string
	// Interface is where it is on offer.
	Interface string
	// Reason says why it was removed; mdns.Answered otherwise.
	Reason mdns.Reason
}
