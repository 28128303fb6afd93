package igmp

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// groupQuery is a group-specific query that will be repeated.
type groupQuery struct {
	group   netip.Addr
	sources []netip.Addr
	at      time.Time
	left    int
}

// maxGroupQueries bounds the queries that wait to be repeated; above it a leave
// takes effect when the membership runs out.
const maxGroupQueries = 256

// asks reports whether the switch is the one that asks: it may, and no querier is
// heard.
func (s *Snooper) asks(v *snoopedVLAN) bool {
	return s.cfg.Querier && !v.heardQuerier(s.now) && (!v.key.six || s.cfg.HardwareAddr != HardwareAddr{})
}

// ask sends the queries that are due.
func (s *Snooper) ask(v *snoopedVLAN) {
	if !s.asks(v) {
		v.again = nil
		return
	}
	t := s.cfg.Timers
	if !v.askAt.After(s.now) {
		s.sendQuery(v, &Query{Version: V3, MaxResponse: t.QueryResponse, Robustness: uint8(min(t.Robustness, 7)), Interval: t.QueryInterval})
		wait := t.QueryInterval
		if v.startup--; v.startup > 0 {
			wait /= 4 // startup query interval (RFC 9776 section 8.6)
		}
		v.startup, v.askAt = max(v.startup, 0), s.now.Add(wait)
	}
	s.wake(v.askAt)
	for i := range v.again {
		q := &v.again[i]
		if !q.at.After(s.now) {
			s.sendGroupQuery(v, q)
		}
		if q.left > 0 {
			s.wake(q.at)
		}
	}
	v.again = slices.DeleteFunc(v.again, func(q groupQuery) bool { return q.left <= 0 })
}

// askGroup asks who still wants a group, or sources of it.
func (s *Snooper) askGroup(v *snoopedVLAN, group netip.Addr, sources []netip.Addr) {
	same := func(q groupQuery) bool { return q.group == group && slices.Equal(q.sources, sources) }
	if len(v.again) >= maxGroupQueries || slices.ContainsFunc(v.again, same) {
		return
	}
	q := groupQuery{group: group, sources: slices.Clone(sources), left: s.cfg.Timers.Robustness}
	s.lower(v, group, sources, s.cfg.Timers.LastMemberQuery)
	s.sendGroupQuery(v, &q)
	if q.left > 0 {
		v.again = append(v.again, q)
		s.wake(q.at)
	}
}

func (s *Snooper) sendGroupQuery(v *snoopedVLAN, q *groupQuery) {
	t := s.cfg.Timers
	q.left--
	q.at = s.now.Add(t.LastMemberQuery)
	s.sendQuery(v, &Query{
		Version: V3, Group: q.group, Sources: q.sources, MaxResponse: t.LastMemberQuery,
		Robustness: uint8(min(t.Robustness, 7)), Interval: t.QueryInterval,
	})
}

// sendQuery puts a query into a frame for all ports.
func (s *Snooper) sendQuery(v *snoopedVLAN, q *Query) {
	src, dst := netip.IPv4Unspecified(), allSystems4
	if v.key.six {
		src, dst = linkLocalAddr(s.cfg.HardwareAddr), allNodes6
	}
	if !q.IsGeneral() {
		dst = q.Group
	}
	ip, err := NewPacket(src, dst, q).Append(nil)
	if err != nil {
		return // a query of too many sources for one packet
	}
	hw := groupHardwareAddr(dst)
	frame := append(append(make([]byte, 0, 18+len(ip)), hw[:]...), s.cfg.HardwareAddr[:]...)
	if v.key.vlan != 0 {
		frame = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(frame, etherVLAN), v.key.vlan)
	}
	typ := uint16(etherIPv4)
	if v.key.six {
		typ = etherIPv6
	}
	if len(s.out) < maxGroupQueries { // else nobody fetches them
		s.out = append(s.out, PortFrame{AllPorts, append(binary.BigEndian.AppendUint16(frame, typ), ip...)})
	}
}

// linkLocalAddr returns the IPv6 link-local address made of a (RFC 4291 appendix A).
func linkLocalAddr(a HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: a[0] ^ 2, 9: a[1], 10: a[2], 11: 0xff, 12: 0xfe, 13: a[3], 14: a[4], 15: a[5]})
}
