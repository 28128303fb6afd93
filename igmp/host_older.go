package igmp

import (
	"net/netip"
	"time"
)

// This file is a host in versions 1 and 2 (RFC 2236 section 6), and MLDv1 (RFC
// 2710 section 5). A group is a non-member, a delaying member while its timer runs,
// or an idle member:
//
//	             join: report, start timer          timer: report
//	Non-Member ────────────────────────► Delaying ────────────────► Idle
//	    ▲                                  │  ▲  └── report heard ──►  │
//	    └───── leave, if last reporter ────┘  └───────── query ────────┘
//
// Filters by source have no place there: who wants some of the sources is a member.

// announceOlder tells that a group was joined or left.
func (h *Host) announceOlder(now time.Time, g *hostGroup) {
	g.modeLeft, g.sourcesLeft = 0, nil
	if g.state.isEmpty() {
		h.leaveOlder(g)
		return
	}
	if g.member {
		return // another filter, and no news in these versions
	}
	g.member = true
	g.reportsLeft = h.querier.timing.Robustness
	h.sendReport(now, g)
}

func (h *Host) leaveOlder(g *hostGroup) {
	g.answer.at, g.reportsLeft, g.member = time.Time{}, 0, false
	if g.lastReporter && h.Version() != V1 { // RFC 2236 section 3
		h.send(h.cfg.Family.AllRouters(), &Leave{Group: g.addr})
	}
}

// sendReport reports g, and plans its repetition if it was unsolicited.
func (h *Host) sendReport(now time.Time, g *hostGroup) {
	h.send(g.addr, &Report{Version: h.Version(), Group: g.addr})
	g.lastReporter = true
	g.answer = answer{last: now}
	if g.reportsLeft > 0 {
		g.reportsLeft--
	}
	if g.reportsLeft > 0 {
		g.answer.at = now.Add(h.delay(UnsolicitedReportInterval2))
		h.wake(g.answer.at)
	}
}

// planReport makes g a delaying member: its report comes within the time given,
// or at the time already set if that is sooner.
func (h *Host) planReport(now time.Time, g *hostGroup, within time.Duration) {
	if !g.answer.at.IsZero() && g.answer.at.Sub(now) <= within {
		return
	}
	g.answer.at = h.held(now.Add(h.delay(within)), g.answer.last, groupHold, g.addr)
	h.wake(g.answer.at)
}

// handleReport is suppression: another member has said what we were about to say
// (RFC 2236 section 3). Version 3 has none.
func (h *Host) handleReport(_ time.Time, from netip.Addr, r *Report) {
	g := h.groups[r.Group]
	if h.Version() == V3 || r.Version == V3 || g == nil || g.state.isEmpty() {
		return
	}
	g.lastReporter = false
	if g.answer.at.IsZero() {
		return
	}
	g.answer.at, g.reportsLeft = time.Time{}, 0
	h.stats.Suppressed++
	h.tell(HostEvent{Kind: HostSuppressed, Group: g.addr, From: from})
}
