package mdns

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Probing (RFC 6762 section 8.1).
const (
	// ProbeWait is the most that the first probe waits.
	ProbeWait = 250 * time.Millisecond
	// ProbeInterval is the time between probes and after the last one.
	ProbeInterval = 250 * time.Millisecond
	// ProbeNum is the number of probes.
	ProbeNum = 3
	// TieBreakWait is how long the loser of a tie-break waits (section 8.2).
	TieBreakWait = time.Second

	conflictMax    = 15
	conflictWindow = 10 * time.Second
	conflictWait   = 5 * time.Second
)

// Prober finds out whether names are free on one link. Records are probed in sets,
// known by a number that the caller chooses. A Prober never looks into a cache:
// only answers heard while it probes count (section 8.1).
type Prober struct {
	rnd       *rand.Rand
	unicast   bool
	probes    []*probe // in order of start
	conflicts []time.Time
	slow      bool // there were too many
	out       []*Message
	outcomes  []outcome
	trace     *trace
}

type probe struct {
	set     int
	records []Record // sorted; without their flush bits
	names   []string
	sent    int
	next    time.Time
}

type outcomeKind int

const (
	probed   outcomeKind = iota // a probe was sent
	deferred                    // lost a tie-break, waiting
	won                         // nobody objected
	lost                        // somebody has the name
)

// outcome is what a Prober tells its Engine.
type outcome struct {
	kind outcomeKind
	set  int
	name string
	from netip.Addr
}

// NewProber returns a Prober that draws its delays from rnd and asks for unicast
// answers when unicast is true.
func NewProber(rnd *rand.Rand, unicast bool) *Prober { return &Prober{rnd: rnd, unicast: unicast} }

// Start begins to probe for the names of records. A set being probed already
// starts over.
func (p *Prober) Start(now time.Time, set int, records []Record) {
	p.Cancel(set)
	delay := time.Duration(p.rnd.Int64N(int64(ProbeWait) + 1))
	p.forget(now)
	why := causeFirstProbe
	if p.slow {
		delay += conflictWait
		why = causeManyConflicts
	}
	pr := &probe{set: set, next: now.Add(delay)}
	pr.propose(records)
	p.trace.probe(now, NoteDelayed, why, pr.names, delay)
	p.probes = append(p.probes, pr)
}

// Update changes what a running probe proposes and reports whether there is one.
// The names must be the same.
func (p *Prober) Update(set int, records []Record) bool {
	for _, pr := range p.probes {
		if pr.set == set {
			pr.propose(records)
			return true
		}
	}
	return false
}

// Cancel ends the probe of a set without a result.
func (p *Prober) Cancel(set int) {
	p.probes = slices.DeleteFunc(p.probes, func(pr *probe) bool { return pr.set == set })
}

func (pr *probe) propose(records []Record) {
	pr.records, pr.names = nil, nil
	for _, r := range records {
		r.Flush = false // clear in the Authority Section
		pr.records = append(pr.records, r)
		if !slices.ContainsFunc(pr.names, func(n string) bool { return sameName(n, r.Name) }) {
			pr.names = append(pr.names, r.Name)
		}
	}
	slices.SortStableFunc(pr.records, compareRecords)
}

// forget drops conflicts older than the window. Fifteen in one make every further
// probe wait, not only the next ones (RFC 6762 section 8.1): that ends with a
// window without any.
func (p *Prober) forget(now time.Time) {
	p.conflicts = slices.DeleteFunc(p.conflicts, func(t time.Time) bool { return now.Sub(t) >= conflictWindow })
	p.slow = len(p.conflicts) >= conflictMax || p.slow && len(p.conflicts) > 0
}

// HandleQuery takes a query of another host, which may be a probe for one of the
// same names. The comparison is of the whole sorted sets (RFC 6762 section
// 8.2.1). The loser waits a second and probes for the same name again: should
// the winner be real it will defend itself by then, and should it have been a
// stale echo nobody will (section 8.2). A tie-break never costs the name.
func (p *Prober) HandleQuery(now time.Time, m *Message, from netip.Addr) {
	if len(m.Authority) == 0 {
		return
	}
	for _, pr := range p.probes {
		if pr.sent == 0 && pr.next.Sub(now) > ProbeWait {
			continue // waiting already
		}
		for _, name := range pr.names {
			theirs := namedRecords(m.Authority, name)
			if len(theirs) == 0 {
				continue
			}
			order := compareSets(namedRecords(pr.records, name), theirs)
			if order > 0 {
				p.trace.record(now, NoteDropped, causeTieWon, theirs[0], 0, netip.AddrPortFrom(from, Port))
			}
			if order >= 0 {
				continue
			}
			p.trace.probe(now, NoteDelayed, causeTieLost, pr.names, TieBreakWait)
			pr.sent, pr.next = 0, now.Add(TieBreakWait)
			p.outcomes = append(p.outcomes, outcome{deferred, pr.set, name, from})
			break
		}
	}
}

// namedRecords returns the records called name, sorted for comparison.
func namedRecords(records []Record, name string) []Record {
	var out []Record
	for _, r := range records {
		if sameName(r.Name, name) {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, compareRecords)
	return out
}

// HandleResponse takes a response of another host. Any record with a probed name,
// of whatever type, says that the name is taken, unless ours tells that it is
// this machine's own; before the first probe was sent it says nothing (RFC 6762
// section 8.1).
func (p *Prober) HandleResponse(now time.Time, m *Message, from netip.Addr, ours func(Record) bool) {
	for _, pr := range slices.Clone(p.probes) {
		for _, r := range m.records() {
			if !pr.objected(r) || ours(r) {
				continue
			}
			if pr.sent == 0 {
				p.trace.record(now, NoteDropped, causeBeforeProbe, r, 0, netip.AddrPortFrom(from, Port))
				break
			}
			p.trace.record(now, NoteHeeded, causeDenied, r, 0, netip.AddrPortFrom(from, Port))
			p.Cancel(pr.set)
			p.forget(now)
			p.conflicts = append(p.conflicts, now)
			p.outcomes = append(p.outcomes, outcome{lost, pr.set, r.Name, from})
			break
		}
	}
}

// objected reports whether r denies pr its name. Identical data never does
// (section 9), nor does a goodbye.
func (pr *probe) objected(r Record) bool {
	if r.TTL == 0 || !slices.ContainsFunc(pr.names, func(n string) bool { return sameName(n, r.Name) }) {
		return false
	}
	return !slices.ContainsFunc(pr.records, func(own Record) bool { return own.identity() == r.identity() })
}

// HandleTimeout sends the probes that are due and decides those that waited long
// enough.
func (p *Prober) HandleTimeout(now time.Time) {
	for _, pr := range slices.Clone(p.probes) {
		if now.Before(pr.next) {
			continue
		}
		if pr.sent == ProbeNum {
			p.Cancel(pr.set)
			p.outcomes = append(p.outcomes, outcome{kind: won, set: pr.set})
			continue
		}
		m := &Message{Authority: pr.records}
		for _, name := range pr.names {
			m.Questions = append(m.Questions, AskedQuestion{Question{name, dns.TypeANY}, dns.ClassINET, p.unicast})
		}
		p.trace.probe(now, NoteSent, causeProbe, pr.names, 0)
		p.out = append(p.out, m)
		p.outcomes = append(p.outcomes, outcome{kind: probed, set: pr.set, name: pr.names[0]})
		pr.sent++
		pr.next = now.Add(ProbeInterval)
	}
}

// NextTimeout reports when HandleTimeout has something to do.
func (p *Prober) NextTimeout() (t time.Time, ok bool) {
	for _, pr := range p.probes {
		t = earlier(t, pr.next)
	}
	return t, !t.IsZero()
}

// Outgoing returns the probes to send and forgets them.
func (p *Prober) Outgoing() []*Message { out := p.out; p.out = nil; return out }

// take returns what was decided and forgets it.
func (p *Prober) take() []outcome { o := p.outcomes; p.outcomes = nil; return o }

// earlier returns the earlier of two instants; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
