package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/multicast"
)

// Defaults of RFC 9776 section 8.
const (
	queryInterval = 125 * time.Second // 8.2
	queryResponse = 10 * time.Second  // 8.3
	membership    = 260 * time.Second // 8.4
)

// enoughLeaves is how many leaves in a row a querier must fail to answer to be taken
// for missing: each is lost on a good link about never.
const enoughLeaves = 2

// Examine says what m has heard of IGMP, or with six of MLD.
func Examine(m *igmp.Monitor, six bool) Diagnosis {
	first, now := m.Since()
	e := &examination{m: m, six: six, now: now, d: Diagnosis{Listened: now.Sub(first)}}
	for _, h := range m.Hosts() {
		if h.Addr.Is6() == six {
			e.hosts = append(e.hosts, h)
		}
	}
	for _, x := range m.Members() {
		if x.Group.Is6() == six {
			e.members = append(e.members, x)
		}
	}
	var asked bool
	e.d.Querier, asked = m.Querier(six)
	for _, x := range e.members {
		if e.d.Cliff.IsZero() || x.Expires.Before(e.d.Cliff) {
			e.d.Cliff = x.Expires
		}
	}
	if asked {
		e.querier()
		e.timers()
		e.election()
		e.leaves()
		e.silent()
	} else {
		e.d.Querier = igmp.HostSeen{}
		e.noQuerier()
	}
	for _, h := range e.hosts {
		e.mistakes(h)
	}
	e.flows()
	e.conclude()
	return e.d
}

// examination is one Examine under way.
type examination struct {
	m       *igmp.Monitor
	six     bool
	now     time.Time
	hosts   []igmp.HostSeen
	members []igmp.Member
	d       Diagnosis
}

func (e *examination) find(f Finding) { e.d.Findings = append(e.d.Findings, f) }

func (e *examination) conclude() {
	e.d.Verdict = Judge(e.d)
	e.d.Settled = e.d.Querier.Addr.IsValid()
	slices.SortStableFunc(e.d.Findings, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
}

// Judge returns the verdict that follows from a querier and findings: broken when
// one of them is, and nothing for sure without a querier, unless it is known that
// there is none.
func Judge(d Diagnosis) Verdict {
	known := d.Querier.Addr.IsValid()
	for _, f := range d.Findings {
		if f.Severity == Broken {
			return Unhealthy
		}
		known = known || f.Rule == NoQuerier && f.Severity == Warning
	}
	if !known {
		return Unknown
	}
	return Healthy
}

// protocol is what the family's protocol is called in version v.
func (e *examination) protocol(v igmp.Version) string {
	if e.six {
		return fmt.Sprintf("MLDv%d", max(int(v)-1, 1))
	}
	return fmt.Sprintf("IGMPv%d", v)
}

// ago is a past instant for people.
func (e *examination) ago(t time.Time) string {
	return e.now.Sub(t).Round(100*time.Millisecond).String() + " ago"
}

// querier tells who asks and how, and what is special about it.
func (e *examination) querier() {
	q := e.d.Querier
	s := q.Querier
	text := fmt.Sprintf("%v asks by %s", q.Addr, e.protocol(s.Version))
	if s.Interval > 0 {
		text += fmt.Sprintf(", every %v", s.Interval)
	}
	if s.MaxResponse > 0 {
		text += fmt.Sprintf(", to be answered within %v", s.MaxResponse)
	}
	if s.Robustness > 0 {
		text += fmt.Sprintf(", robustness %d", s.Robustness)
	}
	text += fmt.Sprintf("; memberships last %v", s.Membership())
	if s.Last.IsZero() {
		text += " unless its general queries say otherwise"
	}
	var heard []string
	if !s.Last.IsZero() {
		heard = append(heard, "a general query "+e.ago(s.Last))
	}
	if !s.LastGroup.IsZero() {
		heard = append(heard, "a group-specific query "+e.ago(s.LastGroup))
	}
	e.find(Finding{Severity: Note, Rule: Querier, Text: text, Evidence: strings.Join(heard, ", "), Host: q.Addr})
	switch {
	case q.Addr.IsUnspecified():
		e.find(Finding{Severity: Warning, Rule: ProxyQuerier, Host: q.Addr,
			Text:     "only a switch asks, from " + q.Addr.String() + ": it never wins an election, and leaves may stay unanswered",
			Evidence: fmt.Sprintf("%d queries without a source from %v", e.m.Stats().ZeroSourceQueries, q.HardwareAddr),
			Cure:     "give the switch's querier an address, or run a querier on a router"})
	case !igmp.MayWinElection(q.Addr):
		e.find(Finding{Severity: Warning, Rule: LinkLocal, Host: q.Addr,
			Text:     fmt.Sprintf("the querier asks from %v, an address that is nobody's for long", q.Addr),
			Evidence: "the source of its queries", Cure: "give the querier a fixed address"})
	}
	e.oldQuerier(q)
}

func (e *examination) oldQuerier(q igmp.HostSeen) {
	v := q.Querier.Version
	if v < igmp.V3 {
		f := Finding{Severity: Note, Rule: OldQuerier, Host: q.Addr,
			Text:     fmt.Sprintf("the querier holds all hosts to %s: sources cannot be chosen", e.protocol(v)),
			Evidence: fmt.Sprintf("queries of %s", e.protocol(v)), Cure: "set the querier to " + e.protocol(igmp.V3)}
		if v == igmp.V1 {
			f.Severity, f.Text = Warning, f.Text+", and nobody can leave before "+membership.String()+" are over"
		}
		for _, x := range e.members {
			if multicast.SourceSpecific(x.Group) || x.Source.IsValid() {
				f.Severity, f.Group = Warning, x.Group
				f.Text += fmt.Sprintf("; %v wants a channel of %v", x.Host, x.Group)
				break
			}
		}
		e.find(f)
		return
	}
	// An older querier, even one that has lost, binds hosts to its version.
	for _, h := range e.hosts {
		if h.Querier.Version != 0 && h.Querier.Version < igmp.V3 {
			return
		}
	}
	for _, x := range e.members {
		if x.Version < igmp.V3 {
			e.find(Finding{Severity: Warning, Rule: OldHost, Host: x.Host.Addr, Group: x.Group,
				Text: fmt.Sprintf("%v reports %v by %s, so that routers treat the group by the old rules: sources are not told apart%s",
					x.Host, x.Group, e.protocol(x.Version), map[bool]string{true: ", and leaves are ignored"}[x.Version == igmp.V1]),
				Evidence: "its last report, " + e.ago(x.Last), Cure: "update the host, or lift its forced version (net.ipv4.conf.IF.force_igmp_version, force_mld_version)"})
		}
	}
}

// timers looks whether what the querier says fits together.
func (e *examination) timers() {
	q, s := e.d.Querier, e.d.Querier.Querier
	find := func(sev Severity, text, cure string) {
		e.find(Finding{Severity: sev, Rule: Timers, Host: q.Addr, Text: text, Evidence: "its queries", Cure: cure})
	}
	interval := cmp.Or(s.Interval, queryInterval)
	if s.MaxResponse >= interval {
		find(Warning, fmt.Sprintf("the time to answer, %v, is not shorter than the time between queries, %v (RFC 9776 section 8.3)", s.MaxResponse, interval),
			"set the query response interval below the query interval")
	}
	if s.Robustness == 1 {
		find(Warning, "robustness 1: a member is cut off when one of its reports is lost (RFC 9776 section 8.1)", "set the robustness to 2 or more")
	}
	if s.Gap > interval+interval/2+time.Second {
		find(Warning, fmt.Sprintf("queries are %v apart, where %v was to be expected", s.Gap.Round(time.Second), interval), "look for lost queries, or hosts that disagree about the interval")
	}
	if late := e.now.Sub(s.Last); !s.Last.IsZero() && late > interval+interval/2+time.Second {
		find(Warning, fmt.Sprintf("no general query for %v, where one every %v was to be expected; memberships end from %v on",
			late.Round(time.Second), interval, e.d.Cliff.Format(time.TimeOnly)), "look whether the querier still runs, and whether its port still leads here")
	}
}

// election looks for several that ask although the lowest address should have
// silenced the others (RFC 9776 section 6.6.2).
func (e *examination) election() {
	q := e.d.Querier
	for _, h := range e.hosts {
		s := h.Querier
		if h.Addr == q.Addr || s.Last.IsZero() || !igmp.MayWinElection(h.Addr) || !igmp.MayWinElection(q.Addr) {
			continue
		}
		text := fmt.Sprintf("%v asked too, and is silent since %v has won the election", h.Addr, q.Addr)
		f := Finding{Severity: Note, Rule: TwoQueriers, Host: h.Addr, Text: text, Evidence: fmt.Sprintf("its last query, %s", e.ago(s.Last))}
		if !q.Querier.First.IsZero() && s.Last.Sub(q.Querier.First) > cmp.Or(s.MaxResponse, queryResponse) {
			f.Severity = Warning
			f.Text = fmt.Sprintf("%v and %v both ask: they do not hear each other, or differ in their version", q.Addr, h.Addr)
			f.Evidence = fmt.Sprintf("a query of %v %v after the first of %v", h.Addr, s.Last.Sub(q.Querier.First).Round(time.Second), q.Addr)
			f.Cure = "look at what is between them: VLANs, filters, a switch that drops queries"
		}
		e.find(f)
	}
}

// leaves looks whether leaves are followed by a group-specific query. Version 1 has
// none.
func (e *examination) leaves() {
	if e.d.Querier.Querier.Version < igmp.V2 {
		return
	}
	var unanswered []igmp.LeaveSeen
	answered := 0
	for _, l := range e.judgedLeaves() {
		if l.Answered.IsZero() {
			unanswered = append(unanswered, l)
		} else {
			answered++
		}
	}
	if len(unanswered) == 0 || answered > len(unanswered) {
		return
	}
	l := unanswered[len(unanswered)-1]
	e.find(Finding{Severity: Warning, Rule: UnansweredLeave, Host: l.Host.Addr, Group: l.Group,
		Text:     fmt.Sprintf("%d of %d leaves were not followed by a group-specific query within %v", len(unanswered), len(unanswered)+answered, igmp.LeaveAnswer),
		Evidence: fmt.Sprintf("the last was %v leaving %v, %s", l.Host, l.Group, e.ago(l.At)),
		Cure:     "when the querier or the switch removes members at once (fast leave), allow it only where one host is behind each port: else others are cut off"})
}

func (e *examination) judgedLeaves() (list []igmp.LeaveSeen) {
	for _, l := range e.m.Leaves() {
		if l.Judged && l.Group.Is6() == e.six {
			list = append(list, l)
		}
	}
	return list
}

// silent looks for members that did not answer the last general query.
func (e *examination) silent() {
	s := e.d.Querier.Querier
	due := s.Last.Add(cmp.Or(s.MaxResponse, queryResponse) + time.Second)
	if s.Last.IsZero() || e.now.Before(due) {
		return
	}
	for _, x := range e.members {
		if x.Last.Before(s.Last) && !x.Suppressed && s.Last.Sub(s.First) > 0 {
			e.find(Finding{Severity: Warning, Rule: SilentMember, Host: x.Host.Addr, Group: x.Group,
				Text:     fmt.Sprintf("%v has joined %v, and did not answer the last query: it is cut off at %v unless it reports", x.Host, x.Group, x.Expires.Format(time.TimeOnly)),
				Evidence: "its last report, " + e.ago(x.Last), Cure: "look whether queries reach the host, and whether its firewall lets IGMP out"})
		}
	}
}

// noQuerier tells how sure it is that nobody asks.
func (e *examination) noQuerier() {
	leaves := e.judgedLeaves()
	f := Finding{Severity: Note, Rule: NoQuerier,
		Cure: "switch on a querier on the router or on a switch; until then: aether igmp querier"}
	sure := e.d.Listened >= queryInterval+queryInterval/20 || len(leaves) >= enoughLeaves && allUnanswered(leaves)
	f.Evidence = fmt.Sprintf("no query in %v", e.d.Listened.Round(time.Second))
	if len(leaves) > 0 {
		f.Evidence += fmt.Sprintf(", %d leaves unanswered", len(leaves))
	}
	if !sure {
		f.Text = fmt.Sprintf("no querier heard yet; queries are %v apart by default", queryInterval)
		e.find(f)
		return
	}
	f.Severity = Broken
	f.Text = "no querier: switches that snoop forget members " + membership.String() + " after they have joined"
	if !e.d.Cliff.IsZero() {
		f.Text += fmt.Sprintf("; of those heard, the first is cut off at %v, in %v", e.d.Cliff.Format(time.TimeOnly), e.d.Cliff.Sub(e.now).Round(time.Second))
	}
	e.find(f)
}

func allUnanswered(leaves []igmp.LeaveSeen) bool {
	return !slices.ContainsFunc(leaves, func(l igmp.LeaveSeen) bool { return !l.Answered.IsZero() })
}

// mistakes tells what is wrong with the packets of a host.
func (e *examination) mistakes(h igmp.HostSeen) {
	for _, x := range []struct {
		n          uint64
		rule       Rule
		text, cure string
	}{
		{h.Wrong.TTL, WrongTTL, "sends with a TTL other than 1, which careful receivers drop", "fix its software, or the router that has forwarded it"},
		{h.Wrong.RouterAlert, NoRouterAlert, "sends without the router alert option, so that routers may overlook it", "fix its software"},
		{h.Wrong.Destination, WrongAddress, "sends messages to addresses that they do not belong to", "fix its software"},
		{h.Wrong.Malformed, Malformed, "sends messages that are malformed or have a wrong checksum", "fix its software or cable; aether igmp decode shows what is wrong"},
	} {
		if x.n > 0 {
			e.find(Finding{Severity: Warning, Rule: x.rule, Host: h.Addr, Text: fmt.Sprintf("%v %s", h.MonitorHost, x.text),
				Evidence: fmt.Sprintf("%d packets, from %v", x.n, h.HardwareAddr), Cure: x.cure})
		}
	}
}

// flows compares what is wanted with what flows.
func (e *examination) flows() {
	wanted := make(map[netip.Addr]bool)
	byAddress := make(map[multicast.HardwareAddr][]string)
	for _, x := range e.members {
		if wanted[x.Group] {
			continue
		}
		wanted[x.Group] = true
		if hw, err := multicast.EthernetAddr(x.Group); err == nil {
			byAddress[hw] = append(byAddress[hw], x.Group.String())
			if len(byAddress[hw]) > 1 {
				e.find(Finding{Severity: Note, Rule: SharedAddress, Group: x.Group,
					Text:     fmt.Sprintf("%s have the Ethernet address %v in common: their members receive each other's traffic", strings.Join(byAddress[hw], " and "), hw),
					Evidence: "reports", Cure: "move one of them; aether mcast mac GROUP lists the aliases"})
			}
		}
		if multicast.Flooded(x.Group) && multicast.ScopeOf(x.Group) != multicast.ScopeLinkLocal {
			e.find(Finding{Severity: Warning, Rule: FloodedGroup, Group: x.Group,
				Text:     fmt.Sprintf("%v has the Ethernet address of a group 224.0.0.x: switches send it to every port", x.Group),
				Evidence: "a report of " + x.Host.String(), Cure: "choose another group: not one with 0 or 128 in the second byte and 0 in the third"})
		}
	}
	flowing := make(map[netip.Addr]bool)
	for _, f := range e.m.Flows() {
		flowing[f.Group] = true
		if f.Group.Is6() != e.six || wanted[f.Group] || multicast.ScopeOf(f.Group) == multicast.ScopeLinkLocal {
			continue
		}
		e.find(Finding{Severity: Note, Rule: UnwantedFlow, Group: f.Group,
			Text:     fmt.Sprintf("%v comes here, and no report for it was heard: the switch floods, or its members are behind other ports", f.Group),
			Evidence: fmt.Sprintf("%d packets from %v", f.Packets, f.Sources)})
	}
	for g := range wanted {
		if !flowing[g] && multicast.ScopeOf(g) != multicast.ScopeLinkLocal {
			e.find(Finding{Severity: Note, Rule: MissingFlow, Group: g,
				Text: fmt.Sprintf("%v has members, and nothing for it came by", g), Evidence: fmt.Sprintf("listened for %v", e.d.Listened.Round(time.Second))})
		}
	}
	slices.SortStableFunc(e.d.Findings, func(a, b Finding) int { return a.Group.Compare(b.Group) })
}
