package netif

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
)

// state is an interface as a listing shows it.
type state struct {
	Interface
	// lost counts how often the carrier went since the interface was made; it
	// wraps around. Always zero where the system does not count.
	lost uint32
}

// table is what the watcher last told its user, sorted by index.
type table struct {
	known []state
}

// update takes a new listing and returns what happened since the last one:
// removals first, then per interface a lost carrier before other changes and a
// found carrier behind them, so that whoever hears CarrierUp has heard of the
// addresses. An Added interface carries its state and has no carrier event. A
// carrier that was lost and found between two listings is told as both.
func (t *table) update(list []state) []Event {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b state) int { return cmp.Compare(a.Index, b.Index) })
	var events []Event
	for _, old := range t.known {
		if _, found := find(list, old.Index); !found {
			events = append(events, Event{Removed, old.Interface})
		}
	}
	for _, now := range list {
		n, found := find(t.known, now.Index)
		if !found {
			events = append(events, Event{Added, now.Interface})
			continue
		}
		events = appendChanges(events, t.known[n], now)
	}
	t.known = list
	return events
}

func appendChanges(events []Event, old, now state) []Event {
	flapped := old.Carrier && now.Carrier && old.lost != now.lost
	if old.Carrier && !now.Carrier || flapped {
		down := now.Interface
		down.Carrier = false
		events = append(events, Event{CarrierDown, down})
	}
	if !sameButCarrier(old.Interface, now.Interface) {
		events = append(events, Event{Changed, now.Interface})
	}
	if !old.Carrier && now.Carrier || flapped {
		events = append(events, Event{CarrierUp, now.Interface})
	}
	return events
}

func sameButCarrier(a, b Interface) bool {
	return a.Name == b.Name && a.MTU == b.MTU && a.Up == b.Up && a.Loopback == b.Loopback &&
		a.Multicast == b.Multicast && a.PointToPoint == b.PointToPoint &&
		bytes.Equal(a.HardwareAddr, b.HardwareAddr) && slices.Equal(a.Addresses, b.Addresses)
}

// find returns where in list, sorted by index, the interface is.
func find(list []state, index int) (int, bool) {
	return slices.BinarySearchFunc(list, index, func(i state, n int) int { return cmp.Compare(i.Index, n) })
}

// sortAddresses puts the addresses in order and drops doubles.
func sortAddresses(a []netip.Prefix) []netip.Prefix {
	slices.SortFunc(a, netip.Prefix.Compare)
	return slices.Compact(a)
}
