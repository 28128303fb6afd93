package igmp

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// filter is what a socket, or the interface, wants of a group.
type filter struct {
	mode    FilterMode
	sources SourceSet
}

// isEmpty reports whether f listens to nothing.
func (f filter) isEmpty() bool { return f.mode == Include && len(f.sources) == 0 }

// passes reports whether f lets packets from a through.
func (f filter) passes(a netip.Addr) bool { return f.sources.Has(a) == (f.mode == Include) }

// hostGroup is what a host keeps of one group.
type hostGroup struct {
	addr    netip.Addr
	sockets map[SocketID]filter
	state   filter // of the interface, merged
	answer  answer // to a query; in version 2 also the repetition of a report

	// Of version 3: what of a change is still to be told (RFC 9776 section 5.1).
	modeLeft    uint8                // reports that must have the filter mode
	sourcesLeft map[netip.Addr]uint8 // by source, reports that must have it

	// Of versions 1 and 2 (RFC 2236 section 6): whether the group was joined,
	// unsolicited reports still to be sent, and whether we were the last to report.
	member       bool
	reportsLeft  uint8
	lastReporter bool
}

// answer is a response that waits for its time.
type answer struct {
	at      time.Time // zero: none is pending
	sources SourceSet // those asked for; none: the whole group
	last    time.Time // when the one before was sent
}

func newHostGroup(a netip.Addr) *hostGroup {
	return &hostGroup{addr: a, sockets: make(map[SocketID]filter), lastReporter: true}
}

func (g *hostGroup) set(s SocketID, f filter) {
	if f.isEmpty() {
		delete(g.sockets, s)
		return
	}
	g.sockets[s] = f
}

// merged returns the filter of the interface (RFC 9776 section 3.2): as soon as
// one socket excludes, all sources but those that every such socket excludes and
// no other includes; else all that are included.
func (g *hostGroup) merged() filter {
	var in, ex SourceSet
	excludes := false
	for _, f := range g.sockets {
		switch {
		case f.mode == Include:
			in = in.Union(f.sources)
		case !excludes:
			ex, excludes = f.sources, true
		default:
			ex = ex.Intersect(f.sources)
		}
	}
	if excludes {
		return filter{Exclude, ex.Minus(in)}
	}
	return filter{Include, in}
}

// update computes g's state anew and prepares what is to be told of the change,
// if there is one.
func (h *Host) update(g *hostGroup) (changed bool) {
	old := g.state
	g.state = g.merged()
	if old.mode == g.state.mode && slices.Equal(old.sources, g.state.sources) {
		return false
	}
	g.begin(old, h.querier.timing.Robustness)
	return true
}

// begin starts the retransmission state for a change from old (RFC 9776 section
// 5.1): of the filter mode, or else of single sources.
func (g *hostGroup) begin(old filter, robustness uint8) {
	if old.mode != g.state.mode {
		g.modeLeft, g.sourcesLeft = robustness, nil
		return
	}
	if g.sourcesLeft == nil {
		g.sourcesLeft = make(map[netip.Addr]uint8)
	}
	for _, a := range old.sources.Minus(g.state.sources).Union(g.state.sources.Minus(old.sources)) {
		g.sourcesLeft[a] = robustness
	}
}

// announce tells a change of groups at once, in the version that is spoken, and
// sets the time of its repetition.
func (h *Host) announce(now time.Time, groups ...*hostGroup) {
	groups = slices.DeleteFunc(slices.Clone(groups), func(g *hostGroup) bool {
		if h.cfg.Family.Reported(g.addr) {
			return false
		}
		g.modeLeft, g.sourcesLeft = 0, nil
		return true
	})
	if len(groups) == 0 {
		return
	}
	if h.Version() == V3 {
		h.sendChanges(now, groups)
		return
	}
	for _, g := range groups {
		h.announceOlder(now, g)
	}
}

// sendChanges sends what is to be told of groups (RFC 9776 section 5.1).
func (h *Host) sendChanges(now time.Time, groups []*hostGroup) {
	var records []Record
	for _, g := range groups {
		records = append(records, g.changeRecords()...)
	}
	h.sendRecords(records)
	left := slices.ContainsFunc(groups, (*hostGroup).changing)
	if left && h.changes.IsZero() {
		h.changes = now.Add(h.delay(UnsolicitedReportInterval))
		h.wake(h.changes)
	}
}

// repeatChanges sends what is still to be told of all groups.
func (h *Host) repeatChanges(now time.Time) {
	h.changes = time.Time{}
	var pending []*hostGroup
	for _, g := range h.sorted() {
		if g.changing() {
			pending = append(pending, g)
		}
	}
	h.sendChanges(now, pending)
	for _, g := range pending {
		h.forget(g)
	}
}

// changing reports whether something is to be told of g.
func (g *hostGroup) changing() bool { return g.modeLeft > 0 || len(g.sourcesLeft) > 0 }

// changeRecords returns the records for one more report of g's change, and counts
// them as sent. It is merged from all changes not yet told often enough: while the
// mode is to be told, that alone with the list of now.
func (g *hostGroup) changeRecords() []Record {
	if g.modeLeft > 0 {
		g.modeLeft--
		t := ChangeToInclude
		if g.state.mode == Exclude {
			t = ChangeToExclude
		}
		return []Record{{Type: t, Group: g.addr, Sources: g.state.sources}}
	}
	var allow, block []netip.Addr
	for _, a := range slices.SortedFunc(maps.Keys(g.sourcesLeft), netip.Addr.Compare) {
		if g.state.passes(a) {
			allow = append(allow, a)
		} else {
			block = append(block, a)
		}
		if g.sourcesLeft[a]--; g.sourcesLeft[a] == 0 {
			delete(g.sourcesLeft, a)
		}
	}
	var records []Record
	if len(allow) > 0 {
		records = append(records, Record{Type: AllowNewSources, Group: g.addr, Sources: allow})
	}
	if len(block) > 0 {
		records = append(records, Record{Type: BlockOldSources, Group: g.addr, Sources: block})
	}
	return records
}

// forget drops g when it was left and there is nothing more to say.
func (h *Host) forget(g *hostGroup) {
	if g.state.isEmpty() && !g.changing() {
		delete(h.groups, g.addr)
	}
}
