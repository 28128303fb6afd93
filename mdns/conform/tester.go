package conform

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// Port is that of multicast DNS.
const Port = 5353

// Packet is a datagram of multicast DNS.
type Packet struct {
	Data []byte
	From netip.AddrPort
	To   netip.AddrPort
	// HopLimit is the TTL of a received packet, 0 where it is not known.
	HopLimit int
	// Legacy says that it goes from or came to the port of a plain DNS resolver.
	Legacy bool
}

// heard is a packet that was understood.
type heard struct {
	Packet
	at    time.Time
	msg   *mdns.Message
	flags uint16 // the second word of the header
}

// Setting is what a Tester knows of the link and the target.
type Setting struct {
	// Target is the name of the host or instance, fully qualified.
	Target string
	// Address is where the target answers from.
	Address netip.Addr
	// Group is 224.0.0.251 or ff02::fb with the port.
	Group netip.AddrPort
	// Own is this machine's address on the link.
	Own netip.Addr
	// Unicast says that unicast answers to port 5353 reach us.
	Unicast bool
	// CanRestart says that [EventRestart] leads to something.
	CanRestart bool
	// Idle is how long the target is watched in silence; 0 means 5 s.
	Idle time.Duration
	// Rand is the source of what is random.
	Rand *rand.Rand
}

// Event is what a Tester tells: a check begins (its Verdict is then Skipped and it took
// no time), has ended, or wants the target to be restarted.
type Event struct {
	Kind   EventKind
	Result Result
}

// EventKind is what an Event tells.
type EventKind int

// The kinds of events.
const (
	EventBegin EventKind = iota
	EventResult
	// EventRestart: end the target and start it again, now.
	EventRestart
	// EventDone: there are no more checks.
	EventDone
)

// ErrSilent reports a target that does not answer at all.
var ErrSilent = errors.New("the target does not answer")

// Tester runs checks, one after the other, against one responder.
type Tester struct {
	set    Setting
	checks []Check
	subject

	now      time.Time
	deadline time.Time
	started  bool
	done     bool
	inbox    []*heard
	out      []Packet
	ev       []Event
	captured []Captured
	always   observer

	resume func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
}

// subject is what the target turned out to be.
type subject struct {
	host     string // "box.local."
	instance string // "Wiki._http._tcp.local.", or ""
	service  string // "_http._tcp.local.", or ""
	called   string // the host name that was heard last
	records  []mdns.Record
}

// errStopped unwinds a check of a Tester that was closed.
var errStopped = errors.New("conform: closed")

// NewTester returns a Tester that runs checks in their order.
func NewTester(set Setting, checks []Check) *Tester {
	if set.Idle == 0 {
		set.Idle = 5 * time.Second
	}
	t := &Tester{set: set, checks: checks}
	t.resume, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		defer func() {
			if r := recover(); r != nil && r != errStopped { //nolint:errorlint // our own value
				panic(r)
			}
		}()
		t.all()
	})
	return t
}

// Close ends a Tester that is not done.
func (t *Tester) Close() { t.stop() }

// HandlePacket takes a received packet. What this machine sent itself is ignored.
func (t *Tester) HandlePacket(now time.Time, p Packet) {
	t.advance(now)
	if p.From.Addr() == t.set.Own && p.From.Port() == Port {
		return
	}
	t.capture(p, false)
	m, err := mdns.ParseMessage(p.Data)
	if err != nil {
		t.always.malformed(t, p)
		return
	}
	h := &heard{Packet: p, at: now, msg: m, flags: binary.BigEndian.Uint16(p.Data[2:])}
	if t.isTarget(h) {
		t.always.see(h)
		t.note(h)
	}
	t.inbox = append(t.inbox, h)
	t.turn()
}

// note keeps the host name that the target says its address has.
func (t *Tester) note(h *heard) {
	for _, r := range records(h.msg) {
		a, ok := r.Addr()
		if ok && h.msg.Response && r.TTL > 0 && a == t.set.Address.WithZone("") {
			t.called = r.Name
		}
	}
}

// HandleTimeout goes on with what waited until now.
func (t *Tester) HandleTimeout(now time.Time) {
	t.advance(now)
	t.turn()
}

// NextTimeout reports when HandleTimeout must next be called.
func (t *Tester) NextTimeout() (time.Time, bool) { return t.deadline, !t.done }

// Outgoing returns the packets to send and forgets them.
func (t *Tester) Outgoing() []Packet { o := t.out; t.out = nil; return o }

// Events returns what happened and forgets it.
func (t *Tester) Events() []Event { e := t.ev; t.ev = nil; return e }

func (t *Tester) advance(now time.Time) {
	if t.now = now; !t.started {
		t.started, t.deadline = true, now
	}
}

// turn lets the check go on as long as it does not wait.
func (t *Tester) turn() {
	if t.done {
		return
	}
	if _, more := t.resume(); !more {
		t.done = true
		t.ev = append(t.ev, Event{Kind: EventDone})
	}
}

// all runs the checks.
func (t *Tester) all() {
	t.meet()
	for _, c := range t.checks {
		t.captured, t.inbox = nil, nil
		t.always = observer{}
		res := Result{Check: c.Name, Title: c.Title, Section: c.Section, Began: t.now}
		t.ev = append(t.ev, Event{EventBegin, res})
		var r report
		switch {
		case c.instance && t.instance == "":
			r.skipf("the target is a host: name an instance of a service to check this")
		case c.restart && !t.set.CanRestart:
			r.skipf("the target would have to be restarted")
		case c.unicast && !t.set.Unicast:
			r.skipf("another program of this machine takes unicast answers to port 5353")
		case t.host == "":
			r.failf("%v", ErrSilent)
		default:
			c.run(t, &r)
			t.always.report(&r)
		}
		res.Verdict, res.Notes, res.Took, res.Packets = r.verdict, r.notes(), t.now.Sub(res.Began), t.captured
		t.ev = append(t.ev, Event{EventResult, res})
	}
}

// meet learns what the target is.
func (t *Tester) meet() {
	name := dns.Fqdn(t.set.Target)
	types := []uint16{dns.TypeA, dns.TypeAAAA}
	if labels := dns.SplitDomainName(name); len(labels) >= 4 && strings.HasPrefix(labels[len(labels)-2], "_") {
		types = []uint16{dns.TypeSRV, dns.TypeTXT}
	}
	for range 3 {
		for _, typ := range types {
			t.ask(mdns.Question{Name: name, Type: typ})
		}
		t.learn(name, time.Second)
		if t.host != "" {
			break
		}
	}
	// A target that has just started is still announcing, and does not repeat within a
	// second what it has multicast (section 6).
	for range 4 {
		quiet := true
		for h := range t.hear(2500 * time.Millisecond) {
			quiet = quiet && !h.msg.Response
		}
		if quiet {
			return
		}
	}
}

// learn takes in what the target says of name.
func (t *Tester) learn(name string, wait time.Duration) {
	for h := range t.hear(wait) {
		for _, r := range records(h.msg) {
			switch {
			case !sameName(r.Name, name):
			case r.Type == dns.TypeSRV:
				t.instance = r.Name
				_, t.service, _ = cutLabel(r.Name)
				t.host, _ = r.Target()
			case r.Type == dns.TypeA || r.Type == dns.TypeAAAA:
				t.host = r.Name
			}
			t.keep(r)
		}
	}
}

func (t *Tester) keep(r mdns.Record) {
	same := func(x mdns.Record) bool {
		return sameName(x.Name, r.Name) && x.Type == r.Type && string(x.Data) == string(r.Data)
	}
	if r.TTL > 0 && !slices.ContainsFunc(t.records, same) && len(t.records) < 100 {
		t.records = append(t.records, r)
	}
}

// unique is the question for the target's unique record.
func (t *Tester) unique() mdns.Question {
	if t.instance != "" {
		return mdns.Question{Name: t.instance, Type: dns.TypeSRV}
	}
	return t.address()
}

// address is the question for the target's address.
func (t *Tester) address() mdns.Question {
	typ := dns.TypeA
	if t.set.Group.Addr().Is6() {
		typ = dns.TypeAAAA
	}
	return mdns.Question{Name: t.host, Type: typ}
}

// shared is the question for the PTR records of the service.
func (t *Tester) shared() mdns.Question { return mdns.Question{Name: t.service, Type: dns.TypePTR} }

func (t *Tester) isTarget(h *heard) bool {
	return h.From.Addr().WithZone("") == t.set.Address.WithZone("")
}

// wait gives control back until a packet comes or the time has come.
func (t *Tester) wait(until time.Time) {
	t.deadline = until
	if !t.yield(struct{}{}) {
		panic(errStopped)
	}
}

// hear yields what the target sends within d. The whole time is waited for, unless the
// loop ends.
func (t *Tester) hear(d time.Duration) iter.Seq[*heard] {
	until := t.now.Add(d)
	return func(yield func(*heard) bool) {
		for {
			for len(t.inbox) > 0 {
				h := t.inbox[0]
				t.inbox = t.inbox[1:]
				if t.isTarget(h) && !h.at.After(until) && !yield(h) {
					return
				}
			}
			if !t.now.Before(until) {
				return
			}
			t.wait(until)
		}
	}
}

// rest lets time pass.
func (t *Tester) rest(d time.Duration) {
	for range t.hear(d) { //nolint:revive // what comes meanwhile is of no interest
	}
}

// answer waits up to d for a response with a record that q asks for.
func (t *Tester) answer(q mdns.Question, d time.Duration) (*heard, mdns.Record, bool) {
	for h := range t.hear(d) {
		if !h.msg.Response {
			continue
		}
		for _, r := range h.msg.Answers {
			if answers(r, q) && r.TTL > 0 {
				return h, r, true
			}
		}
	}
	return nil, mdns.Record{}, false
}

// ask multicasts a query and returns when.
func (t *Tester) ask(list ...mdns.Question) time.Time { return t.send(query(list...)) }

func query(list ...mdns.Question) *mdns.Message {
	m := new(mdns.Message)
	for _, q := range list {
		m.Questions = append(m.Questions, mdns.AskedQuestion{Question: q, Class: dns.ClassINET})
	}
	return m
}

// send multicasts m.
func (t *Tester) send(m *mdns.Message) time.Time {
	packets, _ := m.Split(1400)
	for _, b := range packets {
		t.write(Packet{Data: b, To: t.set.Group})
	}
	return t.now
}

func (t *Tester) write(p Packet) {
	p.From = netip.AddrPortFrom(t.set.Own, Port)
	t.capture(p, true)
	t.out = append(t.out, p)
}

func (t *Tester) capture(p Packet, sent bool) {
	if len(t.captured) < PacketMax {
		t.captured = append(t.captured, Captured{p, t.now, sent})
	}
}

func (t *Tester) restart() {
	t.inbox = nil
	t.ev = append(t.ev, Event{Kind: EventRestart})
}

// records returns those of all sections.
func records(m *mdns.Message) []mdns.Record {
	return slices.Concat(m.Answers, m.Authority, m.Additional)
}

func sameName(a, b string) bool { return strings.EqualFold(a, b) }

func answers(r mdns.Record, q mdns.Question) bool {
	return sameName(r.Name, q.Name) && (r.Type == q.Type || q.Type == dns.TypeANY)
}

func cutLabel(name string) (label, rest string, ok bool) {
	parts := dns.SplitDomainName(name)
	if len(parts) < 2 {
		return name, "", false
	}
	return parts[0], dns.Fqdn(strings.Join(parts[1:], ".")), true
}

// observer sees every packet of the target during a check.
type observer struct {
	hops, ports, repeated, notAuthoritative, noZeroID, garbage int
	example                                                    string
}

func (o *observer) malformed(t *Tester, p Packet) {
	if p.From.Addr() == t.set.Address && !p.Legacy {
		o.garbage++
	}
}

func (o *observer) see(h *heard) {
	if h.HopLimit != 0 && h.HopLimit != 255 {
		o.hops++
	}
	if h.From.Port() != Port {
		o.ports++
	}
	if !h.msg.Response {
		return
	}
	if h.flags&(1<<10) == 0 {
		o.notAuthoritative++
	}
	if h.msg.ID != 0 && !h.Legacy {
		o.noZeroID++
	}
	seen := make(map[string]bool)
	for _, r := range slices.Concat(h.msg.Answers, h.msg.Additional) {
		key := fmt.Sprint(strings.ToLower(r.Name), r.Type, r.Class, string(r.Data))
		if seen[key] {
			o.repeated++
			o.example = r.String()
		}
		seen[key] = true
	}
}

// report adds what holds for all packets.
func (o *observer) report(r *report) {
	if o.hops > 0 {
		r.failf("%d packets with an IP TTL other than 255 (RFC 6762 section 11)", o.hops)
	}
	if o.ports > 0 {
		r.failf("%d packets from another port than 5353 (RFC 6762 sections 5.2, 6)", o.ports)
	}
	if o.repeated > 0 {
		r.warnf("%d records twice in one packet, such as %s", o.repeated, o.example)
	}
	if o.notAuthoritative > 0 {
		r.failf("%d responses without the AA bit (RFC 6762 section 18.4)", o.notAuthoritative)
	}
	if o.noZeroID > 0 {
		r.warnf("%d multicast DNS responses with an ID that is not 0 (RFC 6762 section 18.1)", o.noZeroID)
	}
	if o.garbage > 0 {
		r.failf("%d packets that are not DNS messages", o.garbage)
	}
}
