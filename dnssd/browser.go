package dnssd

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// Times of a [Browser].
const (
	// SettleTime is how long a new instance may stay untold while parts are missing.
	SettleTime = time.Second
	// Linger is how long a change waits for others that come with it.
	Linger = 50 * time.Millisecond
	// flushGrace is the age from which a record gives way to a newer one of its
	// unique set (RFC 6762 section 10.2).
	flushGrace = time.Second
)

// InstanceMax is the most instances that a [Browser] keeps, one on two interfaces
// counting twice. RFC 6763 section 7.2 calls thousands impractical.
const InstanceMax = 1024

// BrowserConfig says what a [Browser] looks for.
type BrowserConfig struct {
	// Service and Domain say what to browse. Domain "" means local.
	Service Service
	Domain  string
	// Pinned are the instances to look up, in place of browsing. Nil means browsing.
	Pinned []FullName
	// Unicast says that DNS servers answer, and not multicast DNS: what records name in
	// the domain local is then told by name only, as otherwise is what they name outside.
	Unicast bool
	// NamesOnly leaves host, port, addresses and attributes alone: the questions for
	// them are not asked. False asks them.
	NamesOnly bool
	// IPv4 and IPv6 select the addresses to ask for. Both false means both.
	IPv4, IPv6 bool
	// Rand chooses between SRV records of equal priority in proportion to their
	// weights (RFC 6763 section 5). Nil chooses the heaviest, always the same.
	Rand *rand.Rand
}

// Browser is the engine that finds instances. It eats the changes of the records it
// has asked for, says which questions to ask, and tells what became of instances. A
// Browser is not safe for concurrent use.
type Browser struct {
	cfg       BrowserConfig
	questions questions
	records   map[recordKey][]held
	found     map[place]*found
	ev        []Event
	stats     BrowserStats
}

// BrowserStats counts what a [Browser] left aside.
type BrowserStats struct {
	// Dropped are instances over InstanceMax, and records over the bound of their set.
	Dropped int
	// Malformed are records whose data made no sense.
	Malformed int
}

// place is a folded name on one interface.
type place struct {
	ifIndex int
	name    string
}

// found is an instance on an interface.
type found struct {
	name  FullName
	ifi   string
	from  netip.Addr      // who told of it; zero is this node
	asked []mdns.Question // for the instance itself
	at    target          // the SRV record in use; its host is "" when there is none
	hostQ []mdns.Question // for that host
	since time.Time
	due   time.Time // to tell; zero when there is nothing
	told  bool
	last  Instance
}

// NewBrowser returns a Browser that has its first questions to ask.
func NewBrowser(cfg BrowserConfig) *Browser {
	if !cfg.IPv4 && !cfg.IPv6 {
		cfg.IPv4, cfg.IPv6 = true, true
	}
	if cfg.Domain = trimDot(cfg.Domain); cfg.Domain == "" {
		cfg.Domain = Local
	}
	b := &Browser{
		cfg: cfg, questions: newQuestions(),
		records: make(map[recordKey][]held), found: make(map[place]*found),
	}
	if cfg.Pinned == nil {
		b.questions.ask(mdns.Question{Name: cfg.Service.browseName(cfg.Domain), Type: dns.TypePTR})
	}
	for _, n := range cfg.Pinned {
		b.ask(instanceQuestions(n))
	}
	return b
}

// instanceQuestions ask for what RFC 6763 section 5 resolves an instance with.
func instanceQuestions(n FullName) []mdns.Question {
	name := n.Presentation()
	return []mdns.Question{{Name: name, Type: dns.TypeSRV}, {Name: name, Type: dns.TypeTXT}}
}

// HandleChange takes the change of a record. Those that were not asked for are
// ignored.
func (b *Browser) HandleChange(now time.Time, c mdns.Change) {
	q := mdns.Question{Name: c.Record.Name, Type: c.Record.Type}
	if !b.questions.asks(q) {
		return
	}
	known := b.apply(now, c)
	at := place{c.IfIndex, fold(c.Record.Name)}
	switch c.Record.Type {
	case dns.TypePTR:
		b.handlePointer(now, c, known)
	case dns.TypeSRV:
		b.handleTarget(now, at, c)
	case dns.TypeTXT:
		b.touch(now, at)
	case dns.TypeA, dns.TypeAAAA:
		for p, f := range b.found {
			if p.ifIndex == c.IfIndex && fold(f.at.host) == at.name {
				b.touch(now, p)
			}
		}
	}
}

// handlePointer takes a PTR record that lists an instance (RFC 6763 section 4). Its
// target may be of another service or domain than was asked for (section 4.2).
func (b *Browser) handlePointer(now time.Time, c mdns.Change, known bool) {
	target, ok := c.Record.Target()
	name, err := ParseName(target)
	if !ok || err != nil {
		b.stats.Malformed++
		return
	}
	at := place{c.IfIndex, fold(name.Presentation())}
	if c.Op == mdns.Remove {
		b.forget(at, c.Reason)
		return
	}
	if known {
		b.discover(now, at, c, name)
	}
}

// handleTarget takes an SRV record. For a pinned instance it is what proves that the
// instance exists.
func (b *Browser) handleTarget(now time.Time, at place, c mdns.Change) {
	f := b.found[at]
	if f == nil && b.cfg.Pinned != nil && c.Op != mdns.Remove {
		if name, err := ParseName(c.Record.Name); err == nil {
			b.discover(now, at, c, name)
			f = b.found[at]
		}
	}
	if f == nil {
		return
	}
	if b.cfg.Pinned != nil && len(b.set(at, dns.TypeSRV)) == 0 {
		b.forget(at, c.Reason)
		return
	}
	b.follow(at, f)
	b.touch(now, at)
}

// discover adds an instance, unless it is known.
func (b *Browser) discover(now time.Time, at place, c mdns.Change, name FullName) {
	if b.found[at] != nil {
		return
	}
	if len(b.found) >= InstanceMax {
		b.stats.Dropped++
		return
	}
	f := &found{name: name, ifi: c.Interface, since: now}
	if !c.Local {
		f.from = c.From
	}
	b.found[at] = f
	if b.cfg.NamesOnly {
		b.tell(at, f)
		return
	}
	f.asked = b.ask(instanceQuestions(name))
	b.follow(at, f) // its records may be here already
	b.touch(now, at)
}

// follow settles on an SRV record and asks for the addresses of its host.
func (b *Browser) follow(at place, f *found) {
	old, was := f.hostQ, f.at.host
	f.at = b.choose(at, f.at)
	if fold(f.at.host) == fold(was) {
		return
	}
	f.hostQ = nil
	if f.at.host != "" {
		if b.cfg.IPv4 {
			f.hostQ = append(f.hostQ, mdns.Question{Name: f.at.host, Type: dns.TypeA})
		}
		if b.cfg.IPv6 {
			f.hostQ = append(f.hostQ, mdns.Question{Name: f.at.host, Type: dns.TypeAAAA})
		}
	}
	f.hostQ = b.ask(f.hostQ)
	b.release(old)
}

// ask asks those questions that can be answered, and returns them. A record may name a
// host or an instance in any domain (RFC 6763 section 4.2); but names in local are of
// this link only, and what a link says must not send queries out of it.
func (b *Browser) ask(list []mdns.Question) []mdns.Question {
	list = slices.DeleteFunc(list, func(q mdns.Question) bool { return mdns.IsLocal(q.Name) == b.cfg.Unicast })
	for _, q := range list {
		b.questions.ask(q)
	}
	return list
}

// release takes questions back, and forgets the records of those that nobody asks
// any more.
func (b *Browser) release(list []mdns.Question) {
	for _, q := range list {
		if b.questions.release(q) {
			b.forgetRecords(q)
		}
	}
}

// forget removes an instance that is not listed any more.
func (b *Browser) forget(at place, reason mdns.Reason) {
	f := b.found[at]
	if f == nil {
		return
	}
	delete(b.found, at)
	if f.told {
		b.ev = append(b.ev, Event{Op: Remove, Instance: f.last.clone(), Reason: reason})
	}
	b.release(f.asked)
	b.release(f.hostQ)
}

// touch sees to it that a change is told: soon, or once a new instance is complete.
func (b *Browser) touch(now time.Time, at place) {
	f := b.found[at]
	if f == nil {
		return
	}
	due := now.Add(Linger)
	if !f.told && !b.complete(at, f) {
		due = f.since.Add(SettleTime)
	}
	if f.due.IsZero() || due.Before(f.due) {
		f.due = due
	}
}

// complete reports whether everything about an instance is known that can be.
func (b *Browser) complete(at place, f *found) bool {
	i := b.instance(at, f)
	return i.Host != "" && len(i.Addresses) > 0 && len(b.set(at, dns.TypeTXT)) > 0
}

// tell emits what has changed since the last time.
func (b *Browser) tell(at place, f *found) {
	f.due = time.Time{}
	i := b.instance(at, f)
	op := Add
	if f.told {
		if op = Update; i.Equal(f.last) {
			return
		}
	}
	f.told, f.last = true, i
	b.ev = append(b.ev, Event{Op: op, Instance: i.clone()})
}

// HandleTimeout tells what is due at now.
func (b *Browser) HandleTimeout(now time.Time) {
	var due []place
	for at, f := range b.found {
		if !f.due.IsZero() && !f.due.After(now) {
			due = append(due, at)
		}
	}
	slices.SortFunc(due, func(a, c place) int {
		return cmp.Or(b.found[a].due.Compare(b.found[c].due), cmp.Compare(a.name, c.name), a.ifIndex-c.ifIndex)
	})
	for _, at := range due {
		b.tell(at, b.found[at])
	}
}

// NextTimeout reports when HandleTimeout must next be called.
func (b *Browser) NextTimeout() (t time.Time, ok bool) {
	for _, f := range b.found {
		if !f.due.IsZero() && (!ok || f.due.Before(t)) {
			t, ok = f.due, true
		}
	}
	return t, ok
}

// Outgoing returns the questions to begin to watch and those to watch no longer,
// since it was called last.
func (b *Browser) Outgoing() (start, stop []mdns.Question) { return b.questions.changes() }

// Events returns what became of instances and forgets it.
func (b *Browser) Events() []Event {
	ev := b.ev
	b.ev = nil
	return ev
}

// Stats returns the counters.
func (b *Browser) Stats() BrowserStats { return b.stats }
