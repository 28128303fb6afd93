package doctor

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/aether-lan/aether/multicast"
)

// Bounds of the tables.
const (
	maxHosts    = 1024
	maxFindings = 4096
	maxRecords  = 8192
	maxAsked    = 1024
)

// Spans of time.
const (
	// askedFor is how long after a question an answer counts as asked for: 20 to
	// 120 ms, 500 ms more after a truncated query and 500 ms of aggregation (RFC
	// 6762 sections 6, 6.4, 7.2).
	askedFor = 1200 * time.Millisecond
	// unicastFor is how long after a QU question a unicast answer is due (section 6).
	unicastFor = 2 * time.Second
	// textWait is how long after a SRV record its TXT record may come.
	textWait = 5 * time.Second
	// sweepEvery is how often what is old is forgotten.
	sweepEvery = time.Minute
	// forgetAfter is when a record or question that was not heard again is: a
	// little over the 60 minutes that questions may be apart (section 5.2).
	forgetAfter = 2 * time.Hour
)

// Doctor judges what it hears. It sends nothing. The zero value is not ready; use [New].
type Doctor struct {
	totals   Totals
	hosts    map[netip.Addr]*Host
	hours    map[netip.Addr]*hour
	findings map[findingKey]*Finding
	asked    []asked
	repeats  map[repeatKey]*series
	told     map[recordKey]*series
	claims   map[setKey][]claim
	payloads map[string]sent
	texts    texts
	fresh    []findingKey
	sweep    time.Time
}

// findingKey tells findings apart.
type findingKey struct {
	rule        Rule
	host, other netip.Addr
	what        string
}

// New returns a Doctor that has heard nothing.
func New() *Doctor {
	return &Doctor{
		hosts: make(map[netip.Addr]*Host), hours: make(map[netip.Addr]*hour),
		findings: make(map[findingKey]*Finding),
		repeats:  make(map[repeatKey]*series), told: make(map[recordKey]*series),
		claims: make(map[setKey][]claim), payloads: make(map[string]sent), texts: newTexts(),
	}
}

// HandlePacket judges p, heard at now. Instants must not run backwards by more
// than jitter does.
func (d *Doctor) HandlePacket(now time.Time, p Packet) {
	p.From = netip.AddrPortFrom(p.From.Addr().Unmap(), p.From.Port())
	p.To = netip.AddrPortFrom(p.To.Addr().Unmap(), p.To.Port())
	d.count(now)
	h := d.host(p)
	if h == nil {
		d.totals.Untracked.Hosts++
		return
	}
	v := visit{now: now, p: p, host: h.Addr}
	d.judgeHour(v)
	if !d.judgeSize(v) {
		return
	}
	m, err := mdns.ParseMessage(p.Payload)
	if err != nil {
		d.totals.Malformed++
		// A plain resolver that sends something else is no responder of ours.
		if p.From.Port() == mdns.Port {
			d.find(v, Malformed, netip.Addr{}, strings.TrimPrefix(err.Error(), "mdns: "))
		}
		return
	}
	v.m = m
	if m.Response {
		d.totals.Responses++
		d.judgeResponse(v)
	} else {
		d.totals.Queries++
		d.judgeQuery(v)
	}
}

// visit is one message from one host.
type visit struct {
	now  time.Time
	p    Packet
	host netip.Addr
	m    *mdns.Message
}

func (d *Doctor) count(now time.Time) {
	if d.totals.Packets == 0 {
		d.totals.First, d.sweep = now, now.Add(sweepEvery)
	}
	d.totals.Packets++
	if now.After(d.totals.Last) {
		d.totals.Last = now
	}
}

// host returns the sender of p, or nil when there is no room for it.
func (d *Doctor) host(p Packet) *Host {
	a := p.From.Addr()
	h := d.hosts[a]
	if h == nil {
		if len(d.hosts) >= maxHosts {
			return nil
		}
		h = &Host{Addr: a}
		d.hosts[a] = h
	}
	h.Packets++
	if p.HardwareAddr != (multicast.HardwareAddr{}) {
		h.HardwareAddr = p.HardwareAddr
	}
	if p.HopLimit != 0 {
		h.HopLimit = p.HopLimit
	}
	return h
}

// find notes that v's host broke rule.
func (d *Doctor) find(v visit, rule Rule, other netip.Addr, what string) {
	k := findingKey{rule, v.host, other, what}
	f := d.findings[k]
	if f == nil {
		if len(d.findings) >= maxFindings {
			d.totals.Untracked.Findings++
			return
		}
		on := verdicts[rule]
		f = &Finding{
			Severity: on.severity, Rule: rule, Other: other, What: what,
			First: v.now, Section: on.section, Advice: on.advice,
		}
		d.findings[k] = f
	}
	f.Last = v.now
	if f.Count++; f.Count == verdicts[rule].from {
		d.fresh = append(d.fresh, k)
	}
}

// Events returns each finding once, as it stood when it was first worth reporting.
func (d *Doctor) Events() []Finding {
	var list []Finding
	for _, k := range d.fresh {
		f := *d.findings[k]
		f.Host = *d.hosts[k.host]
		list = append(list, f)
	}
	d.fresh = nil
	return list
}

// Outgoing returns nothing: a Doctor does not speak.
func (d *Doctor) Outgoing() []Packet { return nil }

// Findings returns what was found so far: the worst first, then by host.
func (d *Doctor) Findings() []Finding {
	var list []Finding
	for k, f := range d.findings {
		if f.Count >= verdicts[k.rule].from {
			g := *f
			g.Host = *d.hosts[k.host]
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), a.Host.Addr.Compare(b.Host.Addr),
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.What, b.What), a.Other.Compare(b.Other))
	})
	return list
}

// Totals returns the counts so far.
func (d *Doctor) Totals() Totals {
	t := d.totals
	t.Hosts = len(d.hosts)
	if span := t.Last.Sub(t.First); span >= time.Minute {
		t.PacketsPerHour = float64(t.Packets) / span.Hours()
	}
	return t
}

// NextTimeout returns when [Doctor.HandleTimeout] should be called.
func (d *Doctor) NextTimeout() (t time.Time, ok bool) {
	if d.totals.Packets == 0 {
		return t, false
	}
	t = d.sweep
	for _, w := range d.texts.waiting {
		if w.until.Before(t) {
			t = w.until
		}
	}
	return t, true
}

// HandleTimeout judges what did not come, and forgets what is old.
func (d *Doctor) HandleTimeout(now time.Time) {
	d.judgeTexts(now)
	if d.totals.Packets == 0 || now.Before(d.sweep) {
		return
	}
	d.sweep = now.Add(sweepEvery)
	for k, s := range d.repeats {
		if now.Sub(s.last) > forgetAfter {
			delete(d.repeats, k)
		}
	}
	for k, s := range d.told {
		if now.Sub(s.heard) > forgetAfter {
			delete(d.told, k)
		}
	}
	for k, list := range d.claims {
		if list = slices.DeleteFunc(list, func(c claim) bool { return now.After(c.until) }); len(list) == 0 {
			delete(d.claims, k)
		} else {
			d.claims[k] = list
		}
	}
	for k, s := range d.payloads {
		if now.Sub(s.at) > reflectedFor {
			delete(d.payloads, k)
		}
	}
	d.texts.forget(now)
}
