package mdns

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// NoteMax is the most notes that an [Engine] keeps until they are fetched; more
// are counted in [EngineStats].
const NoteMax = 1024

// NoteKind says what was decided about a packet or a record in it.
type NoteKind int

// The decisions.
const (
	// NoteSent: it goes out now.
	NoteSent NoteKind = iota + 1
	// NoteDelayed: it goes out after Delay, if nothing changes until then.
	NoteDelayed
	// NoteSuppressed: it need not go out.
	NoteSuppressed
	// NoteDropped: what came is not used, or what should go cannot.
	NoteDropped
	// NoteHeeded: what came changes what this machine does.
	NoteHeeded
)

var noteKinds = [...]string{"", "sent", "delayed", "suppressed", "dropped", "heeded"}

// String returns the decision in lower case: "delayed".
func (k NoteKind) String() string {
	if k < 1 || int(k) >= len(noteKinds) {
		return fmt.Sprintf("note %d", int(k))
	}
	return noteKinds[k]
}

// Note explains one decision of the protocol.
type Note struct {
	At        time.Time
	Interface string
	IfIndex   int
	Kind      NoteKind
	// What it is about: "answer", "probe", "announcement", "goodbye", "question",
	// "name", "packet" or "record", one that others sent.
	What string
	// Record is set for an answer, a goodbye, an announcement but for one that is
	// put off with all its records, a record that others sent, and a name that a
	// record of another host disputes. Else its Name is "".
	Record Record
	// Question is set for a probe and a question; else its Name is "".
	Question Question
	// Peer is the other host, where one is concerned.
	Peer netip.AddrPort
	// Delay is how long a delayed thing waits, from At.
	Delay time.Duration
	// Why is the reason in a few words.
	Why string
	// Section is where RFC 6762 says so: "7.1", or several: "6, 8.1". It is ""
	// where a bound of this package is the reason.
	Section string
}

// String returns n in a line: "answer box.local. A delayed 57ms: shared record (6)".
func (n Note) String() string {
	s := n.What
	switch {
	case n.Record.Name != "":
		s += " " + n.Record.Name + " " + dns.Type(n.Record.Type).String()
	case n.Question.Name != "":
		s += " " + n.Question.Name + " " + dns.Type(n.Question.Type).String()
	}
	if n.Peer.IsValid() {
		if n.Kind == NoteSent || n.Kind == NoteDelayed {
			s += " to " + n.Peer.String()
		} else {
			s += " from " + n.Peer.String()
		}
	}
	s += " " + n.Kind.String()
	if n.Delay > 0 {
		s += " " + n.Delay.Round(100*time.Microsecond).String()
	}
	s += ": " + n.Why
	if n.Section != "" {
		s += " (" + n.Section + ")"
	}
	return s
}

// cause is a row of causes; noCause is noted by somebody who knows better.
type cause int

const (
	noCause cause = iota
	causeFirstProbe
	causeProbe
	causeManyConflicts
	causeTieLost
	causeTieWon
	causeDenied
	causeBeforeProbe
	causeContradicted
	causeAnnounce
	causeManyUpdates
	causeGoodbye
	causeOnly
	causeShared
	causeSeveral
	causeTruncated
	causeDefence
	causeDefenceRecent
	causeQU
	causeDirect
	causeStale
	causeKnown
	causeKnownLater
	causeRecent
	causeAnswered
	causeShortTTL
	causeJoined
	causeLegacy
	causeLegacyOffLink
	causeFull
	causeLimited
	causeEcho
	causeBridged
	causeFirstQuestion
	causeSeries
	causeRefresh
	causeAsked
	causeUnique
	causeMalformed
	causeOffLinkQuery
	causeOffLinkResponse
	causeForeignPort
	causeUnasked
	causeDisputed
	causeDoubted
	causeConfirmed
	causeMissed
	causePoof
)

// causes are all reasons for a decision.
var causes = [...]struct{ what, why, section string }{
	causeFirstProbe:      {"probe", "a random wait of up to 250 ms, so that hosts switched on together do not collide", "8.1"},
	causeProbe:           {"probe", "is the name free?", "8.1"},
	causeManyConflicts:   {"probe", "fifteen conflicts in ten seconds: 5 s more", "8.1"},
	causeTieLost:         {"probe", "tie-break lost: waits 1 s and probes again", "8.2"},
	causeTieWon:          {"name", "tie-break won: the other host waits", "8.2"},
	causeDenied:          {"name", "the probe was answered: the name is taken", "8.1"},
	causeBeforeProbe:     {"name", "heard before the first probe: says nothing about the name", "8.1"},
	causeContradicted:    {"name", "another host has other data: probes again", "9"},
	causeAnnounce:        {"announcement", "records that are new or changed", "8.3"},
	causeManyUpdates:     {"announcement", "ten updates in a minute", "8.4"},
	causeGoodbye:         {"goodbye", "the record is withdrawn", "10.1"},
	causeOnly:            {"answer", "unique record: nobody else answers", "6"},
	causeShared:          {"answer", "shared record: other hosts may answer too", "6"},
	causeSeveral:         {"answer", "the query has several questions: other hosts may answer too", "6.3"},
	causeTruncated:       {"answer", "more known answers follow", "7.2"},
	causeDefence:         {"answer", "probe defended at once", "6, 8.1"},
	causeDefenceRecent:   {"answer", "probe defended, 250 ms after the last multicast", "6"},
	causeQU:              {"answer", "asked for by unicast and multicast lately", "5.4"},
	causeDirect:          {"answer", "asked by unicast", "5.5"},
	causeStale:           {"answer", "asked by unicast, but not multicast within a quarter of its life", "5.4"},
	causeKnown:           {"answer", "known answer with half its life or more", "7.1"},
	causeKnownLater:      {"answer", "known answer in a further packet", "7.2"},
	causeRecent:          {"answer", "multicast less than 1 s ago", "6"},
	causeAnswered:        {"answer", "another host has just given it", "7.4"},
	causeShortTTL:        {"answer", "another host gave it with less than half its life", "6.6"},
	causeJoined:          {"answer", "goes in one packet with answers that wait", "6.4"},
	causeLegacy:          {"answer", "legacy query from another port", "6.7"},
	causeLegacyOffLink:   {"packet", "legacy query whose source is not on the link", "11"},
	causeFull:            {"answer", "too many replies wait", ""},
	causeLimited:         {"answer", "the source has had too many unicast replies lately", ""},
	causeEcho:            {"packet", "one of our own that came back", "14"},
	causeBridged:         {"announcement", "our own came by another interface and flushed it", "14"},
	causeFirstQuestion:   {"question", "first of a series: 20 to 120 ms, so that hosts do not ask together", "5.2"},
	causeSeries:          {"question", "asked again at growing intervals", "5.2"},
	causeRefresh:         {"question", "80 % or more of the TTL of a record in use is over", "5.2"},
	causeAsked:           {"question", "duplicate question heard", "7.3"},
	causeUnique:          {"question", "a unique record answered it: asked next to refresh that", "5.2"},
	causeMalformed:       {"packet", "not a message that can be read", "18"},
	causeOffLinkQuery:    {"packet", "unicast query whose source is not on the link", "5.5"},
	causeOffLinkResponse: {"packet", "unicast response whose source is not on the link", "11"},
	causeForeignPort:     {"packet", "response from another port than 5353", "6"},
	causeUnasked:         {"packet", "unicast response without a QU question in the last 2 s", "6"},
	causeDisputed:        {"question", "a record may be gone: its owner is asked", "10.4"},
	causeDoubted:         {"record", "withdrawn or replaced from an address that is not its owner's: a second opinion first", "10.1, 10.2"},
	causeConfirmed:       {"record", "was in doubt and is there", "10.4"},
	causeMissed:          {"record", "another host asks for it: its owner must answer", "10.5"},
	causePoof:            {"record", "two queries of others have no answer: goes unless it is heard", "10.5"},
}

// trace gathers notes. All its methods do nothing on nil, which is how tracing is
// off: no note is made then, and nothing is allocated.
type trace struct {
	notes []Note
	lost  uint64
}

// record notes what became of a record.
func (t *trace) record(now time.Time, kind NoteKind, c cause, r Record, delay time.Duration, peer netip.AddrPort) {
	if t != nil && c != noCause {
		t.add(Note{At: now, Kind: kind, Record: r, Delay: delay, Peer: peer}, c)
	}
}

// all notes the same of several records.
func (t *trace) all(now time.Time, kind NoteKind, c cause, records []Record, delay time.Duration, peer netip.AddrPort) {
	if t == nil {
		return
	}
	for _, r := range records {
		t.record(now, kind, c, r, delay, peer)
	}
}

// missing notes of the records that are in before and not in after.
func (t *trace) missing(now time.Time, c cause, before, after []Record) {
	if t == nil {
		return
	}
	for _, r := range before {
		if len(appendNew(after[:len(after):len(after)], []Record{r})) > len(after) {
			t.record(now, NoteSuppressed, c, r, 0, netip.AddrPort{})
		}
	}
}

// question notes what became of a question or a probe.
func (t *trace) question(now time.Time, kind NoteKind, c cause, q Question, delay time.Duration) {
	if t != nil {
		t.add(Note{At: now, Kind: kind, Question: q, Delay: delay}, c)
	}
}

// probe notes what became of a probe for several names.
func (t *trace) probe(now time.Time, kind NoteKind, c cause, names []string, delay time.Duration) {
	if t == nil {
		return
	}
	for _, name := range names {
		t.question(now, kind, c, Question{name, dns.TypeANY}, delay)
	}
}

// set notes what became of a whole set of records.
func (t *trace) set(now time.Time, kind NoteKind, c cause, delay time.Duration) {
	if t != nil {
		t.add(Note{At: now, Kind: kind, Delay: delay}, c)
	}
}

// packet notes what became of a received packet.
func (t *trace) packet(now time.Time, c cause, from netip.AddrPort) {
	if t != nil {
		t.add(Note{At: now, Kind: NoteDropped, Peer: from}, c)
	}
}

func (t *trace) add(n Note, c cause) {
	if len(t.notes) >= NoteMax {
		t.lost++
		return
	}
	n.What, n.Why, n.Section = causes[c].what, causes[c].why, causes[c].section
	t.notes = append(t.notes, n)
}

// events returns the notes behind ev, as events of link, and forgets them.
func (t *trace) events(link Link, ev []Event) []Event {
	if t == nil {
		return ev
	}
	for i := range t.notes {
		n := &t.notes[i]
		n.Interface, n.IfIndex = link.Name, link.Index
		ev = append(ev, Event{Kind: EventNote, Interface: link.Name, IfIndex: link.Index, Note: n})
	}
	t.notes = nil
	return ev
}

// untraced returns how many notes were lost.
func (t *trace) untraced() uint64 {
	if t == nil {
		return 0
	}
	return t.lost
}

// Trace begins or ends the explaining of decisions: while it is on, Events has an
// EventNote for each. It is off at first.
func (e *Engine) Trace(on bool) {
	if on == (e.trace != nil) {
		return
	}
	e.trace = nil
	if on {
		e.trace = new(trace)
	}
	e.prober.trace, e.announcer.trace, e.responder.trace, e.querier.trace = e.trace, e.trace, e.trace, e.trace
	e.cache.trace = e.trace
}

// Trace begins or ends the explaining of decisions on all interfaces; see
// [Engine.Trace].
func (h *Host) Trace(on bool) {
	h.traced = on
	for _, e := range h.engines {
		e.Trace(on)
	}
}

// ignored returns why a response of such a sender is not believed.
func (by asker) ignored() cause {
	switch {
	case by.from.Port() != Port:
		return causeForeignPort
	case !by.onLink:
		return causeOffLinkResponse
	}
	return causeUnasked
}
