package igmp

import (
	"net/netip"
	"time"
)

// heardQuerier is what a host knows of the routers on its link (RFC 9776 section
// 7.2.1).
type heardQuerier struct {
	timing Timing        // robustness and interval as last told
	older  [V3]time.Time // by version: older version querier present timers
}

func (h *Host) ownTiming() Timing {
	return Timing{Robustness: h.cfg.Robustness}.withDefaults()
}

// Version returns the version that the host speaks: the oldest in which a router
// has asked lately, and not newer than its own (RFC 9776 section 7.2.1).
func (h *Host) Version() Version {
	for v := V1; v < h.cfg.Version; v++ {
		if !h.querier.older[v].IsZero() {
			return v
		}
	}
	return h.cfg.Version
}

// handleQuery takes an admitted query.
func (h *Host) handleQuery(now time.Time, from netip.Addr, q *Query) {
	h.noteVersion(now, from, q)
	if q.Version == V3 {
		h.querier.timing = h.querier.timing.adopt(q, h.ownTiming())
	}
	within := q.MaxResponse
	if q.Version == V1 {
		within = responseTime1
	}
	if h.Version() == V3 {
		h.planAnswer(now, q, within)
		return
	}
	asked := []*hostGroup{h.groups[q.Group]}
	if q.IsGeneral() {
		asked = h.sorted()
	}
	for _, g := range asked {
		if g != nil && !g.state.isEmpty() && h.cfg.Family.Reported(g.addr) {
			h.planReport(now, g, within)
		}
	}
}

// noteVersion starts the timer of an older version, and switches to it. On a
// switch pending responses and repetitions are cancelled (RFC 9776 section 7.2.1).
func (h *Host) noteVersion(now time.Time, from netip.Addr, q *Query) {
	if q.Version >= h.cfg.Version {
		return
	}
	before := h.Version()
	t := now.Add(h.olderPresent(q))
	h.querier.older[q.Version] = t
	h.wake(t)
	h.switchFrom(before, from)
}

// olderPresent is the older version querier present timeout (RFC 9776 section
// 8.12): the robustness times the interval of the last query of version 3, plus
// the time to answer. RFC 2236 section 8.11 has a constant.
func (h *Host) olderPresent(q *Query) time.Duration {
	if h.cfg.Version == V2 {
		return RouterPresentTimeout1
	}
	t := h.querier.timing
	t.QueryResponse = max(q.MaxResponse, 0)
	if q.Version == V1 {
		t.QueryResponse = responseTime1
	}
	return t.GroupMembershipInterval()
}

func (h *Host) handleVersionTimeout(now time.Time) {
	before := h.Version()
	for v, t := range h.querier.older {
		if due(t, now) {
			h.querier.older[v] = time.Time{}
		}
	}
	h.switchFrom(before, netip.Addr{})
}

// switchFrom does what a change of the version asks for, if it has changed.
func (h *Host) switchFrom(before Version, from netip.Addr) {
	if h.Version() == before {
		return
	}
	h.tell(HostEvent{Kind: HostVersion, From: from, Version: h.Version()})
	h.changes, h.general.at = time.Time{}, time.Time{}
	for _, g := range h.groups {
		g.answer.at, g.answer.sources = time.Time{}, nil
		g.modeLeft, g.sourcesLeft, g.reportsLeft = 0, nil, 0
		g.lastReporter, g.member = true, !g.state.isEmpty() // for all that is known
		h.forget(g)
	}
}

// planAnswer schedules the answer to a query by the five rules of RFC 9776
// section 5.2.
func (h *Host) planAnswer(now time.Time, q *Query, within time.Duration) {
	at := now.Add(h.delay(within))
	if !h.general.at.IsZero() && !h.general.at.After(at) {
		return // rule 1: all is about to be told
	}
	if q.IsGeneral() { // rule 2
		h.general.at = h.held(at, h.general.last, generalHold, netip.Addr{})
		h.wake(h.general.at)
		return
	}
	g := h.groups[q.Group]
	if g == nil || g.state.isEmpty() || !h.cfg.Family.Reported(g.addr) {
		return
	}
	asked := NewSourceSet(q.Sources...)
	switch {
	case g.answer.at.IsZero(): // rule 3
		g.answer.sources = asked
		g.answer.at = h.held(at, g.answer.last, groupHold, g.addr)
	case len(asked) == 0 || len(g.answer.sources) == 0: // rule 4
		g.answer.sources = nil
		g.answer.at = earlier(g.answer.at, at)
	default: // rule 5
		g.answer.sources = g.answer.sources.Union(asked)
		g.answer.at = earlier(g.answer.at, at)
	}
	if g.answer.at = later(g.answer.at, g.answer.last, groupHold); len(g.answer.sources) > h.cfg.MaxSources {
		g.answer.sources = nil // the whole group says it too
	}
	h.wake(g.answer.at)
}

// held puts an answer off when the last one was just sent.
func (h *Host) held(at, last time.Time, hold time.Duration, group netip.Addr) time.Time {
	t := later(at, last, hold)
	if t.After(at) {
		h.stats.Deferred++
		h.tell(HostEvent{Kind: HostDeferred, Group: group})
	}
	return t
}

// later returns at, but not less than hold after last, if there is a last.
func later(at, last time.Time, hold time.Duration) time.Time {
	if t := last.Add(hold); !last.IsZero() && t.After(at) {
		return t
	}
	return at
}

// handleAnswerTimeout sends the answers that are due.
func (h *Host) handleAnswerTimeout(now time.Time) {
	var records []Record
	if due(h.general.at, now) {
		h.general = answer{last: now}
		for _, g := range h.sorted() {
			if !g.state.isEmpty() && h.cfg.Family.Reported(g.addr) {
				records = append(records, g.current())
			}
		}
		h.sendRecords(records)
		records = nil
	}
	for _, g := range h.dueGroups(now) {
		if h.Version() != V3 {
			h.sendReport(now, g)
			continue
		}
		if at := later(now, h.told, answerHold); at.After(now) {
			g.answer.at = at // together with others
			continue
		}
		records = append(records, g.currentOf(g.answer.sources)...)
		g.answer = answer{last: now}
	}
	if len(records) > 0 {
		h.told = now
	}
	h.sendRecords(records)
}

// dueGroups returns the groups whose answers are due, sorted.
func (h *Host) dueGroups(now time.Time) (all []*hostGroup) {
	for _, g := range h.groups {
		if due(g.answer.at, now) {
			all = append(all, g)
		}
	}
	return sortedGroups(all)
}

// current returns g's state as a record.
func (g *hostGroup) current() Record {
	t := ModeIsInclude
	if g.state.mode == Exclude {
		t = ModeIsExclude
	}
	return Record{Type: t, Group: g.addr, Sources: g.state.sources}
}

// currentOf returns the record that answers a query for sources, or for the group
// when there are none (RFC 9776 section 5.2): which of them get through.
func (g *hostGroup) currentOf(asked SourceSet) []Record {
	switch {
	case g.state.isEmpty():
		return nil
	case len(asked) == 0:
		return []Record{g.current()}
	}
	wanted := asked.Intersect(g.state.sources)
	if g.state.mode == Exclude {
		wanted = asked.Minus(g.state.sources)
	}
	if len(wanted) == 0 {
		return nil
	}
	return []Record{{Type: ModeIsInclude, Group: g.addr, Sources: wanted}}
}
