package mdns

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"
)

// Port is the UDP port of multicast DNS (RFC 6762 section 3).
const Port = 5353

// The groups of multicast DNS (RFC 6762 section 3). They are tables, not settings.
var (
	group4 = netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 251}), Port)
	group6 = netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 15: 0xfb}), Port)
)

// unicastWindow is how long after a QU question a unicast response is believed
// (RFC 6762 section 6).
const unicastWindow = 2 * time.Second

// Packet is one datagram.
type Packet struct {
	Data []byte
	// From is the sender of a received packet.
	From netip.AddrPort
	// To is where a packet goes. In a received one the port means nothing.
	To netip.AddrPort
	// IfIndex is the interface it came by or goes by.
	IfIndex int
}

// Link is one interface as the protocol sees it.
type Link struct {
	Index int
	Name  string
	// MTU is the interface's MTU in bytes; 0 means 1500.
	MTU int
	// Addresses are the interface's own, each with its subnet.
	Addresses []netip.Prefix
	// IPv4 and IPv6 say which groups are joined.
	IPv4, IPv6 bool
	// Unicast says that unicast datagrams to port 5353 reach us. Without it no
	// QU questions are asked (RFC 6762 section 15.1).
	Unicast bool
	// Shared says that another program of this machine was bound to port 5353
	// when the first interface was opened: unicast answers go to one of the two
	// (RFC 6762 section 15.1). It explains Unicast and changes nothing itself.
	Shared bool
}

// limit returns the largest message that fits one frame (RFC 6762 section 17).
func (l Link) limit() int {
	mtu, header := l.MTU, 20+8
	if mtu == 0 {
		mtu = 1500
	}
	if l.IPv6 {
		header = 40 + 8
	}
	return min(max(mtu-header, 512), maxMessage)
}

// onLink reports whether a is in a subnet of the interface (RFC 6762 section 11).
func (l Link) onLink(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsLinkLocalUnicast() && a.Is6() {
		return true
	}
	return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Contains(a) })
}

// has reports whether a is an address of the interface.
func (l Link) has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr().WithZone("") == a })
}

// EngineStats counts what an [Engine] could not use or send.
type EngineStats struct {
	// Malformed messages and Skipped records could not be read; Ignored messages
	// had to be: a response from another port, an unasked unicast response.
	Malformed, Skipped, Ignored uint64
	// Unsent records were too long, or found the replies' queue full.
	Unsent uint64
	// Limited unicast replies were over [UnicastRate] or its like: they went to the
	// group or, for a legacy or direct query, nowhere. Cut packets were too many for
	// one unicast reply.
	Limited, Cut uint64
	// Hurried replies did not wait for further known answers, because [DeferredMax]
	// others did.
	Hurried uint64
	// Refused questions were too many.
	Refused uint64
	// Replies that wait now, Deferred ones of them for further known answers, and
	// Questions that are asked now.
	Replies, Deferred, Questions int
	// Untraced notes were more than [NoteMax] at a time.
	Untraced uint64
	Cache    CacheStats
}

// Engine is multicast DNS on one interface. An Engine is not safe for concurrent
// use.
type Engine struct {
	link      Link
	prober    *Prober
	announcer *Announcer
	responder *Responder
	querier   *Querier
	cache     *Cache
	sets      []*published
	ours      func(Record) bool
	askedQU   time.Time
	stats     EngineStats
	out       []Packet
	ev        []Event
	trace     *trace
}

type publishedState int

const (
	probing publishedState = iota
	active
)

// published is a set of records on one link.
type published struct {
	set     int
	records []Record
	state   publishedState
	known   bool // was announced before, though it may be probed for again
}

// NewEngine returns an Engine for link. ours tells which records are this
// machine's on whatever interface, so that they are never taken for a conflict;
// nil means none. Delays are drawn from rnd.
func NewEngine(link Link, rnd *rand.Rand, ours func(Record) bool) *Engine {
	if ours == nil {
		ours = func(Record) bool { return false }
	}
	e := &Engine{
		link: link, ours: ours,
		prober: NewProber(rnd, link.Unicast), announcer: NewAnnouncer(),
		responder: NewResponder(rnd), querier: NewQuerier(rnd, link.Unicast),
	}
	e.cache = NewCache(rnd, e.querier.wants)
	return e
}

// Publish begins to own records: unique names are probed for, then all is
// announced (RFC 6762 section 8).
func (e *Engine) Publish(now time.Time, set int, records []Record) {
	p := &published{set: set, records: records}
	e.sets = append(slices.DeleteFunc(e.sets, func(x *published) bool { return x.set == set }), p)
	e.probe(now, p)
	e.settle(now)
}

// probe puts p to the beginning of its life.
func (e *Engine) probe(now time.Time, p *published) {
	e.announcer.Cancel(p.set)
	e.responder.Remove(p.set)
	p.state = probing
	var unique []Record
	for _, r := range p.records {
		if needsProbe(r) {
			unique = append(unique, r)
		}
	}
	if len(unique) == 0 {
		e.activate(now, p)
		return
	}
	e.prober.Start(now, p.set, unique)
}

// activate begins to answer for p and to announce it.
func (e *Engine) activate(now time.Time, p *published) {
	p.state, p.known = active, true
	e.responder.Set(p.set, p.records)
	e.announcer.Start(now, p.set)
}

// Update changes the records of a set. Names that are ours need no new probe: the
// change is announced, and what has no successor of its name and type is withdrawn
// (RFC 6762 section 8.4). A unique name that is new puts the set back to probing.
func (e *Engine) Update(now time.Time, set int, records []Record) {
	p := e.find(set)
	if p == nil {
		e.Publish(now, set, records)
		return
	}
	old := p.records
	p.records = records
	gone := slices.DeleteFunc(slices.Clone(old), func(r Record) bool {
		return slices.ContainsFunc(records, func(n Record) bool {
			return n.identity() == r.identity() || r.Flush && n.rrset() == r.rrset()
		})
	})
	if p.state == probing || slices.ContainsFunc(records, func(n Record) bool { return needsProbe(n) && !claims(old, n.Name) }) {
		e.probe(now, p)
	} else {
		e.responder.Set(set, records)
		e.announcer.Start(now, set)
	}
	if p.known {
		e.goodbye(now, gone)
	}
	e.settle(now)
}

// claims reports whether records make name ours alone.
func claims(records []Record, name string) bool {
	return slices.ContainsFunc(records, func(r Record) bool { return needsProbe(r) && sameName(r.Name, name) })
}

// Withdraw gives the records of a set up, with a goodbye when they had been
// announced (RFC 6762 section 10.1).
func (e *Engine) Withdraw(now time.Time, set int) {
	p := e.find(set)
	if p == nil {
		return
	}
	e.prober.Cancel(set)
	e.announcer.Cancel(set)
	e.responder.Remove(set)
	e.sets = slices.DeleteFunc(e.sets, func(x *published) bool { return x == p })
	if p.known {
		e.goodbye(now, p.records)
	}
	e.settle(now)
}

// goodbye multicasts records with TTL 0, but for those that another set still has.
func (e *Engine) goodbye(now time.Time, records []Record) {
	m := &Message{Response: true}
	for _, r := range records {
		if _, still := e.responder.owned.find(r.identity()); !still {
			r.TTL = 0
			m.Answers = append(m.Answers, r)
		}
	}
	e.trace.all(now, NoteSent, causeGoodbye, m.Answers, 0, netip.AddrPort{})
	if len(m.Answers) > 0 {
		e.event(Event{Kind: EventGoodbye, Name: m.Answers[0].Name})
		e.multicast(m)
	}
}

// Restart begins anew after the link was away: everything is probed for again,
// the cache is cut to a few seconds and the questions are asked at once (RFC 6762
// sections 8.3, 10.3).
func (e *Engine) Restart(now time.Time) {
	e.cache.Shorten(now, RestartTTL)
	for _, p := range e.sets {
		e.probe(now, p)
	}
	e.querier.Restart(now)
	e.settle(now)
}

// Ask adds a user of q and reports false when there are too many questions.
func (e *Engine) Ask(now time.Time, q Question) bool { return e.querier.Start(now, q) }

// Unask takes a user of q away.
func (e *Engine) Unask(q Question) { e.querier.Stop(q) }

// Lookup returns what answers q now: cached records, and our own that are active.
func (e *Engine) Lookup(q Question) []Change {
	found := e.cache.Lookup(q)
	for _, r := range e.responder.owned.lookup(q) {
		found = append(found, Change{Op: Add, Record: r, From: e.own(), Local: true})
	}
	for i := range found {
		found[i].Interface, found[i].IfIndex = e.link.Name, e.link.Index
	}
	return found
}

// own returns an address of the interface to name as the source of own records.
func (e *Engine) own() netip.Addr {
	for _, p := range e.link.Addresses {
		return p.Addr()
	}
	return netip.Addr{}
}

// HandlePacket takes a packet of another host.
func (e *Engine) HandlePacket(now time.Time, p Packet) {
	m, err := ParseMessage(p.Data)
	if err != nil {
		e.stats.Malformed++
		e.trace.packet(now, causeMalformed, p.From)
		return
	}
	e.stats.Skipped += uint64(m.Skipped)
	by := asker{from: p.From, direct: !p.To.Addr().IsMulticast(), onLink: e.link.onLink(p.From.Addr())}
	if m.Response {
		e.handleResponse(now, m, by)
	} else {
		e.handleQuery(now, m, by)
	}
	e.settle(now)
}

func (e *Engine) handleQuery(now time.Time, m *Message, by asker) {
	if by.direct && !by.onLink {
		e.stats.Ignored++ // section 5.5
		e.trace.packet(now, causeOffLinkQuery, by.from)
		return
	}
	e.prober.HandleQuery(now, m, by.from.Addr())
	e.responder.HandleQuery(now, m, by)
	if by.from.Port() == Port && !by.direct {
		e.querier.HandleQuery(now, m, func(q Question) []Record { return e.cache.known(now, q) })
		if !e.link.has(by.from.Addr()) {
			e.cache.HandleQuery(now, m, by.from.Addr())
		}
	}
}

// handleResponse believes a response from port 5353 that came to the group, or by
// unicast from this link soon after a QU question (RFC 6762 sections 6, 11).
func (e *Engine) handleResponse(now time.Time, m *Message, by asker) {
	unasked := by.direct && (!by.onLink || e.askedQU.IsZero() || now.Sub(e.askedQU) > unicastWindow)
	if by.from.Port() != Port || unasked {
		e.stats.Ignored++
		e.trace.packet(now, by.ignored(), by.from)
		return
	}
	from := by.from.Addr()
	e.prober.HandleResponse(now, m, from, e.ours)
	e.defend(now, m, from)
	e.responder.HandleResponse(now, m)
	for _, r := range m.records() {
		e.event(Event{Kind: EventHeard, Heard: &Heard{r, e.link.Name, e.link.Index, by.from}})
		if !r.Flush || !e.mine(r) {
			e.cache.Insert(now, from, r)
		}
	}
	e.querier.HandleResponse(now, m)
}

// mine reports whether the record is active here, sent by another responder of
// this machine for instance.
func (e *Engine) mine(r Record) bool { _, ok := e.responder.owned.find(r.identity()); return ok }

// defend puts sets that m contradicts back to probing, which settles who keeps the
// name (RFC 6762 section 9).
func (e *Engine) defend(now time.Time, m *Message, from netip.Addr) {
	for _, r := range m.records() {
		set, ok := e.responder.conflict(r)
		if !ok || e.ours(r) {
			continue
		}
		if p := e.find(set); p != nil && p.state == active {
			e.event(Event{Kind: EventConflict, Set: set, Name: r.Name, From: from})
			e.trace.record(now, NoteHeeded, causeContradicted, r, 0, netip.AddrPortFrom(from, Port))
			e.probe(now, p)
		}
	}
}

// HandleEcho takes a response of our own that came back by another interface: the
// two are bridged, and what it flushed from the caches of this segment is said
// again, unless it was said within the last second (RFC 6762 section 14).
func (e *Engine) HandleEcho(now time.Time, m *Message) {
	if !m.Response {
		return
	}
	var again []Record
	for _, r := range m.Answers {
		if r.Flush && r.TTL > 0 && !e.mine(r) {
			again = appendNew(again, e.responder.owned.lookup(Question{r.Name, r.Type}))
		}
	}
	if len(again) > 0 {
		e.trace.all(now, NoteSent, causeBridged, again, 0, netip.AddrPort{})
		e.responder.Multicast(now, again)
	}
	e.settle(now)
}

// HandleTimeout does what is due.
func (e *Engine) HandleTimeout(now time.Time) {
	e.prober.HandleTimeout(now)
	e.responder.HandleTimeout(now)
	e.cache.HandleTimeout(now)
	e.settle(now)
	e.querier.disputed = e.cache.disputed()
	e.querier.HandleTimeout(now, e.cache.due(), func(q Question) []Record { return e.cache.known(now, q) })
	e.settle(now)
}

// NextTimeout reports when HandleTimeout has something to do.
func (e *Engine) NextTimeout() (t time.Time, ok bool) {
	for _, part := range []interface{ NextTimeout() (time.Time, bool) }{e.prober, e.announcer, e.responder, e.querier, e.cache} {
		next, _ := part.NextTimeout()
		t = earlier(t, next)
	}
	return t, !t.IsZero()
}

// settle carries what the parts decided to the other parts and to the outside.
func (e *Engine) settle(now time.Time) {
	e.settleProbes(now)
	e.announcer.HandleTimeout(now)
	for _, a := range e.announcer.take() {
		e.announce(now, a)
	}
	for _, r := range e.responder.take() {
		e.respond(r)
	}
	for _, m := range e.prober.Outgoing() {
		e.ask(now, m)
	}
	for _, m := range e.querier.Outgoing() {
		e.ask(now, m)
	}
	for _, c := range e.cache.take() {
		if c.Op == Remove && !e.cache.has(Question{c.Record.Name, c.Record.Type}) {
			rest := QueryInterval
			if c.Reason == Poof {
				rest = poofRest // others ask in vain: so would we (section 10.5)
			}
			e.querier.resume(now, c.Record, rest)
		}
		e.change(c)
	}
}

func (e *Engine) settleProbes(now time.Time) {
	for _, o := range e.prober.take() {
		ev := Event{Set: o.set, Name: o.name, From: o.from}
		switch o.kind {
		case probed:
			ev.Kind = EventProbe
		case deferred:
			ev.Kind = EventDeferred
		case lost:
			ev.Kind = EventLost
			e.sets = slices.DeleteFunc(e.sets, func(p *published) bool { return p.set == o.set })
		case won:
			if p := e.find(o.set); p != nil {
				e.activate(now, p)
			}
			continue
		}
		e.event(ev)
	}
}

// announce multicasts the records of a set, and tells of them when they are new.
func (e *Engine) announce(now time.Time, a announced) {
	p := e.find(a.set)
	if p == nil || len(p.records) == 0 {
		return
	}
	e.trace.all(now, NoteSent, causeAnnounce, p.records, 0, netip.AddrPort{})
	e.responder.Multicast(now, p.records)
	e.event(Event{Kind: EventAnnounce, Set: p.set, Name: p.records[0].Name})
}

func (e *Engine) find(set int) *published {
	for _, p := range e.sets {
		if p.set == set {
			return p
		}
	}
	return nil
}

func (e *Engine) change(c Change) {
	c.Interface, c.IfIndex = e.link.Name, e.link.Index
	e.event(Event{Kind: EventChange, Change: &c})
}

func (e *Engine) event(ev Event) {
	ev.Interface, ev.IfIndex = e.link.Name, e.link.Index
	e.ev = append(e.ev, ev)
}

// ask multicasts a query and remembers that unicast answers may come.
func (e *Engine) ask(now time.Time, m *Message) {
	if slices.ContainsFunc(m.Questions, func(q AskedQuestion) bool { return q.Unicast }) {
		e.askedQU = now
	}
	e.multicast(m)
}

func (e *Engine) respond(r response) {
	switch {
	case r.legacy:
		e.out = append(e.out, Packet{Data: r.m.legacy(512), To: r.to, IfIndex: e.link.Index})
	case r.to.IsValid():
		packets, dropped := r.m.Split(e.link.limit())
		e.stats.Unsent += uint64(dropped)
		if len(packets) > r.most {
			e.stats.Cut += uint64(len(packets) - r.most)
			packets = packets[:r.most]
		}
		for _, b := range packets {
			e.out = append(e.out, Packet{Data: b, To: r.to, IfIndex: e.link.Index})
		}
	default:
		e.multicast(r.m)
	}
}

// multicast sends m to the groups of the link.
func (e *Engine) multicast(m *Message) {
	packets, dropped := m.Split(e.link.limit())
	e.stats.Unsent += uint64(dropped)
	for _, b := range packets {
		if e.link.IPv4 {
			e.out = append(e.out, Packet{Data: b, To: group4, IfIndex: e.link.Index})
		}
		if e.link.IPv6 {
			e.out = append(e.out, Packet{Data: b, To: group6, IfIndex: e.link.Index})
		}
	}
}

// Outgoing returns the packets to send and forgets them.
func (e *Engine) Outgoing() []Packet { out := e.out; e.out = nil; return out }

// Events returns what happened and forgets it.
func (e *Engine) Events() []Event { ev := e.ev; e.ev = nil; return e.trace.events(e.link, ev) }

// Stats returns the counters.
func (e *Engine) Stats() EngineStats {
	s := e.stats
	s.Unsent += e.responder.dropped
	s.Limited, s.Hurried = e.responder.limit.refused, e.responder.hurried
	s.Replies, s.Deferred = len(e.responder.pending), e.responder.waiting((*reply).isDeferred)
	s.Refused, s.Questions = e.querier.refused, len(e.querier.asking)
	s.Untraced = e.trace.untraced()
	s.Cache = e.cache.Stats()
	return s
}
