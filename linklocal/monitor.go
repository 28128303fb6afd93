package linklocal

import (
	"net/netip"
	"time"
)

// monitorLimit bounds the addresses whose holders a Monitor remembers.
const monitorLimit = 4096

// Monitor listens on a link and reports probes, announcements, stations that
// begin to use an address, and conflicts. It never sends. It is not safe for
// concurrent use.
type Monitor struct {
	linkLocalOnly bool
	holders       map[netip.Addr]HardwareAddr
	events        []Event

	// Forgotten counts addresses whose holders were not remembered because
	// 4096 others were.
	Forgotten int
}

// NewMonitor returns a Monitor that has heard nothing yet. It reports only
// addresses in 169.254/16 if linkLocalOnly is set.
func NewMonitor(linkLocalOnly bool) *Monitor {
	return &Monitor{linkLocalOnly: linkLocalOnly, holders: make(map[netip.Addr]HardwareAddr)}
}

// HandlePacket takes one ARP packet heard on the link.
func (m *Monitor) HandlePacket(_ time.Time, p Packet) {
	if m.linkLocalOnly && !Prefix.Contains(p.TargetIP) && !Prefix.Contains(p.SenderIP) {
		return
	}
	if p.IsProbe() {
		m.tell(EventProbe, p.TargetIP, p.SenderHardwareAddr)
		return
	}
	if p.IsAnnouncement() {
		m.tell(EventAnnounce, p.SenderIP, p.SenderHardwareAddr)
	}
	if p.SenderIP.IsUnspecified() || m.linkLocalOnly && !Prefix.Contains(p.SenderIP) {
		return
	}
	before, known := m.holders[p.SenderIP]
	switch {
	case !known && len(m.holders) == monitorLimit:
		m.Forgotten++
		return
	case !known:
		m.tell(EventClaimed, p.SenderIP, p.SenderHardwareAddr)
	case before != p.SenderHardwareAddr:
		m.events = append(m.events, Event{
			Kind: EventConflict, Address: p.SenderIP, HardwareAddr: p.SenderHardwareAddr, Previous: before,
		})
	}
	m.holders[p.SenderIP] = p.SenderHardwareAddr
}

// HandleTimeout does nothing: a Monitor has no timers.
func (m *Monitor) HandleTimeout(time.Time) {}

// NextTimeout reports that there is none.
func (m *Monitor) NextTimeout() (time.Time, bool) { return time.Time{}, false }

// Outgoing returns nothing: a Monitor never sends.
func (m *Monitor) Outgoing() []Packet { return nil }

// Events returns what was heard and forgets it.
func (m *Monitor) Events() []Event { ev := m.events; m.events = nil; return ev }

func (m *Monitor) tell(k EventKind, a netip.Addr, by HardwareAddr) {
	m.events = append(m.events, Event{Kind: k, Address: a, HardwareAddr: by})
}
