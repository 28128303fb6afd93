package igmp

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// SnoopKey is what a switch looks a group's frames up by.
type SnoopKey uint8

// The keys (RFC 4541 section 2.1.2 rule 5).
const (
	// KeyAddr tells groups apart by their IP addresses, and sources too.
	KeyAddr SnoopKey = iota
	// KeyHardwareAddr knows the Ethernet address only, which 32 IPv4 groups share:
	// who joined one of them gets them all, from all sources.
	KeyHardwareAddr
)

// Unregistered is what happens to a group that nobody has joined.
type Unregistered uint8

// The policies (RFC 4541 section 2.1.2 rule 3).
const (
	// ToRouterPorts sends it to the ports with multicast routers only.
	ToRouterPorts Unregistered = iota
	// ToAllPorts floods it.
	ToAllPorts
)

// SnooperConfig says what kind of switch a [Snooper] is. Its zero value tells
// groups apart by address, waits for the querier's questions when somebody leaves,
// and floods as long as there is no querier.
type SnooperConfig struct {
	// Key is what frames are looked up by. Zero means [KeyAddr].
	Key SnoopKey
	// Unregistered is what happens to groups without members. Zero means
	// [ToRouterPorts].
	Unregistered Unregistered
	// FastLeave removes a port at the first leave, which is right only where one
	// host is behind each port. False waits for the querier's group-specific
	// queries to remain unanswered.
	FastLeave bool
	// PruneWithoutQuerier keeps frames from ports without members even when no
	// querier asks for them, as many hardware switches do: members then fall silent
	// when their membership runs out. False floods while there is no querier, as
	// Linux does.
	PruneWithoutQuerier bool
	// RouterPorts always have a multicast router. Nil means that all are learnt.
	RouterPorts []int
	// Querier has the switch ask by itself while no querier is heard, from the
	// address 0.0.0.0, which wins no election (RFC 4541 section 2.1.1 rule 2), or
	// from the link-local address of HardwareAddr. False means it never asks.
	Querier bool
	// HardwareAddr is the switch's own address, from which it asks. It may be zero
	// without Querier; a zero one asks for IPv4 groups only.
	HardwareAddr HardwareAddr
	// Timers replace those of the specification until a querier tells its own.
	Timers SnooperTimers
	// Bounds limit the tables.
	Bounds SnooperBounds
}

// SnooperTimers are the intervals of a switch.
type SnooperTimers struct {
	// Robustness is the number of times that a message may be lost, less one. Zero
	// means 2 (RFC 9776 section 8.1).
	Robustness int
	// QueryInterval is the time between general queries. Zero means 125 s (8.2).
	QueryInterval time.Duration
	// QueryResponse is the time in which to answer them. Zero means 10 s (8.3).
	QueryResponse time.Duration
	// LastMemberQuery is the time in which to answer a group-specific query of the
	// switch's own. Zero means 1 s (8.8).
	LastMemberQuery time.Duration
	// Membership is how long a report counts. Zero means that it is computed from
	// the others and from what the querier tells: 260 s by default (8.4).
	Membership time.Duration
}

// SnooperBounds limit what a switch remembers.
type SnooperBounds struct {
	// Groups is for one VLAN and family. Zero means 4096. When it is reached,
	// groups that are not in the table are flooded.
	Groups int
	// Sources is for one group at one port; a port with more gets all sources.
	// Zero means 64.
	Sources int
	// Routers is for one VLAN and family. Zero means 256.
	Routers int
	// VLANs is the number of them; what belongs to further ones is flooded. Zero
	// means 64.
	VLANs int
}

func (c SnooperConfig) withDefaults() SnooperConfig {
	c.Timers.Robustness = cmp.Or(c.Timers.Robustness, 2)
	c.Timers.QueryInterval = cmp.Or(c.Timers.QueryInterval, 125*time.Second)
	c.Timers.QueryResponse = cmp.Or(c.Timers.QueryResponse, 10*time.Second)
	c.Timers.LastMemberQuery = cmp.Or(c.Timers.LastMemberQuery, time.Second)
	c.Bounds.Groups = cmp.Or(c.Bounds.Groups, 4096)
	c.Bounds.Sources = cmp.Or(c.Bounds.Sources, 64)
	c.Bounds.Routers = cmp.Or(c.Bounds.Routers, 256)
	c.Bounds.VLANs = cmp.Or(c.Bounds.VLANs, 64)
	c.RouterPorts = slices.Clone(c.RouterPorts)
	return c
}

// SnooperStats counts what a [Snooper] met. All numbers grow only.
type SnooperStats struct {
	// Queries, Reports and Leaves were understood.
	Queries, Reports, Leaves uint64
	// Unknown messages are of types that are flooded (RFC 4541 section 2.1.1 rule 4).
	Unknown uint64
	// Bad messages have a wrong checksum or are malformed: nothing was learnt
	// from them and they went nowhere (rule 6).
	Bad uint64
	// Ignored messages and records are well-formed and say what must not count: a
	// group that is none, an MLD message from beyond the link.
	Ignored uint64
	// GroupsFull, SourcesFull, RoutersFull and VLANsFull count what found no room.
	GroupsFull, SourcesFull, RoutersFull, VLANsFull uint64
	// EventsLost counts events that nobody fetched in time.
	EventsLost uint64
}

// Snooper is the part of a switch that listens to IGMP and MLD and sends the
// frames of groups only where somebody wants them (RFC 4541). It is told of each
// frame and answers where one belongs; it has no ports itself, and numbers them as
// its caller does. See [NewSnooper].
type Snooper struct {
	cfg    SnooperConfig
	now    time.Time // of the last input
	vlans  map[vlanKey]*snoopedVLAN
	sweep  time.Time // when something may have run out; zero when nothing will
	out    []PortFrame
	events []SnooperEvent
	stats  SnooperStats
}

// NewSnooper returns a switch that knows nothing yet, at the instant now. Frames
// of VLANs and of both families are kept apart.
func NewSnooper(now time.Time, cfg SnooperConfig) *Snooper {
	s := &Snooper{cfg: cfg.withDefaults(), now: now, vlans: make(map[vlanKey]*snoopedVLAN)}
	if cfg.Querier {
		for _, six := range []bool{false, true} {
			if !six || cfg.HardwareAddr != (HardwareAddr{}) {
				s.vlan(vlanKey{six: six})
			}
		}
	}
	return s
}

// PortFrame is a frame that the switch itself sends.
type PortFrame struct {
	// Port is where to; -1 means all.
	Port int
	// Frame is a whole Ethernet frame without checksum.
	Frame []byte
}

// AllPorts is the Port of a [PortFrame] for all of them.
const AllPorts = -1

// HandleFrame learns from a frame that came in at port. Of frames without IGMP or
// MLD it takes the instant only.
func (s *Snooper) HandleFrame(now time.Time, port int, frame []byte) {
	s.HandleTimeout(now)
	t := inspect(frame)
	if !t.control {
		return
	}
	if t.err != nil {
		s.stats.Bad++
		return
	}
	// Messages of MLD that come from beyond the link must not count (RFC 9777
	// sections 5.1.14 and 5.2.14); a report may have no source yet.
	if src := t.packet.Src; t.six && (t.packet.TTL != 1 || src.IsValid() && !src.IsUnspecified() && !src.IsLinkLocalUnicast()) {
		s.stats.Ignored++
		return
	}
	v := s.vlan(vlanKey{t.vlan, t.six})
	if v == nil {
		return
	}
	switch m := t.packet.Message.(type) {
	case *Query:
		s.stats.Queries++
		s.heardQuery(v, port, HardwareAddr(frame[6:12]), t.packet.Src, m)
	case *Report:
		s.stats.Reports++
		s.heardReport(v, port, m)
	case *Leave:
		s.stats.Leaves++
		s.heardLeave(v, port, m)
	case *Unknown:
		s.stats.Unknown++
		s.heardDiscovery(v, port, t.packet.Src, m)
	}
}

// HandleTimeout forgets what has run out at now and asks what is due.
func (s *Snooper) HandleTimeout(now time.Time) {
	if now.After(s.now) {
		s.now = now
	}
	if s.sweep.IsZero() || s.now.Before(s.sweep) {
		return
	}
	s.sweep = time.Time{}
	for _, k := range s.sortedVLANs() {
		s.expire(s.vlans[k])
		s.ask(s.vlans[k])
	}
}

// NextTimeout reports when HandleTimeout must next be called. It may be earlier
// than something happens.
func (s *Snooper) NextTimeout() (t time.Time, ok bool) { return s.sweep, !s.sweep.IsZero() }

// Outgoing returns the frames that the switch itself sends, and forgets them.
func (s *Snooper) Outgoing() []PortFrame {
	out := s.out
	s.out = nil
	return out
}

// Events returns what has changed, and forgets it.
func (s *Snooper) Events() []SnooperEvent {
	ev := s.events
	s.events = nil
	return ev
}

// Stats returns the counters.
func (s *Snooper) Stats() SnooperStats { return s.stats }

// TopologyChanged tells that ports may now lead elsewhere, as after a change of
// the spanning tree: frames are flooded until hosts had the time to answer, and a
// switch that asks, asks now (RFC 4541 section 2.1.1 rule 5).
func (s *Snooper) TopologyChanged(now time.Time) {
	s.HandleTimeout(now)
	for _, k := range s.sortedVLANs() {
		v := s.vlans[k]
		v.activeAt = s.now.Add(v.timers.response)
		if s.cfg.Querier && !v.heardQuerier(s.now) {
			v.startup, v.askAt = s.cfg.Timers.Robustness, s.now
		}
		s.wake(s.now)
	}
	s.HandleTimeout(now)
}

// PortDown forgets all that was learnt at port.
func (s *Snooper) PortDown(now time.Time, port int) {
	s.HandleTimeout(now)
	for _, k := range s.sortedVLANs() {
		v := s.vlans[k]
		for _, r := range v.sortedRouters() {
			if r.port == port {
				delete(v.routers, r)
				s.routerLost(v, r)
			}
		}
		for _, g := range v.sortedGroups() {
			if g.ports[port] != nil {
				s.drop(v, g, port, MemberExpired)
			}
		}
	}
}

// SnooperEntry is one port of one group in the table of a [Snooper].
type SnooperEntry struct {
	// VLAN is the number of the outer tag; 0 without one.
	VLAN  uint16
	Group netip.Addr
	Port  int
	// Sources are those the port wants; nil means all.
	Sources []netip.Addr
	// Expires is when the port will be removed unless it reports again.
	Expires time.Time
}

// Table returns the members, sorted by VLAN, group and port.
func (s *Snooper) Table() []SnooperEntry {
	var list []SnooperEntry
	for _, k := range s.sortedVLANs() {
		for _, g := range s.vlans[k].sortedGroups() {
			for _, port := range g.sortedPorts() {
				m := g.ports[port]
				e := SnooperEntry{VLAN: k.vlan, Group: g.addr, Port: port, Expires: m.last()}
				if !m.all.After(s.now) {
					e.Sources = m.wanted(s.now)
				}
				list = append(list, e)
			}
		}
	}
	return list
}

// RouterPorts returns the ports with multicast routers of a VLAN and family (six
// is IPv6), configured ones included, sorted.
func (s *Snooper) RouterPorts(vlan uint16, six bool) []int {
	ports := slices.Clone(s.cfg.RouterPorts)
	if v := s.vlans[vlanKey{vlan, six}]; v != nil {
		for r, until := range v.routers {
			if until.After(s.now) {
				ports = append(ports, r.port)
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// Querier returns the querier last heard in a VLAN of a family (six is IPv6) and
// until when it counts as present; the zero Addr when there is none. Its address
// is 0.0.0.0 for another switch that asks.
func (s *Snooper) Querier(vlan uint16, six bool) (querier netip.Addr, until time.Time) {
	v := s.vlans[vlanKey{vlan, six}]
	if v == nil || !v.heardQuerier(s.now) {
		return netip.Addr{}, time.Time{}
	}
	return v.querier, v.querierUntil
}

// wake has HandleTimeout look at the table at t at the latest.
func (s *Snooper) wake(t time.Time) {
	if s.sweep.IsZero() || t.Before(s.sweep) {
		s.sweep = t
	}
}
