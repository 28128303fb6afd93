package igmp

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// MonitorConfig limits what a [Monitor] remembers. Its zero value works.
type MonitorConfig struct {
	// Members is how many pairs of host and group (or channel) are remembered. Zero
	// means 8192.
	Members int
	// Hosts is how many senders of messages are. Zero means 2048.
	Hosts int
	// Flows is how many groups with traffic are. Zero means 1024.
	Flows int
}

// MonitorStats counts what a [Monitor] met. All numbers grow only.
type MonitorStats struct {
	Frames                             uint64 // that carry IGMP or MLD
	Malformed                          uint64
	MembersFull, HostsFull, FlowsFull  uint64 // found no room
	EventsLost                         uint64 // that nobody fetched in time
	LeavesAnswered, LeavesUnanswered   uint64 // by a group-specific query in time
	GeneralQueries, GroupQueries       uint64
	ZeroSourceQueries, LinkLocalSource uint64 // queries from 0.0.0.0, from 169.254/16
}

// Monitor listens to one link and keeps what it hears: who is a member of what, who
// asks, in which words, and which groups carry traffic. It sends nothing. One
// Monitor listens to both families.
type Monitor struct {
	cfg     MonitorConfig
	now     time.Time
	first   time.Time
	hosts   map[MonitorHost]*HostSeen
	members map[memberKey]*member
	groups  map[netip.Addr]*groupSeen
	flows   map[netip.Addr]*Flow
	leaves  []LeaveSeen
	events  []MonitorEvent
	stats   MonitorStats
	due     time.Time        // when something may run out; zero when nothing will
	spans   [2]time.Duration // the group membership interval of IPv4 and IPv6
}

// Bounds that are not configured.
const (
	maxMonitorEvents = 8192
	maxLeaves        = 256 // remembered, the newest
	maxFlowSources   = 16
)

// LeaveAnswer is how long after a leave the querier's group-specific query is due:
// at once, as RFC 2236 section 3 has it; a second and a half leaves room for slow
// ones.
const LeaveAnswer = 1500 * time.Millisecond

// NewMonitor returns a Monitor that begins to listen at now.
func NewMonitor(now time.Time, cfg MonitorConfig) *Monitor {
	cfg.Members = cmp.Or(cfg.Members, 8192)
	cfg.Hosts = cmp.Or(cfg.Hosts, 2048)
	cfg.Flows = cmp.Or(cfg.Flows, 1024)
	return &Monitor{
		cfg: cfg, now: now, first: now,
		hosts: make(map[MonitorHost]*HostSeen), members: make(map[memberKey]*member),
		groups: make(map[netip.Addr]*groupSeen), flows: make(map[netip.Addr]*Flow),
		spans: [2]time.Duration{QuerierSeen{}.Membership(), QuerierSeen{}.Membership()},
	}
}

// HostSeen is a sender of messages.
type HostSeen struct {
	MonitorHost
	// First and Last are when it was heard.
	First, Last time.Time
	// Reports is the number of its reports and leaves by version, Queries that of its
	// queries; index 0 is not used.
	Reports, Queries [4]uint64
	// Wrong counts mistakes in its packets.
	Wrong HostMistakes
	// Querier is what it last said when it asked; Querier.Last is zero for one that
	// never did.
	Querier QuerierSeen
}

// HostMistakes are the mistakes in the packets of one host.
type HostMistakes struct {
	TTL         uint64 // not 1 (RFC 9776 section 4)
	RouterAlert uint64 // the option is missing (section 4); not counted for version 1
	Destination uint64 // not the address that the message belongs to
	Malformed   uint64
}

// QuerierSeen is what a querier says.
type QuerierSeen struct {
	// Version is that of its last query.
	Version Version
	// First and Last are when its general queries were heard, zero when only
	// group-specific ones were, whose last is LastGroup.
	First, Last, LastGroup time.Time
	// Gap is the time between its last two general queries, 0 before.
	Gap time.Duration
	// MaxResponse is of its last general query, GroupResponse of its last specific
	// one.
	MaxResponse, GroupResponse time.Duration
	// Robustness and Interval are what a version 3 query tells; 0 when untold.
	Robustness uint8
	Interval   time.Duration
	// HardwareAddr is where it came from.
	HardwareAddr HardwareAddr
}

// timers returns what the querier says, defaults for what it does not (RFC 9776
// section 8).
func (q QuerierSeen) timers() heardTimers {
	t := heardTimers{2, 125 * time.Second, 10 * time.Second}
	if q.Robustness > 0 {
		t.robustness = int(q.Robustness)
	}
	if q.Interval > 0 {
		t.interval = q.Interval
	}
	if q.MaxResponse > 0 {
		t.response = q.MaxResponse
	}
	return t
}

// Membership returns the group membership interval: 260 s by default.
func (q QuerierSeen) Membership() time.Duration { return q.timers().membership() }

// Present returns the other querier present interval: 255 s by default.
func (q QuerierSeen) Present() time.Duration { return q.timers().otherQuerier() }

// Flow is the traffic of one group, as far as it came by.
type Flow struct {
	Group netip.Addr
	// Packets and Bytes count IP packets of UDP.
	Packets, Bytes uint64
	// Sources are the first 16 senders.
	Sources     []netip.Addr
	First, Last time.Time
}

// LeaveSeen is a leave and what became of it.
type LeaveSeen struct {
	At    time.Time
	Host  MonitorHost
	Group netip.Addr
	// Answered is when a group-specific query came, zero when none did in time.
	Answered time.Time
	// Judged says that the time is over, or an answer was heard.
	Judged bool
}

// HandleFrame takes a frame that came by on the link.
func (m *Monitor) HandleFrame(now time.Time, frame []byte) {
	m.HandleTimeout(now)
	t := inspect(frame)
	switch {
	case t.control:
		m.handleControl(MonitorHost{t.source, HardwareAddr(frame[6:12])}, t.packet, t.err)
	case t.group.IsValid() && t.udp:
		m.handleFlow(t)
	}
}

// HandlePacket takes a packet that came by on the link.
func (m *Monitor) HandlePacket(now time.Time, p Packet) {
	m.HandleTimeout(now)
	m.handleControl(MonitorHost{Addr: p.Src}, p, nil)
}

func (m *Monitor) handleControl(from MonitorHost, p Packet, err error) {
	m.stats.Frames++
	if !from.Addr.IsValid() {
		from.Addr = netip.IPv4Unspecified()
		if p.Dst.Is6() {
			from.Addr = netip.IPv6Unspecified()
		}
	}
	h := m.host(from)
	if err != nil {
		m.stats.Malformed++
		if h != nil {
			h.Wrong.Malformed++
		}
		m.tell(MonitorEvent{Kind: HeardMalformed, Host: from, Packet: p, Err: err})
		return
	}
	if h != nil {
		h.judge(p)
	}
	switch msg := p.Message.(type) {
	case *Query:
		m.handleQuery(h, from, p, msg)
	case *Report:
		m.handleReport(h, from, p, msg)
	case *Leave:
		if h != nil {
			h.Reports[V2]++
		}
		m.leave(from, MonitorEvent{Group: msg.Group, Host: from, Version: V2, Packet: p}, true)
	}
}

// host returns what is known of a sender, or nil when there is no room.
func (m *Monitor) host(from MonitorHost) *HostSeen {
	k := from.key()
	h := m.hosts[k]
	if h == nil {
		if len(m.hosts) >= m.cfg.Hosts {
			m.stats.HostsFull++
			return nil
		}
		h = &HostSeen{MonitorHost: from, First: m.now}
		m.hosts[k] = h
	}
	h.Last = m.now
	if from.HardwareAddr != (HardwareAddr{}) {
		h.HardwareAddr = from.HardwareAddr
	}
	return h
}

// key tells hosts apart: by address, and those without one by hardware address.
func (h MonitorHost) key() MonitorHost {
	if h.Addr.IsUnspecified() {
		return h
	}
	return MonitorHost{Addr: h.Addr}
}

// judge counts the mistakes in a packet's header.
func (h *HostSeen) judge(p Packet) {
	if p.TTL != 1 {
		h.Wrong.TTL++
	}
	old, dst := false, netip.Addr{}
	switch msg := p.Message.(type) {
	case *Unknown:
		return
	case *Query:
		old = msg.Version == V1
		if !msg.IsGeneral() {
			dst = msg.Group
		} else if dst = allSystems4; p.Dst.Is6() {
			dst = allNodes6
		}
	case *Report:
		old = msg.Version == V1
		if dst = msg.Group; msg.Version == V3 {
			if dst = allReports4; p.Dst.Is6() {
				dst = allReports6
			}
		}
	case *Leave:
		if dst = allRouters4; p.Dst.Is6() {
			dst = allRouters6
		}
	}
	if !old && !p.RouterAlert {
		h.Wrong.RouterAlert++
	}
	if p.Dst != dst {
		h.Wrong.Destination++
	}
}

func (m *Monitor) handleQuery(h *HostSeen, from MonitorHost, p Packet, q *Query) {
	e := MonitorEvent{Kind: HeardQuery, Host: from, Version: q.Version, Packet: p, Sources: q.Sources}
	if !q.IsGeneral() {
		e.Group = q.Group
		if len(q.Sources) == 1 {
			e.Source = q.Sources[0]
		}
	}
	m.tell(e)
	switch {
	case from.Addr.IsUnspecified():
		m.stats.ZeroSourceQueries++
	case from.Addr.Is4() && from.Addr.IsLinkLocalUnicast():
		m.stats.LinkLocalSource++
	}
	if h != nil {
		h.Queries[min(q.Version, V3)]++
		h.Querier.hear(m.now, from, q)
	}
	if q.IsGeneral() {
		m.stats.GeneralQueries++
		if now, ok := m.Querier(p.Dst.Is6()); ok {
			*m.span(p.Dst) = now.Querier.Membership()
		}
		return
	}
	m.stats.GroupQueries++
	for i := range m.leaves {
		if l := &m.leaves[i]; l.Group == q.Group && !l.Judged {
			l.Answered, l.Judged = m.now, true
			m.stats.LeavesAnswered++
		}
	}
}

// hear takes over what a query says.
func (q *QuerierSeen) hear(now time.Time, from MonitorHost, m *Query) {
	q.Version, q.HardwareAddr = m.Version, from.HardwareAddr
	if m.Version == V3 {
		q.Robustness, q.Interval = m.Robustness, m.Interval
	} else {
		q.Robustness, q.Interval = 0, 0
	}
	if !m.IsGeneral() {
		q.LastGroup, q.GroupResponse = now, m.MaxResponse
		return
	}
	if q.First.IsZero() {
		q.First = now
	} else {
		q.Gap = now.Sub(q.Last)
	}
	q.Last, q.MaxResponse = now, m.MaxResponse
}

func (m *Monitor) handleFlow(t traffic) {
	f := m.flows[t.group]
	if f == nil {
		if len(m.flows) >= m.cfg.Flows {
			m.stats.FlowsFull++
			return
		}
		f = &Flow{Group: t.group, First: m.now}
		m.flows[t.group] = f
	}
	f.Packets++
	f.Bytes += uint64(t.size)
	f.Last = m.now
	if len(f.Sources) < maxFlowSources && !slices.Contains(f.Sources, t.source) {
		f.Sources = append(f.Sources, t.source)
	}
}

func (m *Monitor) tell(e MonitorEvent) {
	if len(m.events) >= maxMonitorEvents {
		m.stats.EventsLost++
		return
	}
	e.At = m.now
	m.events = append(m.events, e)
}

// Events returns what was heard and concluded, and forgets it.
func (m *Monitor) Events() []MonitorEvent {
	ev := m.events
	m.events = nil
	return ev
}

// Stats returns the counters.
func (m *Monitor) Stats() MonitorStats { return m.stats }

// Since returns when the Monitor began to listen, and the instant it has reached.
func (m *Monitor) Since() (first, now time.Time) { return m.first, m.now }

// Hosts returns the senders of messages, by address.
func (m *Monitor) Hosts() []HostSeen {
	list := make([]HostSeen, 0, len(m.hosts))
	for _, h := range m.hosts {
		list = append(list, *h)
	}
	slices.SortFunc(list, func(a, b HostSeen) int {
		return cmp.Or(a.Addr.Compare(b.Addr), slices.Compare(a.HardwareAddr[:], b.HardwareAddr[:]))
	})
	return list
}

// Flows returns the groups with traffic, by address.
func (m *Monitor) Flows() []Flow {
	list := make([]Flow, 0, len(m.flows))
	for _, g := range slices.SortedFunc(maps.Keys(m.flows), netip.Addr.Compare) {
		f := *m.flows[g]
		f.Sources = slices.Clone(f.Sources)
		list = append(list, f)
	}
	return list
}

// Leaves returns the last leaves, oldest first.
func (m *Monitor) Leaves() []LeaveSeen { return slices.Clone(m.leaves) }

// Querier returns who asks in a family (six is IPv6): of those heard in the last
// other querier present interval the one with the lowest address that may win
// (RFC 9776 section 6.6.2), else one with an address that may not. ok is false when
// nobody asks.
func (m *Monitor) Querier(six bool) (q HostSeen, ok bool) {
	for _, h := range m.Hosts() {
		last := h.Querier.Last
		if h.Querier.LastGroup.After(last) {
			last = h.Querier.LastGroup
		}
		if h.Addr.Is6() != six || last.IsZero() || m.now.Sub(last) > h.Querier.Present() {
			continue
		}
		if !ok || MayWinElection(h.Addr) && !MayWinElection(q.Addr) {
			q, ok = h, true
		}
	}
	return q, ok
}

// MayWinElection reports whether a may become the address of a link's querier: not
// one of 0.0.0.0/8, which proxies of switches use (RFC 4541 section 2.1.1), nor one
// of 169.254.0.0/16, which is nobody's for long; for IPv6 only link-local ones
// (RFC 9777 section 5.1.14).
func MayWinElection(a netip.Addr) bool {
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
		return false
	case a.Is4():
		return a.As4()[0] != 0 && !a.IsLinkLocalUnicast()
	}
	return a.IsLinkLocalUnicast()
}
