package igmp

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Times of a host.
const (
	// UnsolicitedReportInterval bounds the time between the repetitions of what
	// changed (RFC 9776 section 8.11).
	UnsolicitedReportInterval = time.Second
	// UnsolicitedReportInterval2 is the same in versions 1 and 2 (RFC 2236 section
	// 8.10).
	UnsolicitedReportInterval2 = 10 * time.Second
	// RouterPresentTimeout1 is how long a host of IGMPv2 speaks version 1 after a
	// query of version 1 (RFC 2236 section 8.11). One of IGMPv3 computes the time.
	RouterPresentTimeout1 = 400 * time.Second
	// responseTime1 is the time to answer a query of version 1.
	responseTime1 = 10 * time.Second
	// generalHold and groupHold are the least times between two answers to queries
	// for all groups and for one, and answerHold is that between any two answers of
	// version 3, which has many groups in one packet. No specification has them:
	// without, whoever can send queries could make all hosts of a link send without
	// end. They are short enough to answer the second of two queries that follow a
	// leave in time.
	generalHold = time.Second
	groupHold   = 500 * time.Millisecond
	answerHold  = 100 * time.Millisecond
)

// Errors of [Host].
var (
	// ErrGroup reports an address that is no group of the Host's family.
	ErrGroup = errors.New("not a group")
	// ErrSource reports a source that no host of the family can have.
	ErrSource = errors.New("not an address of a host")
	// ErrFull reports that a bound of [HostConfig] is reached.
	ErrFull = errors.New("too many")
)

// SocketID names whoever on this host sets filters: a socket, or a part of the
// program.
type SocketID int

// HostConfig says what a Host is. Its zero value is a host of IGMPv3 without an
// address.
type HostConfig struct {
	// Family is the protocol. Zero means IPv4.
	Family Family
	// Version is the newest version to speak. Zero means 3.
	Version Version
	// Address is where reports come from: an address of the interface, for IPv6 a
	// link-local one. Zero means 0.0.0.0 or ::, which is legal before there is an
	// address (RFC 9776 section 4.2.14, RFC 9777 section 5.2.13).
	Address netip.Addr
	// Robustness is how often a change is sent unless the querier says otherwise
	// (RFC 9776 section 8.1). Zero means 2.
	Robustness uint8
	// MTU is the largest packet to send, in bytes. Zero means 1500.
	MTU int
	// Rand draws delays. Nil means a source that follows from Address alone.
	Rand *rand.Rand
	// Strict refuses queries of version 2 and 3 without router alert.
	Strict bool
	// MaxGroups is the largest number of groups. Zero means 4096.
	MaxGroups int
	// MaxSources is the largest number of sources of a group. Zero means 512.
	MaxSources int
}

// HostStats counts what a Host has done and has not.
type HostStats struct {
	ReportsSent  int // packets, of all versions
	LeavesSent   int // packets of version 2
	QueriesHeard int // admitted
	Suppressed   int // answers that another host's report made needless
	Deferred     int // answers put off because queries came too fast
	Refused      Refused
}

// Host is the listener's side of the protocol on one interface (RFC 9776 section
// 5, RFC 2236 section 6): it tells routers which groups, and which of their
// sources, this host listens to. It is an engine; see package doc.
type Host struct {
	cfg     HostConfig
	check   checker
	rand    *rand.Rand
	querier heardQuerier
	groups  map[netip.Addr]*hostGroup
	general answer    // to general queries, in version 3
	told    time.Time // when the last answer of version 3 was sent
	changes time.Time // when changes are to be repeated, in version 3
	due     time.Time // not later than anything that is due; zero: nothing is
	out     []Packet
	events  []HostEvent
	stats   HostStats
}

// NewHost returns a Host that listens to nothing. It fails on a configuration that
// contradicts itself.
func NewHost(cfg HostConfig) (*Host, error) {
	cfg.Family, cfg.Version = cfg.Family.orIPv4(), cmp.Or(cfg.Version, V3)
	cfg.Robustness, cfg.MTU = cmp.Or(cfg.Robustness, DefaultRobustness), cmp.Or(cfg.MTU, 1500)
	cfg.MaxGroups, cfg.MaxSources = cmp.Or(cfg.MaxGroups, 4096), cmp.Or(cfg.MaxSources, 512)
	switch {
	case cfg.Family != IPv4 && cfg.Family != IPv6:
		return nil, fmt.Errorf("igmp: host: family %d", uint8(cfg.Family))
	case cfg.Version > V3 || cfg.Version == V1 && cfg.Family == IPv6:
		return nil, fmt.Errorf("igmp: host: %v has no version %d", cfg.Family, uint8(cfg.Version))
	case cfg.Address.IsValid() && FamilyOf(cfg.Address) != cfg.Family:
		return nil, fmt.Errorf("igmp: host: address %v is not %v", cfg.Address, cfg.Family)
	case cfg.MTU < 256: // RFC 791 and RFC 8200 guarantee more
		return nil, fmt.Errorf("igmp: host: MTU of %d bytes", cfg.MTU)
	}
	h := &Host{
		cfg:    cfg,
		check:  checker{cfg.Family, cfg.Strict, cfg.Address},
		rand:   cfg.Rand,
		groups: make(map[netip.Addr]*hostGroup),
	}
	if h.rand == nil {
		f := fnv.New64a()
		f.Write(cfg.Address.AsSlice())
		h.rand = rand.New(rand.NewPCG(f.Sum64(), binary.BigEndian.Uint64([]byte("igmphost"))))
	}
	h.querier.timing = h.ownTiming()
	return h, nil
}

// Join listens to group from all sources, on the socket 0.
func (h *Host) Join(now time.Time, group netip.Addr) error {
	return h.SetFilter(now, 0, group, Exclude)
}

// Leave ends what [Host.Join] or SetFilter began on the socket 0.
func (h *Host) Leave(now time.Time, group netip.Addr) error {
	return h.SetFilter(now, 0, group, Include)
}

// SetFilter is IPMulticastListen of RFC 9776 section 2: socket listens to group
// from the sources only (Include; from none is to leave) or from all but these
// (Exclude). The filters of all sockets are merged, and routers told what changed.
// It fails with [ErrGroup], [ErrSource] or [ErrFull].
func (h *Host) SetFilter(now time.Time, socket SocketID, group netip.Addr, mode FilterMode, sources ...netip.Addr) error {
	h.HandleTimeout(now)
	switch {
	case !group.IsMulticast() || FamilyOf(group) != h.cfg.Family:
		return fmt.Errorf("igmp: filter for %v: %w of %v", group, ErrGroup, h.cfg.Family)
	case len(sources) > h.cfg.MaxSources:
		return fmt.Errorf("igmp: filter for %v: %w sources: %d, limit %d", group, ErrFull, len(sources), h.cfg.MaxSources)
	}
	for _, a := range sources {
		if FamilyOf(a) != h.cfg.Family || a.IsMulticast() || a.IsUnspecified() {
			return fmt.Errorf("igmp: filter for %v: source %v: %w", group, a, ErrSource)
		}
	}
	g := h.groups[group]
	if g == nil {
		if mode == Include && len(sources) == 0 {
			return nil // left already
		}
		if len(h.groups) >= h.cfg.MaxGroups {
			return fmt.Errorf("igmp: filter for %v: %w groups: limit %d", group, ErrFull, h.cfg.MaxGroups)
		}
		g = newHostGroup(group)
	}
	old, had := g.sockets[socket]
	g.set(socket, filter{mode, NewSourceSet(sources...)})
	if next := g.merged(); len(next.sources) > h.cfg.MaxSources {
		delete(g.sockets, socket)
		if had {
			g.sockets[socket] = old
		}
		return fmt.Errorf("igmp: filter for %v: %w sources of all sockets: %d, limit %d", group, ErrFull, len(next.sources), h.cfg.MaxSources)
	}
	h.groups[group] = g
	if h.update(g) {
		h.announce(now, g)
	}
	h.forget(g)
	return nil
}

// Rejoin tells routers everything again, as one does when the link has come back
// or the machine has slept.
func (h *Host) Rejoin(now time.Time) {
	h.HandleTimeout(now)
	all := h.sorted()
	for _, g := range all {
		g.begin(filter{}, h.querier.timing.Robustness)
	}
	h.announce(now, all...)
}

// SetAddress makes a the address that reports come from.
func (h *Host) SetAddress(a netip.Addr) { h.cfg.Address, h.check.address = a, a }

// Stop leaves all groups. The leaves are repeated as any change is: the driver
// may go on for a while.
func (h *Host) Stop(now time.Time) {
	h.HandleTimeout(now)
	var changed []*hostGroup
	for _, g := range h.sorted() {
		clear(g.sockets)
		if h.update(g) {
			changed = append(changed, g)
		}
	}
	h.announce(now, changed...)
	for _, g := range changed {
		h.forget(g)
	}
}

// HandlePacket takes one packet heard on the interface.
func (h *Host) HandlePacket(now time.Time, p Packet) {
	h.HandleTimeout(now)
	if p.Src == h.cfg.Address && p.Src.IsValid() || !h.check.admits(p, &h.stats.Refused) {
		return
	}
	switch m := p.Message.(type) {
	case *Query:
		h.stats.QueriesHeard++
		h.handleQuery(now, p.Src, m)
	case *Report:
		h.handleReport(now, p.Src, m)
	}
}

// HandleTimeout does what is due at now.
func (h *Host) HandleTimeout(now time.Time) {
	if h.due.IsZero() || h.due.After(now) {
		return
	}
	h.handleVersionTimeout(now)
	if due(h.changes, now) {
		h.repeatChanges(now)
	}
	h.handleAnswerTimeout(now)
	h.due = earlier(h.changes, h.general.at)
	for _, t := range h.querier.older {
		if t.After(now) {
			h.wake(t)
		}
	}
	for _, g := range h.groups {
		h.wake(g.answer.at)
	}
}

// NextTimeout returns when something may be due.
func (h *Host) NextTimeout() (time.Time, bool) { return h.due, !h.due.IsZero() }

// Outgoing returns the packets to send and forgets them.
func (h *Host) Outgoing() []Packet { out := h.out; h.out = nil; return out }

// Events returns what happened and forgets it.
func (h *Host) Events() []HostEvent { ev := h.events; h.events = nil; return ev }

// Stats returns the counters.
func (h *Host) Stats() HostStats { return h.stats }

// Filters returns what the interface listens to: the merged filter of each group
// that is not left, sorted by group (RFC 9776 section 3.2). It owns the result.
func (h *Host) Filters() []InterfaceFilter {
	var all []InterfaceFilter
	for _, g := range h.sorted() {
		if !g.state.isEmpty() {
			all = append(all, InterfaceFilter{g.addr, g.state.mode, slices.Clone(g.state.sources)})
		}
	}
	return all
}

// InterfaceFilter is what an interface wants of one group.
type InterfaceFilter struct {
	Group   netip.Addr
	Mode    FilterMode
	Sources SourceSet
}

func (h *Host) wake(t time.Time) { h.due = earlier(h.due, t) }

func (h *Host) tell(e HostEvent) { h.events = append(h.events, e) }

// delay draws from (0, most] (RFC 9776 section 5.2).
func (h *Host) delay(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return time.Duration(h.rand.Int64N(int64(most))) + 1
}

// sorted returns the groups by address, so that equal inputs give equal outputs.
func (h *Host) sorted() []*hostGroup { return sortedGroups(slices.Collect(maps.Values(h.groups))) }

func sortedGroups(list []*hostGroup) []*hostGroup {
	slices.SortFunc(list, func(a, b *hostGroup) int { return a.addr.Compare(b.addr) })
	return list
}

func (h *Host) send(dst netip.Addr, m Message) {
	src := h.cfg.Address
	if !src.IsValid() {
		src = h.cfg.Family.unspecified()
	}
	if _, ok := m.(*Leave); ok {
		h.stats.LeavesSent++
	} else {
		h.stats.ReportsSent++
	}
	h.out = append(h.out, NewPacket(src, dst, m))
}

// due reports whether t is set and not after now.
func due(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }
