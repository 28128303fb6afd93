package igmp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

const protocolUDP = 17

// traffic is what a switch reads of a frame.
type traffic struct {
	dst           HardwareAddr
	vlan          uint16 // of the outer tag, 0 without one
	six           bool
	source, group netip.Addr // of the IP header; group is invalid when it is no multicast
	udp           bool       // it carries UDP, not in a later fragment
	size          int        // of the IP packet, as its header tells
	control       bool       // it carries IGMP or MLD
	packet        Packet     // then
	err           error      // or what is wrong with it
}

// inspect reads a frame. What it does not understand has no group.
func inspect(frame []byte) (t traffic) {
	if len(frame) < 14 {
		return t
	}
	t.dst = HardwareAddr(frame[:6])
	typ, rest := binary.BigEndian.Uint16(frame[12:]), frame[14:]
	for tags := 0; (typ == etherVLAN || typ == etherQinQ || typ == etherQinQ91) && len(rest) >= 4; tags++ {
		if tags == 0 {
			t.vlan = binary.BigEndian.Uint16(rest) & 0x0fff
		}
		typ, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	var next byte
	switch {
	case typ == etherIPv4 && len(rest) >= 20 && rest[0]>>4 == 4:
		t.source, t.group = netip.AddrFrom4([4]byte(rest[12:])), netip.AddrFrom4([4]byte(rest[16:]))
		t.control = rest[9] == protocolIGMP
		t.size = int(binary.BigEndian.Uint16(rest[2:]))
		t.udp = rest[9] == protocolUDP && binary.BigEndian.Uint16(rest[6:])&0x1fff == 0
	case typ == etherIPv6 && len(rest) >= 40 && rest[0]>>4 == 6:
		t.six, next, t.size = true, rest[6], ipv6Len+int(binary.BigEndian.Uint16(rest[4:]))
		t.source, t.group = netip.AddrFrom16([16]byte(rest[8:])), netip.AddrFrom16([16]byte(rest[24:]))
		t.control, t.udp = next == protocolHopByHop || next == protocolICMPv6, next == protocolUDP
	default:
		return t
	}
	if !t.group.IsMulticast() {
		t.group, t.control = netip.Addr{}, false
	}
	if t.control {
		t.packet, t.err = ParsePacket(rest)
		t.control = !errors.Is(t.err, ErrNotGroupProtocol)
	}
	return t
}

// alwaysFlooded reports whether group goes to all ports: 224.0.0.x (RFC 4541
// section 2.1.2 rule 2), all nodes of IPv6 and what does not leave an interface,
// which hosts do not report (RFC 9777 section 6).
func alwaysFlooded(group netip.Addr) bool {
	if group.Is4() {
		b := group.As4()
		return b[0] == 224 && b[1] == 0 && b[2] == 0
	}
	return group == allNodes6 || group.As16()[1]&0x0f <= 1
}

// groupHardwareAddr returns the Ethernet address of group (RFC 1112 section 6.4,
// RFC 2464 section 7).
func groupHardwareAddr(group netip.Addr) HardwareAddr {
	if group.Is4() {
		b := group.As4()
		return HardwareAddr{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	b := group.As16()
	return HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// floodedHardware reports whether one of the groups behind an Ethernet address is
// always flooded, so that a switch that sees no more than it must flood them all.
func floodedHardware(a HardwareAddr) bool {
	return a[0] == 0x01 && a[3] == 0 && a[4] == 0 || a == HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
}

// Forward returns which of ports a frame belongs to that came in at port: never
// port itself. It is for frames whose destination has the group bit set; broadcast
// and what is not understood go everywhere. It answers by what was known at the
// last input, so [Snooper.HandleFrame] comes first.
func (s *Snooper) Forward(port int, frame []byte, ports []int) []int {
	return s.to(inspect(frame), port, ports)
}

func (s *Snooper) to(t traffic, port int, ports []int) []int {
	v := s.vlans[vlanKey{t.vlan, t.six}]
	all := func(int) bool { return true }
	routers := func(p int) bool { return s.isRouterPort(v, p) }
	allowed := all
	switch {
	case t.control && t.err != nil:
		allowed = func(int) bool { return false }
	case t.control:
		if k := t.packet.Message.Kind(); (k == "report" || k == "leave") && s.hidesReports(v) {
			allowed = routers
		}
	case !t.group.IsValid(), s.alwaysFlooded(t), !s.prunes(v):
	default:
		if wants, registered := s.members(v, t); registered {
			allowed = func(p int) bool { return wants(p) || routers(p) }
		} else if !s.floodsUnregistered(v, t) {
			allowed = routers
		}
	}
	out := make([]int, 0, len(ports))
	for _, p := range ports {
		if p != port && allowed(p) {
			out = append(out, p)
		}
	}
	return out
}

func (s *Snooper) alwaysFlooded(t traffic) bool {
	return alwaysFlooded(t.group) || s.cfg.Key == KeyHardwareAddr && floodedHardware(t.dst)
}

func (s *Snooper) isRouterPort(v *snoopedVLAN, port int) bool {
	if slices.Contains(s.cfg.RouterPorts, port) {
		return true
	}
	if v != nil {
		for r, until := range v.routers {
			if r.port == port && until.After(s.now) {
				return true
			}
		}
	}
	return false
}

// hidesReports reports whether reports go to router ports only, so that hosts at
// different ports do not suppress each other's (RFC 4541 section 2.1.1 rule 1).
// Where nobody asks, they go everywhere: a router that is silent may listen.
func (s *Snooper) hidesReports(v *snoopedVLAN) bool {
	if s.cfg.PruneWithoutQuerier || len(s.cfg.RouterPorts) > 0 {
		return true
	}
	return v != nil && (v.heardQuerier(s.now) || s.asks(v) || len(v.routers) > 0)
}

// prunes reports whether frames are kept from ports without members.
func (s *Snooper) prunes(v *snoopedVLAN) bool {
	if s.cfg.PruneWithoutQuerier {
		return true
	}
	return v != nil && (v.heardQuerier(s.now) || s.asks(v)) && !s.now.Before(v.activeAt)
}

// members returns which ports want a frame, and whether any does want its group.
func (s *Snooper) members(v *snoopedVLAN, t traffic) (wants func(port int) bool, registered bool) {
	if v == nil {
		return nil, false
	}
	if s.cfg.Key == KeyHardwareAddr {
		groups := v.members.byHardware[t.dst]
		return func(port int) bool {
			return slices.ContainsFunc(groups, func(g *snoopedGroup) bool {
				m := g.ports[port]
				return m != nil && m.last().After(s.now)
			})
		}, len(groups) > 0
	}
	g := v.members.byAddr[t.group]
	return func(port int) bool {
		m := g.ports[port]
		return m != nil && m.wants(s.now, t.source)
	}, g != nil
}

// floodsUnregistered reports whether a group without members goes everywhere. One
// of IPv6's link scope does: it carries the discovery of neighbours, which must
// work before anybody could report (RFC 4541 section 3).
func (s *Snooper) floodsUnregistered(v *snoopedVLAN, t traffic) bool {
	return s.cfg.Unregistered == ToAllPorts || v != nil && v.members.fullUntil.After(s.now) ||
		t.six && t.group.IsLinkLocalMulticast()
}
