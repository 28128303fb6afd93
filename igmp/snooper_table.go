package igmp

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// vlanKey names what is kept apart: a VLAN and a family.
type vlanKey struct {
	vlan uint16
	six  bool
}

// snoopedVLAN is what a switch knows of one VLAN and family.
type snoopedVLAN struct {
	key          vlanKey
	querier      netip.Addr // the last heard
	querierPort  int
	querierUntil time.Time
	activeAt     time.Time // from then on frames are kept from ports without members
	timers       heardTimers
	told         heardTimers // by the last general query
	routers      map[routerKey]time.Time
	members      groupTable
	askAt        time.Time // the switch's own next general query
	startup      int       // of those, how many more at the short interval
	again        []groupQuery
}

// groupTable finds groups by address and by Ethernet address.
type groupTable struct {
	byAddr     map[netip.Addr]*snoopedGroup
	byHardware map[HardwareAddr][]*snoopedGroup
	fullUntil  time.Time // somebody's group found no room
}

// heardTimers are what the querier says, or the configuration.
type heardTimers struct {
	robustness         int
	interval, response time.Duration
}

// membership is the group membership interval (RFC 9776 section 8.4).
func (t heardTimers) membership() time.Duration {
	return time.Duration(t.robustness)*t.interval + t.response
}

// otherQuerier is the other querier present interval (8.5).
func (t heardTimers) otherQuerier() time.Duration {
	return time.Duration(t.robustness)*t.interval + t.response/2
}

type routerKey struct {
	port int
	addr netip.Addr
}

type snoopedGroup struct {
	addr  netip.Addr
	ports map[int]*portMembers
}

// portMembers is who wants a group behind one port: not who exactly, for a switch
// need not know, but until when anybody does.
type portMembers struct {
	all     time.Time                // all sources, but for some perhaps: those are not cut off
	v1      time.Time                // a version 1 host is there, which cannot leave
	sources map[netip.Addr]time.Time // these sources
}

// last returns when the membership ends.
func (m *portMembers) last() time.Time {
	t := m.all
	for _, s := range m.sources {
		if s.After(t) {
			t = s
		}
	}
	return t
}

// wanted returns the sources that have not run out at now, sorted.
func (m *portMembers) wanted(now time.Time) []netip.Addr {
	list := make([]netip.Addr, 0, len(m.sources))
	for a, until := range m.sources {
		if until.After(now) {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}

// wants reports whether frames from source belong to the port.
func (m *portMembers) wants(now time.Time, source netip.Addr) bool {
	return m.all.After(now) || m.sources[source].After(now)
}

func (g *snoopedGroup) sortedPorts() []int { return slices.Sorted(maps.Keys(g.ports)) }

func (v *snoopedVLAN) sortedGroups() []*snoopedGroup {
	return slices.SortedFunc(maps.Values(v.members.byAddr), func(a, b *snoopedGroup) int { return a.addr.Compare(b.addr) })
}

func (v *snoopedVLAN) sortedRouters() []routerKey {
	return slices.SortedFunc(maps.Keys(v.routers), func(a, b routerKey) int {
		return cmp.Or(cmp.Compare(a.port, b.port), a.addr.Compare(b.addr))
	})
}

func (v *snoopedVLAN) heardQuerier(now time.Time) bool { return v.querierUntil.After(now) }

func (s *Snooper) sortedVLANs() []vlanKey {
	return slices.SortedFunc(maps.Keys(s.vlans), func(a, b vlanKey) int {
		six := func(k vlanKey) int {
			if k.six {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(a.vlan, b.vlan), cmp.Compare(six(a), six(b)))
	})
}

// vlan returns what is known of a VLAN, made anew if there is room, else nil.
func (s *Snooper) vlan(k vlanKey) *snoopedVLAN {
	if v := s.vlans[k]; v != nil {
		return v
	}
	if len(s.vlans) >= 2*s.cfg.Bounds.VLANs {
		s.stats.VLANsFull++
		return nil
	}
	t := s.cfg.Timers
	v := &snoopedVLAN{
		key:     k,
		timers:  heardTimers{t.Robustness, t.QueryInterval, t.QueryResponse},
		routers: make(map[routerKey]time.Time),
		members: groupTable{byAddr: make(map[netip.Addr]*snoopedGroup), byHardware: make(map[HardwareAddr][]*snoopedGroup)},
	}
	if s.cfg.Querier {
		v.startup, v.askAt = t.Robustness, s.now
		v.activeAt = s.now.Add(t.QueryResponse)
		s.wake(s.now)
	}
	s.vlans[k] = v
	return v
}

// membership is how long a report counts in v.
func (s *Snooper) membership(v *snoopedVLAN) time.Duration {
	return cmp.Or(s.cfg.Timers.Membership, v.timers.membership())
}

// enter returns the members of group at port, made anew if there is room, else nil.
func (s *Snooper) enter(v *snoopedVLAN, group netip.Addr, port int) *portMembers {
	t := &v.members
	g := t.byAddr[group]
	if g == nil {
		if len(t.byAddr) >= s.cfg.Bounds.Groups {
			s.stats.GroupsFull++
			t.fullUntil = s.now.Add(s.membership(v))
			return nil
		}
		g = &snoopedGroup{addr: group, ports: make(map[int]*portMembers)}
		t.byAddr[group] = g
		hw := groupHardwareAddr(group)
		t.byHardware[hw] = append(t.byHardware[hw], g)
	}
	m := g.ports[port]
	if m == nil {
		m = &portMembers{}
		g.ports[port] = m
		s.tell(v, MemberLearnt, port, group)
	}
	return m
}

// drop removes a port from a group, and the group when it was the last.
func (s *Snooper) drop(v *snoopedVLAN, g *snoopedGroup, port int, change SnooperChange) {
	delete(g.ports, port)
	s.tell(v, change, port, g.addr)
	if len(g.ports) > 0 {
		return
	}
	t := &v.members
	delete(t.byAddr, g.addr)
	hw := groupHardwareAddr(g.addr)
	t.byHardware[hw] = slices.DeleteFunc(t.byHardware[hw], func(x *snoopedGroup) bool { return x == g })
	if len(t.byHardware[hw]) == 0 {
		delete(t.byHardware, hw)
	}
}

// expire forgets what has run out.
func (s *Snooper) expire(v *snoopedVLAN) {
	for _, r := range v.sortedRouters() {
		if until := v.routers[r]; until.After(s.now) {
			s.wake(until)
		} else {
			delete(v.routers, r)
			s.routerLost(v, r)
		}
	}
	if !v.querierUntil.IsZero() {
		if v.heardQuerier(s.now) {
			s.wake(v.querierUntil)
		} else {
			s.tell(v, QuerierLost, v.querierPort, v.querier)
			v.querier, v.querierUntil = netip.Addr{}, time.Time{}
			v.startup, v.askAt = s.cfg.Timers.Robustness, s.now
		}
	}
	for _, g := range v.sortedGroups() {
		for _, port := range g.sortedPorts() {
			m := g.ports[port]
			maps.DeleteFunc(m.sources, func(_ netip.Addr, until time.Time) bool { return !until.After(s.now) })
			if last := m.last(); last.After(s.now) {
				s.wakeFor(m)
			} else {
				s.drop(v, g, port, MemberExpired)
			}
		}
	}
}

// wakeFor has the table looked at when the first part of m runs out.
func (s *Snooper) wakeFor(m *portMembers) {
	if m.all.After(s.now) {
		s.wake(m.all)
	}
	for _, until := range m.sources {
		s.wake(until)
	}
}

func (s *Snooper) routerLost(v *snoopedVLAN, r routerKey) {
	for other := range v.routers {
		if other.port == r.port {
			return
		}
	}
	s.tell(v, RouterPortLost, r.port, r.addr)
}
