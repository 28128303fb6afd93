package mdns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SetMax is the most sets of records that one [Host] publishes.
const SetMax = 1024

// Host is multicast DNS of one machine: an [Engine] for each interface, and the
// names that they share. What one interface sends and another hears is never a
// conflict (RFC 6762 section 14); a conflict on any interface is one on all.
// A Host is not safe for concurrent use.
type Host struct {
	rnd       *rand.Rand
	engines   []*Engine // by interface index
	sets      []*hosted
	nextSet   int
	questions []counted
	echoes    echoes
	gone      []Packet // last words of removed interfaces
	ev        []Event
	traced    bool
}

// hosted is a set of records on all interfaces.
type hosted struct {
	set     int
	records []Record
	host    bool // the addresses of each interface under records' name
	label   string
	name    string
	number  int              // behind the label, from 2
	up      map[int][]Record // what is announced, by interface
	claimed bool
}

type counted struct {
	q Question
	n int
}

// NewHost returns a Host without interfaces. Delays are drawn from rnd.
func NewHost(rnd *rand.Rand) *Host { return &Host{rnd: rnd, nextSet: 1} }

// SetLink adds an interface, or tells what has changed about one. A new interface,
// and one that is reached by another family now, probes, announces and asks; new
// addresses alone are announced under the names that are ours already.
func (h *Host) SetLink(now time.Time, link Link) {
	if e := h.engine(link.Index); e != nil {
		old := e.link
		e.link = link
		e.prober.unicast, e.querier.unicast = link.Unicast, link.Unicast
		for _, s := range h.sets {
			if s.host && !slices.Equal(old.Addresses, link.Addresses) {
				h.refresh(now, e, s)
			}
		}
		if link.IPv4 && !old.IPv4 || link.IPv6 && !old.IPv6 {
			e.Restart(now)
		}
		h.collect(now)
		return
	}
	e := NewEngine(link, h.rnd, h.ours)
	e.Trace(h.traced)
	h.engines = append(h.engines, e)
	slices.SortFunc(h.engines, func(a, b *Engine) int { return a.link.Index - b.link.Index })
	for _, s := range h.sets {
		h.refresh(now, e, s)
	}
	for _, c := range h.questions {
		e.Ask(now, c.q)
	}
	h.collect(now)
}

// RemoveLink forgets an interface and, as link-down, all that was heard there.
func (h *Host) RemoveLink(now time.Time, index int) {
	e := h.engine(index)
	if e == nil {
		return
	}
	for _, s := range h.sets {
		h.local(e, s, nil, LinkDown)
		e.Withdraw(now, s.set)
	}
	e.cache.Clear(LinkDown)
	e.settle(now)
	h.gone = append(h.gone, e.Outgoing()...)
	h.ev = append(h.ev, e.Events()...)
	h.engines = slices.DeleteFunc(h.engines, func(x *Engine) bool { return x == e })
	h.collect(now)
}

// LinkLost tells that the carrier of an interface is gone: what was heard there
// goes in a few seconds, should it not come back (RFC 6762 section 10.3).
func (h *Host) LinkLost(now time.Time, index int) {
	if e := h.engine(index); e != nil {
		e.cache.Shorten(now, LostTTL)
	}
}

// Restart begins anew on an interface whose carrier came back, or on all (index 0)
// after the machine slept.
func (h *Host) Restart(now time.Time, index int) {
	for _, e := range h.engines {
		if index == 0 || e.link.Index == index {
			e.Restart(now)
		}
	}
	h.collect(now)
}

// Links returns the interfaces.
func (h *Host) Links() []Link {
	var links []Link
	for _, e := range h.engines {
		links = append(links, e.link)
	}
	return links
}

func (h *Host) engine(index int) *Engine {
	for _, e := range h.engines {
		if e.link.Index == index {
			return e
		}
	}
	return nil
}

// Publish begins to own records on all interfaces and returns the number of the
// set. Names of records with Flush set are probed for first. EventClaimed tells
// that the set is announced everywhere; EventLost that somebody has its name, and
// then the set is gone.
func (h *Host) Publish(now time.Time, records []Record) (set int, err error) {
	records, err = canonicalRecords(records)
	if err != nil {
		return 0, fmt.Errorf("mdns: publish: %w", err)
	}
	return h.add(now, &hosted{records: records, name: records[0].Name})
}

func canonicalRecords(records []Record) ([]Record, error) {
	if len(records) == 0 {
		return nil, fmt.Errorf("no records: %w", ErrName)
	}
	out := make([]Record, 0, len(records))
	for _, r := range records {
		r, err := canonicalRecord(r)
		if err != nil {
			return nil, err
		}
		out = appendNew(out, []Record{r})
	}
	return out, nil
}

// ClaimHost begins to claim label.local for the addresses of all interfaces, each
// on its own (RFC 6762 section 6.2), and returns the number of the set. On a
// conflict it goes on with label-2, label-3 and so on, which EventRenamed tells.
func (h *Host) ClaimHost(now time.Time, label string) (set int, err error) {
	return h.claimHost(now, label, 1)
}

// claimHost is ClaimHost that begins with label-number.
func (h *Host) claimHost(now time.Time, label string, number int) (set int, err error) {
	s := &hosted{host: true, label: label, number: number}
	if s.name, err = s.numbered(); err != nil || strings.HasPrefix(s.name, ".") {
		return 0, fmt.Errorf("mdns: claim %q: %w", label, ErrName)
	}
	return h.add(now, s)
}

// numbered returns the host name of the present number. The label is cut so that
// it fits with its number; a space would not do in a host name, hence the hyphen.
func (s *hosted) numbered() (string, error) {
	label := s.label
	if s.number > 1 {
		suffix := "-" + strconv.Itoa(s.number)
		label = label[:min(len(label), 63-len(suffix))] + suffix
	}
	if label == "" || strings.ContainsAny(label, ".\\") {
		return "", ErrName
	}
	return canonicalName(label + ".local.")
}

func (h *Host) add(now time.Time, s *hosted) (int, error) {
	if len(h.sets) >= SetMax {
		return 0, fmt.Errorf("mdns: %d sets of records are published already", SetMax)
	}
	s.set, s.up = h.nextSet, make(map[int][]Record)
	h.nextSet++
	h.sets = append(h.sets, s)
	for _, e := range h.engines {
		h.refresh(now, e, s)
	}
	h.collect(now)
	return s.set, nil
}

// refresh brings the records of s to e.
func (h *Host) refresh(now time.Time, e *Engine, s *hosted) {
	records := s.on(e.link)
	switch had := e.find(s.set); {
	case len(records) == 0:
		h.local(e, s, nil, Goodbye)
		e.Withdraw(now, s.set)
	case had == nil || !sameRecords(had.records, records):
		e.Update(now, s.set, records)
	}
}

func sameRecords(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(x, y Record) bool { return x.identity() == y.identity() && x.TTL == y.TTL })
}

// on returns the records of s for one link.
func (s *hosted) on(link Link) []Record {
	if !s.host {
		return s.records
	}
	var names, reverse []Record
	for _, p := range link.Addresses {
		names = append(names, addressRecord(s.name, p.Addr()))
		if r, err := reverseRecord(s.name, p.Addr()); err == nil {
			reverse = append(reverse, r)
		}
	}
	return append(names, reverse...)
}

// Update changes the records of a set; see [Engine.Update].
func (h *Host) Update(now time.Time, set int, records []Record) error {
	records, err := canonicalRecords(records)
	if err != nil {
		return fmt.Errorf("mdns: update: %w", err)
	}
	s := h.find(set)
	if s == nil || s.host {
		return fmt.Errorf("mdns: update: set %d is not published", set)
	}
	s.records = records
	for _, e := range h.engines {
		h.refresh(now, e, s)
	}
	h.collect(now)
	return nil
}

// Withdraw gives a set up and says goodbye for it.
func (h *Host) Withdraw(now time.Time, set int) {
	s := h.find(set)
	if s == nil {
		return
	}
	for _, e := range h.engines {
		h.local(e, s, nil, Goodbye)
		e.Withdraw(now, set)
	}
	h.sets = slices.DeleteFunc(h.sets, func(s *hosted) bool { return s.set == set })
	h.collect(now)
}

// Goodbye gives everything up.
func (h *Host) Goodbye(now time.Time) {
	for len(h.sets) > 0 {
		h.Withdraw(now, h.sets[0].set)
	}
	for _, c := range slices.Clone(h.questions) {
		for range c.n {
			h.Unask(c.q)
		}
	}
}

// Ask begins to ask q on all interfaces and returns what is known. Each Ask needs
// an Unask.
func (h *Host) Ask(now time.Time, q Question) (known []Change, err error) {
	if q.Name, err = canonicalName(q.Name); err != nil {
		return nil, fmt.Errorf("mdns: question: %w", err)
	}
	i := slices.IndexFunc(h.questions, func(c counted) bool { return c.q.Type == q.Type && sameName(c.q.Name, q.Name) })
	if i < 0 {
		if len(h.questions) >= QuestionMax {
			return nil, fmt.Errorf("mdns: %d questions are asked already", QuestionMax)
		}
		h.questions = append(h.questions, counted{q: q})
		i = len(h.questions) - 1
	}
	h.questions[i].n++
	for _, e := range h.engines {
		e.Ask(now, q)
		known = append(known, e.Lookup(q)...)
	}
	return known, nil
}

// Unask takes one user of q away.
func (h *Host) Unask(q Question) {
	name, err := canonicalName(q.Name)
	if err != nil {
		return
	}
	q.Name = name
	h.questions = slices.DeleteFunc(h.questions, func(c counted) bool {
		return c.n == 1 && c.q.Type == q.Type && sameName(c.q.Name, name)
	})
	for i, c := range h.questions {
		if c.q.Type == q.Type && sameName(c.q.Name, name) {
			h.questions[i].n--
		}
	}
	for _, e := range h.engines {
		e.Unask(q)
	}
}

// Name returns the name of a set: of a host claim the present host name.
func (h *Host) Name(set int) string {
	if s := h.find(set); s != nil {
		return s.name
	}
	return ""
}

// numberOf returns what a host claim was asked for and the number it has come to.
func (h *Host) numberOf(set int) (label string, number int) {
	if s := h.find(set); s != nil {
		return s.label, s.number
	}
	return "", 1
}

func (h *Host) find(set int) *hosted {
	for _, s := range h.sets {
		if s.set == set {
			return s
		}
	}
	return nil
}

// ours reports whether r is a record of this machine: one that any interface
// publishes or proposes, or an address of this machine under a name it claims.
func (h *Host) ours(r Record) bool {
	id := r.identity()
	for _, e := range h.engines {
		for _, p := range e.sets {
			if slices.ContainsFunc(p.records, func(own Record) bool { return own.identity() == id }) {
				return true
			}
		}
	}
	a, ok := r.Addr()
	return ok && h.hasAddress(a)
}

func (h *Host) hasAddress(a netip.Addr) bool {
	return slices.ContainsFunc(h.engines, func(e *Engine) bool { return e.link.has(a) })
}

// HandlePacket takes a received packet. Packets of our own are told by their
// bytes: a stale one that a switch or an access point hands back must not look
// like another host that wants our name.
func (h *Host) HandlePacket(now time.Time, p Packet) {
	e := h.engine(p.IfIndex)
	if e == nil {
		return
	}
	if by, echo := h.echoes.heard(now, p, h.hasAddress(p.From.Addr())); echo {
		e.trace.packet(now, causeEcho, p.From)
		if by != p.IfIndex {
			if m, err := ParseMessage(p.Data); err == nil {
				e.HandleEcho(now, m)
			}
		}
	} else {
		e.HandlePacket(now, p)
	}
	h.collect(now)
}

// HandleTimeout does what is due.
func (h *Host) HandleTimeout(now time.Time) {
	for _, e := range h.engines {
		e.HandleTimeout(now)
	}
	h.collect(now)
}

// NextTimeout reports when HandleTimeout has something to do.
func (h *Host) NextTimeout() (t time.Time, ok bool) {
	for _, e := range h.engines {
		next, _ := e.NextTimeout()
		t = earlier(t, next)
	}
	return t, !t.IsZero()
}

// Outgoing returns the packets to send and forgets them.
func (h *Host) Outgoing() []Packet {
	out := h.gone
	h.gone = nil
	for _, e := range h.engines {
		out = append(out, e.Outgoing()...)
	}
	return out
}

// Events returns what happened and forgets it.
func (h *Host) Events() []Event { ev := h.ev; h.ev = nil; return ev }

// Stats returns the counters of one interface.
func (h *Host) Stats(index int) (EngineStats, bool) {
	e := h.engine(index)
	if e == nil {
		return EngineStats{}, false
	}
	return e.Stats(), true
}

// collect takes the events of all engines, and acts on lost and won names until
// nothing more follows.
func (h *Host) collect(now time.Time) {
	for again := true; again; {
		again = false
		for _, e := range slices.Clone(h.engines) {
			for _, ev := range e.Events() {
				again = true
				h.digest(now, e, ev)
			}
		}
	}
	for _, e := range h.engines {
		for _, p := range e.out {
			h.echoes.sent(now, p)
		}
	}
}

func (h *Host) digest(now time.Time, e *Engine, ev Event) {
	s := h.find(ev.Set)
	switch {
	case ev.Kind == EventLost && s != nil:
		h.lose(now, s, ev)
		return
	case ev.Kind == EventConflict && s != nil:
		s.claimed = false
		h.local(e, s, nil, Flushed)
	}
	h.ev = append(h.ev, ev)
	if ev.Kind == EventAnnounce && s != nil {
		h.announced(e, s)
	}
}

// announced notes that s is announced on e, and claimed when it is on all.
func (h *Host) announced(e *Engine, s *hosted) {
	if p := e.find(s.set); p != nil {
		h.local(e, s, p.records, Flushed)
	}
	if s.claimed {
		return
	}
	for _, x := range h.engines {
		if x.find(s.set) != nil && s.up[x.link.Index] == nil {
			return
		}
	}
	s.claimed = true
	h.ev = append(h.ev, Event{Kind: EventClaimed, Set: s.set, Name: s.name})
}

// local tells what has become of our own records on e: now they are these.
func (h *Host) local(e *Engine, s *hosted, now []Record, why Reason) {
	tell := func(op Op, why Reason, from, less []Record) {
		for _, r := range from {
			if slices.ContainsFunc(less, func(x Record) bool { return x.identity() == r.identity() }) {
				continue
			}
			c := Change{Op: op, Reason: why, Record: r, Interface: e.link.Name, IfIndex: e.link.Index, From: e.own(), Local: true}
			h.ev = append(h.ev, Event{Kind: EventChange, Set: s.set, Interface: c.Interface, IfIndex: c.IfIndex, Change: &c})
		}
	}
	had := s.up[e.link.Index]
	tell(Add, Answered, now, had)
	tell(Remove, why, had, now)
	if s.up[e.link.Index] = now; len(now) == 0 {
		delete(s.up, e.link.Index)
	}
}

// lose gives the name of s up on all interfaces; a host claim goes on under the
// next name (RFC 6762 section 9).
func (h *Host) lose(now time.Time, s *hosted, ev Event) {
	h.ev = append(h.ev, Event{Kind: EventConflict, Set: s.set, Interface: ev.Interface, IfIndex: ev.IfIndex, Name: ev.Name, From: ev.From})
	for _, e := range h.engines {
		h.local(e, s, nil, Flushed)
		e.Withdraw(now, s.set)
	}
	s.claimed = false
	if !s.host {
		h.sets = slices.DeleteFunc(h.sets, func(x *hosted) bool { return x == s })
		ev.Name = s.name
		h.ev = append(h.ev, ev)
		return
	}
	previous := s.name
	s.number++
	name, err := s.numbered()
	if err != nil { // cannot be: the label was fit before
		name = previous
	}
	s.name = name
	h.ev = append(h.ev, Event{Kind: EventRenamed, Set: s.set, Name: s.name, Previous: previous, From: ev.From})
	for _, e := range h.engines {
		h.refresh(now, e, s)
	}
}
