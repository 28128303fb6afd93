package igmp

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// QuerierConfig says what a Querier is. Its zero value is a querier of IGMPv3
// without an address of its own, which asks from 0.0.0.0 and yields to everybody.
type QuerierConfig struct {
	// Family is the protocol. Zero means IPv4.
	Family Family
	// Version is the version to ask in. Zero means 3.
	Version Version
	// Address is the interface's address, from which queries are sent: any of
	// IPv4, a link-local one of IPv6. Zero means none; without one, MLD cannot ask
	// and the Querier only listens.
	Address netip.Addr
	// Timing is what to tell while we are the querier.
	Timing Timing
	// StartupInterval is the time between the first queries (RFC 9776 section
	// 8.6). Zero means a quarter of the query interval.
	StartupInterval time.Duration
	// StartupCount is their number (section 8.7). Zero means the robustness.
	StartupCount int
	// LastMemberInterval is the time between the queries that follow a leave, and
	// the time to answer them (section 8.8). Zero means 1 s.
	LastMemberInterval time.Duration
	// LastMemberCount is their number (section 8.9). Zero means the robustness.
	LastMemberCount int
	// Strict refuses IGMP of version 2 and 3 without router alert, and reports
	// with another TTL than 1, which RFC 9776 section 4 does not allow and hosts
	// nevertheless send.
	Strict bool
	// Bounds limit the memory.
	Bounds QuerierBounds
}

// QuerierBounds limit what a Querier keeps; what goes beyond is counted.
type QuerierBounds struct {
	// Groups is the largest number of groups. Zero means 4096.
	Groups int
	// Sources is the largest number of sources of one group; one with more is
	// treated as if it wanted all. Zero means 512.
	Sources int
	// Hosts is the largest number of hosts remembered for one group. Zero means 256.
	Hosts int
	// Entries is the largest number of sources and hosts of all groups together.
	// Zero means 65536.
	Entries int
}

// QuerierStats counts what a Querier has done and has not.
type QuerierStats struct {
	QueriesSent     int // all, general and specific
	SpecificQueries int // of these, group- and source-specific
	QueriesHeard    int // from others, admitted
	Reports, Leaves int // admitted
	GroupsRefused   int // groups not taken up because of QuerierBounds.Groups
	SourcesRefused  int // sources not taken up because of QuerierBounds.Sources or Entries
	HostsRefused    int // hosts not remembered because of QuerierBounds.Hosts or Entries
	Refused         Refused
}

// Role is what a router is on a link (RFC 9776 section 6).
type Role uint8

// The roles.
const (
	RoleNone       Role = iota // not started: listens
	RoleQuerier                // asks
	RoleNonQuerier             // another asks, and we stand by
)

var roleNames = [...]string{"listener", "querier", "non-querier"}

// String returns "listener", "querier" or "non-querier".
func (r Role) String() string {
	if int(r) >= len(roleNames) {
		return fmt.Sprintf("role %d", uint8(r))
	}
	return roleNames[r]
}

// Querier is the router's side of the protocol on one interface (RFC 9776 section
// 6): it takes part in the election of who asks, and knows which groups, and
// which of their sources, somebody listens to. It is an engine; see package doc.
type Querier struct {
	cfg      QuerierConfig
	now      time.Time // of the last input
	check    checker
	election election
	groups   map[netip.Addr]*routerGroup
	entries  int // sources and hosts of all groups
	due      dueQueue
	out      []Packet
	events   []QuerierEvent
	stats    QuerierStats
}

// NewQuerier returns a Querier that listens until it is started. It fails on a
// configuration that contradicts itself.
func NewQuerier(cfg QuerierConfig) (*Querier, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("igmp: querier: %w", err)
	}
	return &Querier{
		cfg:      cfg,
		check:    checker{cfg.Family, cfg.Strict, cfg.Address},
		election: election{timing: cfg.Timing},
		groups:   make(map[netip.Addr]*routerGroup),
	}, nil
}

func (c QuerierConfig) withDefaults() (QuerierConfig, error) {
	c.Family, c.Version = c.Family.orIPv4(), cmp.Or(c.Version, V3)
	c.Timing = c.Timing.withDefaults()
	c.StartupInterval = cmp.Or(c.StartupInterval, c.Timing.QueryInterval/4)
	c.StartupCount = cmp.Or(c.StartupCount, int(c.Timing.Robustness))
	c.LastMemberInterval = cmp.Or(c.LastMemberInterval, DefaultLastMemberInterval)
	c.LastMemberCount = cmp.Or(c.LastMemberCount, int(c.Timing.Robustness))
	c.Bounds.Groups = cmp.Or(c.Bounds.Groups, 4096)
	c.Bounds.Sources = cmp.Or(c.Bounds.Sources, 512)
	c.Bounds.Hosts = cmp.Or(c.Bounds.Hosts, 256)
	c.Bounds.Entries = cmp.Or(c.Bounds.Entries, 65536)
	switch {
	case c.Family != IPv4 && c.Family != IPv6:
		return c, fmt.Errorf("family %d", uint8(c.Family))
	case c.Version > V3 || c.Version == V1 && c.Family == IPv6:
		return c, fmt.Errorf("%v has no version %d", c.Family, uint8(c.Version))
	case c.Address.IsValid() && FamilyOf(c.Address) != c.Family:
		return c, fmt.Errorf("address %v is not %v", c.Address, c.Family)
	case c.Family == IPv6 && c.Address.IsValid() && !c.Address.IsLinkLocalUnicast():
		return c, fmt.Errorf("address %v is not link-local, as MLD wants (RFC 9777 section 5.1.14)", c.Address)
	case c.Timing.QueryInterval < time.Second || c.Timing.QueryResponse < c.Family.unit() || c.LastMemberInterval < c.Family.unit():
		return c, errors.New("an interval is too short for the wire")
	case c.Timing.QueryResponse >= c.Timing.QueryInterval: // RFC 9776 section 8.3
		return c, fmt.Errorf("query response interval %v is not less than query interval %v", c.Timing.QueryResponse, c.Timing.QueryInterval)
	case c.StartupInterval < 0 || c.StartupCount < 0 || c.LastMemberCount < 0:
		return c, errors.New("an interval or count is negative")
	}
	return c, nil
}

// Start makes the Querier take part in the election: it asks at once, a few times
// soon and then regularly, until it hears somebody with a lower address (RFC 9776
// section 6.6.2). Called again, when the link comes back, it begins again.
func (q *Querier) Start(now time.Time) {
	q.HandleTimeout(now)
	q.election = election{timing: q.cfg.Timing, startup: q.cfg.StartupCount}
	if q.cfg.Family == IPv6 && !q.cfg.Address.IsValid() {
		q.election.waits = true // MLD packets without a link-local source would be ignored
		return
	}
	q.becomeQuerier(now)
}

// SetAddress makes a the address that queries come from. It changes who wins the
// election, so a Querier that takes part begins again.
func (q *Querier) SetAddress(now time.Time, a netip.Addr) {
	if a == q.cfg.Address {
		return
	}
	q.HandleTimeout(now)
	q.cfg.Address, q.check.address = a, a
	if q.election.role != RoleNone || q.election.waits {
		q.Start(now)
	}
}

// HandlePacket takes one packet heard on the interface.
func (q *Querier) HandlePacket(now time.Time, p Packet) {
	q.HandleTimeout(now) // what is due comes first, whoever is called first
	if !q.check.admits(p, &q.stats.Refused) {
		return
	}
	switch m := p.Message.(type) {
	case *Query:
		q.stats.QueriesHeard++
		q.handleQuery(now, p.Src, m)
	case *Report:
		q.stats.Reports++
		q.handleReport(now, p.Src, m)
	case *Leave:
		q.stats.Leaves++
		q.handleLeave(now, p.Src, m)
	}
}

// HandleTimeout does what is due at now.
func (q *Querier) HandleTimeout(now time.Time) {
	q.now = now
	q.handleElectionTimeout(now)
	for len(q.due) > 0 && !q.due[0].due.After(now) {
		g := q.due[0]
		q.handleGroupTimeout(now, g)
		q.settle(now, g)
	}
}

// NextTimeout returns when something is due.
func (q *Querier) NextTimeout() (time.Time, bool) {
	t := earlier(q.election.nextQuery, q.election.otherExpires)
	if len(q.due) > 0 {
		t = earlier(t, q.due[0].due)
	}
	return t, !t.IsZero()
}

// Outgoing returns the queries to send and forgets them.
func (q *Querier) Outgoing() []Packet { out := q.out; q.out = nil; return out }

// Events returns what happened and forgets it.
func (q *Querier) Events() []QuerierEvent { ev := q.events; q.events = nil; return ev }

// Stats returns the counters.
func (q *Querier) Stats() QuerierStats { return q.stats }

func (q *Querier) tell(e QuerierEvent) { q.events = append(q.events, e) }

func (q *Querier) send(dst netip.Addr, m *Query) {
	src := q.cfg.Address
	if !src.IsValid() {
		src = q.cfg.Family.unspecified()
	}
	q.stats.QueriesSent++
	if !m.IsGeneral() {
		q.stats.SpecificQueries++
	}
	q.out = append(q.out, NewPacket(src, dst, m))
}

// earlier returns the earlier of two instants, of which the zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// dueQueue orders groups by when something is due; it is a heap.
type dueQueue []*routerGroup

// Len, Less, Swap, Push and Pop are for package heap. Groups that are due at once
// have an order too, so that equal inputs give equal outputs.
func (d dueQueue) Len() int { return len(d) }

func (d dueQueue) Less(i, j int) bool {
	if c := d[i].due.Compare(d[j].due); c != 0 {
		return c < 0
	}
	return d[i].addr.Less(d[j].addr)
}

func (d dueQueue) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].place, d[j].place = i, j
}

func (d *dueQueue) Push(g any) {
	x := g.(*routerGroup)
	x.place = len(*d)
	*d = append(*d, x)
}

func (d *dueQueue) Pop() any {
	old := *d
	g := old[len(old)-1]
	old[len(old)-1], *d = nil, old[:len(old)-1]
	return g
}

var _ heap.Interface = (*dueQueue)(nil)
