package igmp

import (
	"container/heap"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// routerGroup is what a router knows of one group (RFC 9776 section 6.2).
type routerGroup struct {
	addr    netip.Addr
	since   time.Time
	mode    FilterMode
	expires time.Time // group timer; only in Exclude mode
	sources []routerSource
	asking  asking
	older   [V3]time.Time // by version: older host present timers
	version Version       // compatibility mode, as last told
	hosts   map[netip.Addr]time.Time
	entries int       // sources and hosts, as counted in Querier.entries
	due     time.Time // when something is due; zero: never
	place   int       // in the dueQueue; -1: not there
}

// routerSource is one source of a group; the list is sorted by address.
type routerSource struct {
	addr    netip.Addr
	expires time.Time // source timer; zero: it has run out and the source is excluded
	asks    int       // queries still to be sent for it
}

// GroupMembership is what a [Querier] knows of one group at an instant.
type GroupMembership struct {
	Group netip.Addr
	// Since is when the group got its first member.
	Since time.Time
	// Reception is what is wanted of the sources.
	Reception Reception
	// Expires is when all sources stop being wanted if nobody reports, in Exclude
	// mode; zero in Include mode.
	Expires time.Time
	// SourceExpires has the same for each of Reception.Requested.
	SourceExpires []time.Time
	// Version is the group's compatibility mode (RFC 9776 section 7.3.2).
	Version Version
	// Hosts are those that spoke for the group within its membership interval,
	// sorted. Hosts of version 1 and 2 fall silent when others speak.
	Hosts []netip.Addr
	// Checking tells that the group's last members are being asked for.
	Checking bool
}

// Groups returns all groups that had members at the last input, sorted by address.
// The caller owns the result.
func (q *Querier) Groups() []GroupMembership {
	all := make([]GroupMembership, 0, len(q.groups))
	for _, g := range q.groups {
		all = append(all, g.membership(q.now))
	}
	slices.SortFunc(all, func(a, b GroupMembership) int { return a.Group.Compare(b.Group) })
	return all
}

// Group returns what is known of one group, with ok false if it has no members.
func (q *Querier) Group(group netip.Addr) (m GroupMembership, ok bool) {
	g := q.groups[group]
	if g == nil {
		return GroupMembership{}, false
	}
	return g.membership(q.now), true
}

func (g *routerGroup) membership(now time.Time) GroupMembership {
	m := GroupMembership{
		Group: g.addr, Since: g.since, Reception: g.reception(), Expires: g.expires,
		Version: g.version, Checking: g.asking.until.After(now),
	}
	for _, s := range g.sources {
		if !s.expires.IsZero() {
			m.SourceExpires = append(m.SourceExpires, s.expires)
		}
	}
	for h, expires := range g.hosts {
		if expires.After(now) {
			m.Hosts = append(m.Hosts, h)
		}
	}
	slices.SortFunc(m.Hosts, netip.Addr.Compare)
	return m
}

// reception returns the state without its timers.
func (g *routerGroup) reception() Reception {
	r := Reception{Mode: g.mode}
	for _, s := range g.sources {
		if s.expires.IsZero() {
			r.Excluded = append(r.Excluded, s.addr)
		} else {
			r.Requested = append(r.Requested, s.addr)
		}
	}
	return r
}

func (g *routerGroup) source(a netip.Addr) *routerSource {
	i, found := slices.BinarySearchFunc(g.sources, a, func(s routerSource, a netip.Addr) int { return s.addr.Compare(a) })
	if !found {
		return nil
	}
	return &g.sources[i]
}

// compatibility returns the version that the group is treated by (RFC 9776
// section 7.3.2): the oldest that a member speaks, and not newer than our own.
func (g *routerGroup) compatibility(now time.Time, own Version) Version {
	for v := V1; v < own; v++ {
		if g.older[v].After(now) {
			return v
		}
	}
	return own
}

func (q *Querier) handleReport(now time.Time, host netip.Addr, r *Report) {
	if r.Version == V3 {
		for _, rec := range r.Records {
			q.handleRecord(now, host, V3, rec)
		}
		return
	}
	// RFC 9776 section 7.3.2: like a record IS_EX({}).
	q.handleRecord(now, host, r.Version, Record{Type: ModeIsExclude, Group: r.Group})
}

// handleLeave treats a leave as a record TO_IN({}) (RFC 9776 section 7.3.2).
func (q *Querier) handleLeave(now time.Time, host netip.Addr, l *Leave) {
	q.handleRecord(now, host, V2, Record{Type: ChangeToInclude, Group: l.Group})
}

// handleRecord takes what a host of version v says about one group.
func (q *Querier) handleRecord(now time.Time, host netip.Addr, v Version, rec Record) {
	switch {
	case !rec.Type.IsKnown():
		q.stats.Refused.Unknown++
		return
	case !q.cfg.Family.Reported(rec.Group):
		q.stats.Refused.Group++
		return
	}
	g := q.groups[rec.Group]
	fresh := g == nil
	if fresh {
		g = &routerGroup{addr: rec.Group, since: now, version: q.cfg.Version, place: -1}
	}
	t, sources := rec.Type, q.sourcesOf(rec)
	leaves := t == ChangeToInclude && len(sources) == 0
	if v < V3 && !leaves {
		g.older[v] = now.Add(q.election.timing.GroupMembershipInterval())
	}
	switch mode := g.compatibility(now, q.cfg.Version); {
	case mode < V3 && t == BlockOldSources, mode == V1 && t == ChangeToInclude:
		return // RFC 9776 section 7.3.2
	case mode < V3 && t == ChangeToExclude:
		sources = nil
	}
	before := g.reception()
	action := before.Apply(t, sources)
	if n := len(action.Next.Requested) + len(action.Next.Excluded); n > q.cfg.Bounds.Sources || n > len(g.sources) && !q.hasRoom(n-len(g.sources)) {
		q.stats.SourcesRefused += len(sources)
		q.tell(QuerierEvent{Kind: GroupRefused, Group: g.addr})
		if t == BlockOldSources {
			return
		}
		action = before.Apply(ModeIsExclude, nil) // rather too much than cut somebody off
	}
	if action.Next.Mode == Include && len(action.Next.Requested) == 0 && fresh {
		return // a leave from what has no members
	}
	if fresh && !q.takeUp(g, host) {
		return
	}
	g.perform(now, action, q.election.timing.GroupMembershipInterval())
	q.count(g)
	q.note(now, g, host, leaves)
	if q.election.role == RoleQuerier {
		q.ask(now, g, action)
	}
	q.tellChange(g, before, fresh)
	q.settle(now, g)
}

// sourcesOf returns the record's sources that can be sources.
func (q *Querier) sourcesOf(rec Record) SourceSet {
	fits := func(a netip.Addr) bool {
		return FamilyOf(a) == q.cfg.Family && !a.IsMulticast() && !a.IsUnspecified()
	}
	if !slices.ContainsFunc(rec.Sources, func(a netip.Addr) bool { return !fits(a) }) {
		return NewSourceSet(rec.Sources...)
	}
	return NewSourceSet(slices.DeleteFunc(slices.Clone(rec.Sources), func(a netip.Addr) bool { return !fits(a) })...)
}

// takeUp puts a new group into the table, if there is room.
func (q *Querier) takeUp(g *routerGroup, host netip.Addr) bool {
	if len(q.groups) >= q.cfg.Bounds.Groups {
		q.stats.GroupsRefused++
		q.tell(QuerierEvent{Kind: GroupRefused, Group: g.addr})
		return false
	}
	q.groups[g.addr] = g
	q.tell(QuerierEvent{Kind: GroupJoined, Group: g.addr, Host: host})
	return true
}

// note remembers who speaks for a group, and who stops.
func (q *Querier) note(now time.Time, g *routerGroup, host netip.Addr, leaves bool) {
	if !host.IsValid() || host.IsUnspecified() {
		return
	}
	expires, known := g.hosts[host]
	known = known && expires.After(now)
	if leaves {
		delete(g.hosts, host)
		q.tell(QuerierEvent{Kind: HostLeft, Group: g.addr, Host: host})
		return
	}
	if _, there := g.hosts[host]; !there && !q.hostFits(now, g) {
		q.stats.HostsRefused++
		return
	}
	if g.hosts == nil {
		g.hosts = make(map[netip.Addr]time.Time)
	}
	g.hosts[host] = now.Add(q.election.timing.GroupMembershipInterval())
	if !known {
		q.tell(QuerierEvent{Kind: HostJoined, Group: g.addr, Host: host})
	}
}

// hostFits reports whether one more host can be remembered, and makes room among
// those long silent if need be.
func (q *Querier) hostFits(now time.Time, g *routerGroup) bool {
	if len(g.hosts) >= q.cfg.Bounds.Hosts || !q.hasRoom(1) {
		maps.DeleteFunc(g.hosts, func(_ netip.Addr, expires time.Time) bool { return !expires.After(now) })
		q.count(g)
	}
	return len(g.hosts) < q.cfg.Bounds.Hosts && q.hasRoom(1)
}

// hasRoom reports whether n more sources or hosts fit.
func (q *Querier) hasRoom(n int) bool { return q.entries+n <= q.cfg.Bounds.Entries }

// count keeps the number of entries right after g has changed.
func (q *Querier) count(g *routerGroup) {
	n := len(g.sources) + len(g.hosts)
	q.entries += n - g.entries
	g.entries = n
}

// perform does to the state and its timers what an action says; gmi is the group
// membership interval.
func (g *routerGroup) perform(now time.Time, a Action, gmi time.Duration) {
	list := make([]routerSource, 0, len(a.Next.Requested)+len(a.Next.Excluded))
	for _, addr := range a.Next.Requested {
		s := routerSource{addr: addr}
		if old := g.source(addr); old != nil {
			s = *old
		}
		switch {
		case a.Renew.Has(addr):
			s.expires = now.Add(gmi)
		case a.Inherit.Has(addr):
			s.expires = g.expires
		}
		list = append(list, s)
	}
	for _, addr := range a.Next.Excluded {
		list = append(list, routerSource{addr: addr})
	}
	slices.SortFunc(list, func(a, b routerSource) int { return a.addr.Compare(b.addr) })
	g.sources, g.mode = list, a.Next.Mode
	if a.GroupTimer {
		g.expires = now.Add(gmi)
	}
}

// handleGroupTimeout does what is due for one group (RFC 9776 section 6.5).
func (q *Querier) handleGroupTimeout(now time.Time, g *routerGroup) {
	before := g.reception()
	q.repeatQueries(now, g)
	ended := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	if g.mode == Exclude && ended(g.expires) { // include what is still wanted
		g.mode, g.expires = Include, time.Time{}
		g.sources = slices.DeleteFunc(g.sources, func(s routerSource) bool { return s.expires.IsZero() })
	}
	if g.mode == Include {
		g.sources = slices.DeleteFunc(g.sources, func(s routerSource) bool { return ended(s.expires) })
	}
	for i, s := range g.sources {
		if ended(s.expires) { // nobody wants it alone: keep it out
			g.sources[i] = routerSource{addr: s.addr}
		}
	}
	q.tellChange(g, before, false)
}

// tellChange tells when the state of the sources has changed. Groups with
// members that want all of them, which is nearly all groups, say nothing more.
func (q *Querier) tellChange(g *routerGroup, before Reception, fresh bool) {
	now := g.reception()
	if fresh && now.Mode == Exclude && len(g.sources) == 0 || now.Mode == Include && len(g.sources) == 0 {
		return
	}
	if before.Mode != now.Mode || !slices.Equal(before.Requested, now.Requested) || !slices.Equal(before.Excluded, now.Excluded) {
		q.tell(QuerierEvent{Kind: GroupSources, Group: g.addr, Reception: now})
	}
}

// settle removes a group without members, and puts any other where its next
// timer belongs.
func (q *Querier) settle(now time.Time, g *routerGroup) {
	if g.mode == Include && len(g.sources) == 0 {
		delete(q.groups, g.addr)
		g.hosts = nil
		q.count(g)
		if g.place >= 0 {
			heap.Remove(&q.due, g.place)
			g.place = -1
		}
		q.tell(QuerierEvent{Kind: GroupExpired, Group: g.addr})
		return
	}
	if v := g.compatibility(now, q.cfg.Version); v != g.version {
		g.version = v
		q.tell(QuerierEvent{Kind: GroupVersion, Group: g.addr, Version: v})
	}
	q.count(g)
	g.due = earlier(g.expires, g.asking.next)
	for _, s := range g.sources {
		g.due = earlier(g.due, s.expires)
	}
	for _, t := range g.older {
		if t.After(now) {
			g.due = earlier(g.due, t)
		}
	}
	switch {
	case g.place >= 0:
		heap.Fix(&q.due, g.place)
	default:
		heap.Push(&q.due, g)
	}
}
