package netif

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
)

// table is what the watcher last told its user, sorted by index.
type table struct {
	known []Interface
}

// update takes a new listing and returns what happened since the last one:
// removals first, then per interface a lost carrier before other changes and a
// found carrier behind them, so that whoever hears CarrierUp has heard of the
// addresses. An Added interface carries its state and has no carrier event.
func (t *table) update(list []Interface) []Event {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b Interface) int { return cmp.Compare(a.Index, b.Index) })
	var events []Event
	for _, old := range t.known {
		if _, found := find(list, old.Index); !found {
			events = append(events, Event{Removed, old})
		}
	}
	for _, now := range list {
		n, found := find(t.known, now.Index)
		if !found {
			events = append(events, Event{Added, now})
			continue
		}
		events = appendChanges(events, t.known[n], now)
	}
	t.known = list
	return events
}

// carrier takes word of a carrier that need not last until the next listing,
// and returns the event if it differs from what was told last.
func (t *table) carrier(index int, up bool) []Event {
	n, found := find(t.known, index)
	if !found || t.known[n].Carrier == up {
		return nil
	}
	t.known[n].Carrier = up
	if up {
		return []Event{{CarrierUp, t.known[n]}}
	}
	return []Event{{CarrierDown, t.known[n]}}
}

func appendChanges(events []Event, old, now Interface) []Event {
	if old.Carrier && !now.Carrier {
		events = append(events, Event{CarrierDown, now})
	}
	if !sameButCarrier(old, now) {
		events = append(events, Event{Changed, now})
	}
	if !old.Carrier && now.Carrier {
		events = append(events, Event{CarrierUp, now})
	}
	return events
}

func sameButCarrier(a, b Interface) bool {
	return a.Name == b.Name && a.MTU == b.MTU && a.Up == b.Up && a.Loopback == b.Loopback &&
		a.Multicast == b.Multicast && a.PointToPoint == b.PointToPoint &&
		bytes.Equal(a.HardwareAddr, b.HardwareAddr) && slices.Equal(a.Addresses, b.Addresses)
}

// find returns where in list, sorted by index, the interface is.
func find(list []Interface, index int) (int, bool) {
	return slices.BinarySearchFunc(list, index, func(i Interface, n int) int { return cmp.Compare(i.Index, n) })
}

// sortAddresses puts the addresses in order and drops doubles.
func sortAddresses(a []netip.Prefix) []netip.Prefix {
	slices.SortFunc(a, netip.Prefix.Compare)
	return slices.Compact(a)
}
