package igmp

import (
	"net/netip"
	"slices"
	"time"
)

// Types of multicast router discovery (RFC 4286 section 3), in IGMP and in ICMPv6.
const (
	discoveryAdvertisement  = 0x30
	discoveryTermination    = 0x32
	discoveryAdvertisement6 = 151
	discoveryTermination6   = 153
)

// heardQuery learns the querier, its port and its timers from a general query, and
// lowers timers on a specific one. from is the frame's source.
func (s *Snooper) heardQuery(v *snoopedVLAN, port int, from HardwareAddr, src netip.Addr, q *Query) {
	if !q.IsGeneral() {
		if !snoopable(q.Group) {
			s.stats.Ignored++
			return
		}
		if !q.Suppress {
			s.lower(v, q.Group, q.Sources, q.MaxResponse)
		}
		return
	}
	if s.outranks(v, src, from) {
		return // it will hear us, and fall silent
	}
	s.adopt(v, q)
	if !v.heardQuerier(s.now) || v.querier != src {
		s.tell(v, QuerierHeard, port, src)
	}
	if !v.heardQuerier(s.now) && (!s.cfg.Querier || v.activeAt.IsZero()) {
		// Hosts need the time to answer before frames are kept from them.
		v.activeAt = s.now.Add(v.told.response)
	}
	v.querier, v.querierPort, v.querierUntil = src, port, s.now.Add(v.timers.otherQuerier())
	s.wake(v.querierUntil)
	// Another switch that asks is no router (RFC 4541 section 2.1.1 rule 2).
	if src.IsValid() && !src.IsUnspecified() {
		s.learnRouter(v, routerKey{port, src}, v.querierUntil)
	}
}

// outranks reports whether we go on asking although another does. Between switches
// that ask from 0.0.0.0 the hardware address decides, so that one of two remains; in
// MLD the link-local address does (RFC 9777 section 7.6.2).
func (s *Snooper) outranks(v *snoopedVLAN, src netip.Addr, from HardwareAddr) bool {
	switch {
	case !s.asks(v):
		return false
	case v.key.six:
		return linkLocalAddr(s.cfg.HardwareAddr).Less(src)
	}
	return src.IsUnspecified() && slices.Compare(s.cfg.HardwareAddr[:], from[:]) < 0
}

// adopt takes the timers of a general query. One query alone, which may be a
// forged one, can only make them longer: short ones count when two queries in a row
// say the same, since members would be cut off by them.
func (s *Snooper) adopt(v *snoopedVLAN, q *Query) {
	t := s.cfg.Timers
	said := heardTimers{t.Robustness, t.QueryInterval, t.QueryResponse}
	if q.Version != V1 && q.MaxResponse > 0 {
		said.response = q.MaxResponse
	}
	if q.Robustness > 0 {
		said.robustness = int(q.Robustness)
	}
	if q.Interval > 0 {
		said.interval = q.Interval
	}
	if said == v.told || said.membership() >= v.timers.membership() {
		v.timers = said
	}
	v.told = said
}

func (s *Snooper) learnRouter(v *snoopedVLAN, r routerKey, until time.Time) {
	if _, known := v.routers[r]; !known {
		if len(v.routers) >= s.cfg.Bounds.Routers {
			s.stats.RoutersFull++
			return
		}
		learnt := true
		for other := range v.routers {
			learnt = learnt && other.port != r.port
		}
		if learnt {
			s.tell(v, RouterPortLearnt, r.port, r.addr)
		}
	}
	if until.After(v.routers[r]) {
		v.routers[r] = until
	}
	s.wake(until)
}

// heardDiscovery learns routers that announce themselves (RFC 4286 sections 3 and
// 5): one counts for three of the intervals that it tells in seconds.
func (s *Snooper) heardDiscovery(v *snoopedVLAN, port int, src netip.Addr, m *Unknown) {
	advertisement, termination := uint8(discoveryAdvertisement), uint8(discoveryTermination)
	if v.key.six {
		advertisement, termination = discoveryAdvertisement6, discoveryTermination6
	}
	if !src.IsValid() || src.IsUnspecified() {
		return
	}
	r := routerKey{port, src}
	switch m.Type {
	case advertisement:
		s.learnRouter(v, r, s.now.Add(3*time.Duration(max(m.Code, 1))*time.Second))
	case termination:
		if _, known := v.routers[r]; known {
			delete(v.routers, r)
			s.routerLost(v, r)
		}
	}
}

func (s *Snooper) heardReport(v *snoopedVLAN, port int, r *Report) {
	if r.Version != V3 {
		s.wantAll(v, port, r.Group, r.Version)
		return
	}
	for _, rec := range r.Records {
		switch rec.Type {
		case ModeIsExclude, ChangeToExclude:
			// The sources that a host does not want are not kept from the port: they
			// would be kept from the other hosts there as well.
			s.wantAll(v, port, rec.Group, V3)
		case ModeIsInclude, AllowNewSources:
			s.wantSources(v, port, rec.Group, rec.Sources)
		case ChangeToInclude:
			s.wantSources(v, port, rec.Group, rec.Sources)
			s.stopWanting(v, port, rec.Group, nil, rec.Sources)
		case BlockOldSources:
			s.stopWanting(v, port, rec.Group, rec.Sources, nil)
		default:
			s.stats.Ignored++
		}
	}
}

func (s *Snooper) wantAll(v *snoopedVLAN, port int, group netip.Addr, version Version) {
	if !snoopable(group) {
		s.stats.Ignored++
		return
	}
	m := s.enter(v, group, port)
	if m == nil {
		return
	}
	until := s.now.Add(s.membership(v))
	if until.After(m.all) {
		m.all = until
	}
	if version == V1 && !v.key.six {
		m.v1 = until
	}
	s.wake(m.all)
}

func (s *Snooper) wantSources(v *snoopedVLAN, port int, group netip.Addr, sources []netip.Addr) {
	if !snoopable(group) {
		s.stats.Ignored++
		return
	}
	if len(sources) == 0 {
		return
	}
	m := s.enter(v, group, port)
	if m == nil {
		return
	}
	until := s.now.Add(s.membership(v))
	for _, a := range sources {
		if _, known := m.sources[a]; !known && len(m.sources) >= s.cfg.Bounds.Sources {
			s.stats.SourcesFull++
			s.wantAll(v, port, group, V3)
			return
		}
		if m.sources == nil {
			m.sources = make(map[netip.Addr]time.Time)
		}
		if until.After(m.sources[a]) {
			m.sources[a] = until
		}
	}
	s.wake(until)
}

// heardLeave acts on a leave of version 2 or a done of MLDv1.
func (s *Snooper) heardLeave(v *snoopedVLAN, port int, l *Leave) {
	if !snoopable(l.Group) {
		s.stats.Ignored++
		return
	}
	s.stopWanting(v, port, l.Group, nil, nil)
}

// stopWanting acts on one host's leaving of a group (sources nil) or of some
// sources. keep are those that it still wants. Another host behind the same port
// may want them still, so the port stays until a query remains unanswered: that of
// the querier, or our own where we are the querier.
func (s *Snooper) stopWanting(v *snoopedVLAN, port int, group netip.Addr, sources, keep []netip.Addr) {
	g := v.members.byAddr[group]
	if g == nil || g.ports[port] == nil {
		return
	}
	m := g.ports[port]
	switch {
	case m.v1.After(s.now):
		// A version 1 host is there, and cannot say that it stays (RFC 2236 section 5).
	case s.cfg.FastLeave:
		if sources == nil {
			m.all = time.Time{}
		}
		for a := range m.sources {
			if slices.Contains(sources, a) || sources == nil && !slices.Contains(keep, a) {
				delete(m.sources, a)
			}
		}
		if !m.last().After(s.now) {
			s.drop(v, g, port, MemberLeft)
		}
	case s.asks(v):
		s.askGroup(v, group, sources)
	}
}

// lower has the members of a group, or the sources named, run out unless somebody
// answers the query just heard: after as many queries as the querier's robustness
// says, each with its time to answer. Half of one is added, because the last answer
// may be under way when the querier's own time is over.
func (s *Snooper) lower(v *snoopedVLAN, group netip.Addr, sources []netip.Addr, response time.Duration) {
	g := v.members.byAddr[group]
	if g == nil {
		return
	}
	if response <= 0 {
		response = s.cfg.Timers.LastMemberQuery
	}
	until := s.now.Add(time.Duration(v.timers.robustness)*response + response/2)
	for _, m := range g.ports {
		switch {
		case m.v1.After(s.now):
		case len(sources) == 0:
			if m.all.After(until) {
				m.all = until
			}
		default:
			for _, a := range sources {
				if m.sources[a].After(until) {
					m.sources[a] = until
				}
			}
		}
		s.wakeFor(m)
	}
}

// snoopable reports whether membership in group counts for a switch: not for what
// is no group, nor for what goes to all ports anyway.
func snoopable(group netip.Addr) bool {
	return group.IsMulticast() && !alwaysFlooded(group)
}
