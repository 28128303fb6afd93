package igmp

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// memberKey is one host's wish for a group, or for one source of it.
type memberKey struct {
	host          MonitorHost // its key
	group, source netip.Addr  // source is invalid for any
}

type member struct {
	Member
}

// groupSeen is when a group was last reported by anybody, which is why others may
// have kept silent (RFC 2236 section 3: suppression).
type groupSeen struct {
	last    time.Time
	members int
}

// Member is one host's wish for a group.
type Member struct {
	Host  MonitorHost
	Group netip.Addr
	// Source is the one source wanted; invalid for any.
	Source netip.Addr
	// Excluded are sources that are not wanted, when Source is invalid.
	Excluded []netip.Addr
	// Version is that of the last report.
	Version Version
	// Since is when it was first heard, Last when last, Expires when it will count
	// no more unless it reports again.
	Since, Last, Expires time.Time
	// Suppressed says that another host's report was heard since Last, after which
	// a host of version 1 or 2 keeps silent.
	Suppressed bool
}

// Members returns the members, by group, source and host.
func (m *Monitor) Members() []Member {
	list := make([]Member, 0, len(m.members))
	for _, k := range m.sortedMembers() {
		x := m.members[k].Member
		x.Expires = m.expires(m.members[k])
		x.Suppressed = x.Version < V3 && m.groups[x.Group].last.After(x.Last)
		list = append(list, x)
	}
	return list
}

func (m *Monitor) sortedMembers() []memberKey {
	return slices.SortedFunc(maps.Keys(m.members), func(a, b memberKey) int {
		return cmp.Or(a.group.Compare(b.group), a.source.Compare(b.source), a.host.Addr.Compare(b.host.Addr),
			slices.Compare(a.host.HardwareAddr[:], b.host.HardwareAddr[:]))
	})
}

// span is the group membership interval in the family of a, as the last querier has
// set it.
func (m *Monitor) span(a netip.Addr) *time.Duration {
	if a.Is6() {
		return &m.spans[1]
	}
	return &m.spans[0]
}

// expires returns when a member counts no more: hosts that may be suppressed last as
// long as their group does.
func (m *Monitor) expires(x *member) time.Time {
	if x.Version < V3 {
		if last := m.groups[x.Group].last; last.After(x.Last) {
			return last.Add(x.Expires.Sub(x.Last))
		}
	}
	return x.Expires
}

func (m *Monitor) handleReport(h *HostSeen, from MonitorHost, p Packet, r *Report) {
	if h != nil {
		h.Reports[min(r.Version, V3)]++
	}
	e := MonitorEvent{Kind: HeardReport, Host: from, Version: r.Version, Packet: p}
	if r.Version != V3 {
		e.Group = r.Group
		m.tell(e)
		m.join(e)
		return
	}
	for _, rec := range r.Records {
		e := e
		e.Group, e.Record = rec.Group, rec.Type
		switch rec.Type {
		case ModeIsExclude, ChangeToExclude:
			e.Sources = rec.Sources
			m.tell(e)
			m.join(e)
			m.forgetSources(from, rec.Group)
		case ModeIsInclude, AllowNewSources, ChangeToInclude:
			if rec.Type == ChangeToInclude {
				m.leave(from, e, len(rec.Sources) == 0)
			}
			for _, s := range rec.Sources {
				e.Source = s
				m.tell(e)
				m.join(e)
			}
		case BlockOldSources:
			m.block(from, e, rec.Sources)
		default:
			m.tell(e)
		}
	}
}

// join makes the sender of e a member.
func (m *Monitor) join(e MonitorEvent) {
	if !e.Group.IsMulticast() {
		return
	}
	k := memberKey{e.Host.key(), e.Group, e.Source}
	x := m.members[k]
	if x == nil {
		if len(m.members) >= m.cfg.Members {
			m.stats.MembersFull++
			return
		}
		x = &member{Member{Host: e.Host, Group: e.Group, Source: e.Source, Since: m.now}}
		m.members[k] = x
		g := m.groups[e.Group]
		if g == nil {
			g = &groupSeen{}
			m.groups[e.Group] = g
		}
		g.members++
		j := e
		j.Kind, j.Packet = Joined, Packet{}
		m.tell(j)
	}
	x.Host, x.Version, x.Last, x.Expires = e.Host, e.Version, m.now, m.now.Add(*m.span(e.Group))
	x.Excluded = slices.Clone(e.Sources)
	m.groups[e.Group].last = m.now
	m.wake(x.Expires)
}

// forgetSources ends the single sources of a host that wants all now.
func (m *Monitor) forgetSources(from MonitorHost, group netip.Addr) {
	for k := range m.members {
		if k.host == from.key() && k.group == group && k.source.IsValid() {
			m.remove(k)
		}
	}
}

// leave acts on a leave of a whole group. When said is false the host has only
// narrowed its wish to sources, and e is not told.
func (m *Monitor) leave(from MonitorHost, e MonitorEvent, said bool) {
	for _, k := range m.sortedMembers() {
		if k.host == from.key() && k.group == e.Group && (said || !k.source.IsValid()) {
			m.remove(k)
		}
	}
	if !said {
		return
	}
	e.Kind = HeardLeave
	m.tell(e)
	if !snoopable(e.Group) {
		return
	}
	for _, l := range m.leaves {
		if l.Group == e.Group && l.Host.key() == from.key() && m.now.Sub(l.At) < LeaveAnswer {
			return // said again in case that it was lost (RFC 9776 section 5.1)
		}
	}
	if len(m.leaves) >= maxLeaves {
		m.leaves = slices.Delete(m.leaves, 0, 1)
	}
	m.leaves = append(m.leaves, LeaveSeen{At: m.now, Host: from, Group: e.Group})
	m.wake(m.now.Add(LeaveAnswer))
}

// block acts on BLOCK_OLD_SOURCES: a member of single sources leaves them, one of
// all excludes them.
func (m *Monitor) block(from MonitorHost, e MonitorEvent, sources []netip.Addr) {
	if x := m.members[memberKey{from.key(), e.Group, netip.Addr{}}]; x != nil {
		e.Sources = sources
		m.tell(e)
		for _, s := range sources {
			if len(x.Excluded) < maxMonitorEvents && !slices.Contains(x.Excluded, s) {
				x.Excluded = append(x.Excluded, s)
			}
		}
		return
	}
	for _, s := range sources {
		e.Kind, e.Source = HeardLeave, s
		m.tell(e)
		if k := (memberKey{from.key(), e.Group, s}); m.members[k] != nil {
			m.remove(k)
		}
	}
}

func (m *Monitor) remove(k memberKey) {
	delete(m.members, k)
	g := m.groups[k.group]
	if g.members--; g.members == 0 {
		delete(m.groups, k.group)
	}
}

// wake has HandleTimeout look for what has run out at t at the latest.
func (m *Monitor) wake(t time.Time) {
	if m.due.IsZero() || t.Before(m.due) {
		m.due = t
	}
}

// HandleTimeout forgets members that have run out, and judges leaves.
func (m *Monitor) HandleTimeout(now time.Time) {
	if now.After(m.now) {
		m.now = now
	}
	if m.due.IsZero() || m.now.Before(m.due) {
		return
	}
	m.due = time.Time{}
	for i := range m.leaves {
		switch l := &m.leaves[i]; {
		case l.Judged:
		case m.now.Before(l.At.Add(LeaveAnswer)):
			m.wake(l.At.Add(LeaveAnswer))
		default:
			l.Judged = true
			m.stats.LeavesUnanswered++
		}
	}
	for _, k := range m.sortedMembers() {
		x := m.members[k]
		if at := m.expires(x); at.After(m.now) {
			m.wake(at)
			continue
		}
		m.tell(MonitorEvent{Kind: Expired, Group: x.Group, Source: x.Source, Host: x.Host, Version: x.Version})
		m.remove(k)
	}
}

// NextTimeout reports when HandleTimeout must next be called. It may be earlier than
// something happens.
func (m *Monitor) NextTimeout() (t time.Time, ok bool) { return m.due, !m.due.IsZero() }
