package igmp

import (
	"net/netip"
	"time"
)

// asking is a group's retransmission state (RFC 9776 section 6.6.3).
type asking struct {
	next  time.Time // when to repeat queries
	group int       // group-specific queries still to be sent
	until time.Time // when a query for the group will have shown whether it has members
}

// lastMemberTime is the last member query time (RFC 9776 section 8.10).
func (q *Querier) lastMemberTime() time.Duration {
	return time.Duration(q.cfg.LastMemberCount) * q.cfg.LastMemberInterval
}

// ask sends what the action of a record calls for, Q(G) and Q(G,S).
func (q *Querier) ask(now time.Time, g *routerGroup, a Action) {
	if q.cfg.Version == V1 || !a.QueryGroup && len(a.QuerySources) == 0 {
		return // version 1 has general queries only
	}
	due := now.Add(q.lastMemberTime())
	asks := false
	// A leave while the group is being asked already tells nothing new: whoever
	// remains answers (RFC 2236 section 7, state Checking Membership).
	checking := g.asking.until.After(now) && !g.expires.After(g.asking.until)
	if a.QueryGroup && !checking {
		g.expires = earlier(g.expires, due)
		g.asking.group, g.asking.until = q.cfg.LastMemberCount, due
		asks = true
	}
	for _, addr := range a.QuerySources {
		if s := g.source(addr); s != nil && s.expires.After(due) && q.cfg.Version == V3 {
			s.expires, s.asks = due, q.cfg.LastMemberCount
			asks = true
		}
	}
	if asks {
		q.sendSpecific(now, g)
	}
}

// repeatQueries sends the retransmissions that are due.
func (q *Querier) repeatQueries(now time.Time, g *routerGroup) {
	if !g.asking.next.IsZero() && !g.asking.next.After(now) {
		q.sendSpecific(now, g)
	}
}

// sendSpecific sends all queries that the group has retransmission state for:
// one for the group, and two for sources, those that have been heard of since
// with the S flag (RFC 9776 section 6.6.3.2).
func (q *Querier) sendSpecific(now time.Time, g *routerGroup) {
	due := now.Add(q.lastMemberTime())
	g.asking.next = time.Time{}
	again := false
	asked := g.asking.group > 0
	if asked {
		g.asking.group--
		again = g.asking.group > 0
		q.send(g.addr, q.specific(g.addr, g.expires.After(due), nil))
	}
	var heard, unheard []netip.Addr
	for i := range g.sources {
		s := &g.sources[i]
		if s.asks == 0 {
			continue
		}
		s.asks--
		again = again || s.asks > 0
		if s.expires.After(due) {
			heard = append(heard, s.addr)
		} else {
			unheard = append(unheard, s.addr)
		}
	}
	if !asked { // else it may be left out
		q.sendSources(g.addr, true, heard)
	}
	q.sendSources(g.addr, false, unheard)
	if again {
		g.asking.next = now.Add(q.cfg.LastMemberInterval)
	}
}

// maxQuerySources keeps a query within an Ethernet frame: (1500 - 24 - 12) / 4 of
// IPv4 and (1500 - 48 - 28) / 16 of IPv6.
func (q *Querier) maxQuerySources() int {
	if q.cfg.Family == IPv6 {
		return 89
	}
	return 366
}

func (q *Querier) sendSources(group netip.Addr, suppress bool, sources []netip.Addr) {
	for len(sources) > 0 {
		n := min(len(sources), q.maxQuerySources())
		q.send(group, q.specific(group, suppress, sources[:n]))
		sources = sources[n:]
	}
}

func (q *Querier) specific(group netip.Addr, suppress bool, sources []netip.Addr) *Query {
	m := &Query{Version: q.cfg.Version, Group: group, MaxResponse: q.cfg.LastMemberInterval, Sources: sources}
	if m.Version == V3 {
		m.Suppress, m.Robustness, m.Interval = suppress, q.cfg.Timing.Robustness, q.cfg.Timing.QueryInterval
	}
	return m
}

// handleSpecificQuery lowers timers as a query of another router asks, unless its
// S flag is set (RFC 9776 section 6.6.1): to the last member query time, which
// follows from the query itself (RFC 2236 section 3).
func (q *Querier) handleSpecificQuery(now time.Time, m *Query) {
	g := q.groups[m.Group]
	if g == nil || m.IsGeneral() || m.Suppress {
		return
	}
	count := q.cfg.LastMemberCount
	if m.Version == V3 && m.Robustness > 0 {
		count = int(m.Robustness)
	}
	span := time.Duration(count) * m.MaxResponse
	if m.MaxResponse <= 0 { // nobody could answer that
		span = q.lastMemberTime()
	}
	due := now.Add(span)
	if len(m.Sources) == 0 && g.mode == Exclude {
		g.expires = earlier(g.expires, due)
		g.asking.until = due
	}
	for _, addr := range m.Sources {
		if s := g.source(addr); s != nil && !s.expires.IsZero() {
			s.expires = earlier(s.expires, due)
		}
	}
	q.settle(now, g)
}

// cancelQueries forgets the retransmissions of a group.
func (g *routerGroup) cancelQueries() {
	g.asking.next, g.asking.group = time.Time{}, 0
	for i := range g.sources {
		g.sources[i].asks = 0
	}
}
