package igmp

import (
	"net/netip"
	"time"
)

// election is a router's part in who asks (RFC 9776 section 6.6.2).
type election struct {
	role      Role
	timing    Timing    // ours while we ask, the querier's while we do not
	nextQuery time.Time // when to ask again, as querier
	startup   int       // queries still to be sent at the startup interval
	waits     bool      // started, but without an address that MLD can ask from

	other        netip.Addr // who asks, if not we
	otherHeard   time.Time  // and when it last did
	otherExpires time.Time  // Other Querier Present timer
}

// Role returns the Querier's role.
func (q *Querier) Role() Role { return q.election.role }

// Elected returns the address of who asks: our own, that of the other querier, or
// the zero Addr when nobody is known to, with when that one was last heard.
func (q *Querier) Elected() (querier netip.Addr, heard time.Time) {
	if q.election.role == RoleQuerier {
		return q.ownAddress(), time.Time{}
	}
	return q.election.other, q.election.otherHeard
}

// Timing returns what timers are computed from at present: our own values as
// querier, else those of the querier that was heard.
func (q *Querier) Timing() Timing { return q.election.timing }

func (q *Querier) ownAddress() netip.Addr {
	if q.cfg.Address.IsValid() {
		return q.cfg.Address
	}
	return q.cfg.Family.unspecified()
}

func (q *Querier) becomeQuerier(now time.Time) {
	e := &q.election
	e.role, e.timing = RoleQuerier, q.cfg.Timing
	e.other, e.otherHeard, e.otherExpires = netip.Addr{}, time.Time{}, time.Time{}
	q.tell(QuerierEvent{Kind: QuerierChanged, Querier: q.ownAddress(), Own: true, Version: q.cfg.Version})
	q.queryAll(now)
}

// queryAll sends a general query and sets the time of the next.
func (q *Querier) queryAll(now time.Time) {
	e := &q.election
	next := e.timing.QueryInterval
	if e.startup > 1 { // this one and another
		next = q.cfg.StartupInterval
	}
	e.startup = max(e.startup-1, 0)
	e.nextQuery = now.Add(next)
	m := &Query{Version: q.cfg.Version}
	if m.Version != V1 {
		m.MaxResponse = e.timing.QueryResponse
	}
	if m.Version == V3 {
		m.Robustness, m.Interval = e.timing.Robustness, e.timing.QueryInterval
	}
	q.send(q.cfg.Family.AllSystems(), m)
}

func (q *Querier) handleElectionTimeout(now time.Time) {
	e := &q.election
	if !e.otherExpires.IsZero() && !e.otherExpires.After(now) {
		if e.role == RoleNonQuerier {
			q.becomeQuerier(now)
			return
		}
		*e = election{timing: q.cfg.Timing}
		q.tell(QuerierEvent{Kind: QuerierChanged})
	}
	if !e.nextQuery.IsZero() && !e.nextQuery.After(now) {
		q.queryAll(now)
	}
}

// handleQuery takes the query of another router: what it asks lowers our timers,
// whatever our role, and who it is may end our office.
func (q *Querier) handleQuery(now time.Time, src netip.Addr, m *Query) {
	if src == q.cfg.Address {
		return // an echo of our own
	}
	q.handleSpecificQuery(now, m)
	if m.Version < q.cfg.Version {
		q.tell(QuerierEvent{Kind: OlderQuerier, Querier: src, Version: m.Version})
	}
	e := &q.election
	switch {
	case m.Version == V1: // knows no election (RFC 2236 section 4)
		return
	case electable(src) == 0:
		q.tell(QuerierEvent{Kind: QuerierIgnored, Querier: src})
		return
	case e.role != RoleNone && !beats(src, q.cfg.Address):
		if electable(src) == 1 && electable(q.cfg.Address) == 2 {
			q.tell(QuerierEvent{Kind: QuerierIgnored, Querier: src})
		}
		return
	}
	q.yield(now, src, m)
}

// yield makes src the querier, or notes that it still is.
func (q *Querier) yield(now time.Time, src netip.Addr, m *Query) {
	e := &q.election
	silent := now.Sub(e.otherHeard) >= e.timing.OtherQuerierPresentInterval()
	known := e.other.IsValid()
	if !known || src == e.other || beats(src, e.other) || silent {
		if src != e.other {
			q.tell(QuerierEvent{Kind: QuerierChanged, Querier: src, Version: m.Version})
			e.timing = q.cfg.Timing
		}
		e.other, e.otherHeard = src, now
		e.timing = e.timing.adopt(m, q.cfg.Timing)
	}
	if e.role == RoleQuerier {
		e.role, e.nextQuery, e.startup = RoleNonQuerier, time.Time{}, 0
		for _, g := range q.groups { // only the querier asks
			g.cancelQueries()
			q.settle(now, g)
		}
	}
	e.otherExpires = now.Add(e.timing.OtherQuerierPresentInterval())
}
