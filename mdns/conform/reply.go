package conform

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

const (
	// tooLate is when an answer counts as missing: 120 ms, half a second of gathering,
	// and room for slow machines.
	tooLate = 750 * time.Millisecond
	// between lets the second go by in which a record is not multicast again.
	between = 1100 * time.Millisecond
	// slack is what the way there and back may take.
	slack = 5 * time.Millisecond
)

// isGroup reports whether h was multicast.
func (t *Tester) isGroup(h *heard) bool { return h.To.Addr() == t.set.Group.Addr() }

// uniqueReply: a responder that alone can answer does so within 10 ms.
func (t *Tester) uniqueReply(r *report) {
	q := t.unique()
	var slowest time.Duration
	missing := 0
	for range 4 {
		began := t.ask(q)
		h, rec, ok := t.answer(q, tooLate)
		if !ok {
			missing++
			t.rest(between)
			continue
		}
		slowest = max(slowest, h.at.Sub(began))
		t.checkUnique(r, rec)
		if !t.isGroup(h) {
			r.failf("a question without the QU bit is answered by unicast (section 6)")
		}
		if len(h.msg.Questions) > 0 {
			r.warnf("a multicast response repeats the question (section 6)")
		}
		t.rest(between)
	}
	switch {
	case missing > 1:
		r.failf("%d of 4 questions for %s %s are not answered within %v", missing, q.Name, dns.Type(q.Type), tooLate)
		return
	case missing == 1:
		r.warnf("one of 4 questions for %s %s is not answered within %v, or was lost", q.Name, dns.Type(q.Type), tooLate)
	}
	if slowest > 10*time.Millisecond+slack {
		r.warnf("the slowest of the answers came after %v, not 10 ms", slowest.Round(time.Millisecond))
	}
	r.okf("answered after %v at most", slowest.Round(100*time.Microsecond))
}

// checkUnique looks at a unique record as it should stand in a response.
func (t *Tester) checkUnique(r *report, rec mdns.Record) {
	if !rec.Flush {
		r.failf("the cache-flush bit is not set on %s (section 10.2)", rec)
	}
	if holdsHost := rec.Type == dns.TypeA || rec.Type == dns.TypeAAAA || rec.Type == dns.TypeSRV; holdsHost && rec.TTL != mdns.HostTTL {
		r.warnf("the TTL of %s is %d, not 120 (section 10)", dns.Type(rec.Type), rec.TTL)
	}
}

// anyType: all records of the name, not a choice of them.
func (t *Tester) anyType(r *report) {
	name, want := t.host, []uint16{t.address().Type}
	if t.instance != "" {
		name, want = t.instance, []uint16{dns.TypeSRV, dns.TypeTXT}
	}
	t.ask(mdns.Question{Name: name, Type: dns.TypeANY})
	got := map[uint16]bool{}
	for h := range t.hear(tooLate) {
		for _, rec := range h.msg.Answers {
			if h.msg.Response && sameName(rec.Name, name) {
				got[rec.Type] = true
			}
		}
	}
	for _, typ := range want {
		if !got[typ] {
			r.failf("no %s among the answers", dns.Type(typ))
		}
	}
	r.okf("%d types of records", len(got))
	t.rest(between)
}

func (t *Tester) upperCase(r *report) {
	q := t.unique()
	q.Name = swapCase(q.Name)
	if _, _, ok := t.insist(q); !ok {
		r.failf("%s is not answered", q.Name)
	}
	r.okf("asked for %s", q.Name)
	t.rest(between)
}

func swapCase(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'a'
		}
		return c
	}, s)
}

// negative asks the host for a type that nobody publishes.
func (t *Tester) negative(r *report) {
	q := mdns.Question{Name: t.host, Type: dns.TypeLOC}
	t.ask(q)
	for h := range t.hear(tooLate) {
		for _, rec := range h.msg.Answers {
			if !h.msg.Response || !sameName(rec.Name, t.host) || rec.Type != dns.TypeNSEC {
				continue
			}
			rr, err := rec.RR()
			nsec, ok := rr.(*dns.NSEC)
			if err != nil || !ok {
				r.failf("the NSEC record cannot be read: %v", err)
				return
			}
			if !sameName(nsec.NextDomain, t.host) {
				r.failf("the next name of the NSEC record is %s, not its own", nsec.NextDomain)
			}
			if slices.Contains(nsec.TypeBitMap, dns.TypeLOC) {
				r.failf("the NSEC record says that there is the type asked for")
			}
			if !slices.Contains(nsec.TypeBitMap, t.address().Type) {
				r.failf("the NSEC record denies %s, which is there", dns.Type(t.address().Type))
			}
			if slices.Contains(nsec.TypeBitMap, dns.TypeNSEC) {
				r.failf("the NSEC bit is set in the NSEC record")
			}
			if !rec.Flush {
				r.warnf("the cache-flush bit is not set on the NSEC record")
			}
			r.okf("types %v", typeNames(nsec.TypeBitMap))
			t.rest(between)
			return
		}
	}
	r.failf("no NSEC record when %s is asked for LOC", t.host)
}

func typeNames(types []uint16) (names []string) {
	for _, typ := range types {
		names = append(names, dns.Type(typ).String())
	}
	return names
}

func (t *Tester) foreignName(r *report) {
	q := mdns.Question{Name: "nobody-has-this-name-0.local.", Type: dns.TypeA}
	t.ask(q)
	for h := range t.hear(tooLate) {
		if h.msg.Response && slices.ContainsFunc(records(h.msg), func(rec mdns.Record) bool { return sameName(rec.Name, q.Name) }) {
			r.failf("answers for %s", q.Name)
		}
	}
	r.okf("silent")
}

// sharedDelay: 20 to 120 ms, uniformly. QU questions are asked, since they may be
// answered every time; where the answer is multicast all the same it comes once a
// second at most.
func (t *Tester) sharedDelay(r *report) {
	q, pause := t.shared(), 150*time.Millisecond
	m := query(q)
	m.Questions[0].Unicast = t.set.Unicast
	if !t.set.Unicast {
		pause = between
	}
	var delays []time.Duration
	for missed := 0; len(delays) < 24 && missed < 3; {
		began := t.send(m)
		h, rec, ok := t.answer(q, tooLate)
		if !ok {
			missed, pause = missed+1, between
			t.rest(pause)
			continue
		}
		delays = append(delays, h.at.Sub(began))
		if rec.Flush {
			r.failf("the cache-flush bit is set on the shared record %s (section 10.2)", rec)
		}
		if t.isGroup(h) && len(delays) > 1 {
			pause = between
		}
		t.rest(pause)
	}
	if len(delays) < 12 {
		r.failf("%d of %d questions for %s are answered within %v", len(delays), len(delays)+3, q.Name, tooLate)
		return
	}
	judgeDelays(r, delays)
}

// judgeDelays looks at the range and at the distribution: each quarter of 20 to 120 ms
// should have a fair share, and not all lie in a tenth of it.
func judgeDelays(r *report, delays []time.Duration) {
	slices.Sort(delays)
	least, most := delays[0], delays[len(delays)-1]
	switch {
	case least < 10*time.Millisecond:
		r.failf("the quickest answer came after %v, not 20 ms", least.Round(100*time.Microsecond))
	case least < 20*time.Millisecond:
		r.warnf("the quickest answer came after %v, not 20 ms", least.Round(100*time.Microsecond))
	}
	if most > 120*time.Millisecond+slack {
		r.warnf("the slowest answer came after %v, not 120 ms", most.Round(time.Millisecond))
	}
	if most-least < 10*time.Millisecond {
		r.failf("all delays lie within %v: they are not random", (most - least).Round(100*time.Microsecond))
	}
	var quarters [4]int
	for _, d := range delays {
		quarters[min(3, max(0, int((d-20*time.Millisecond)/(25*time.Millisecond))))]++
	}
	if most := slices.Max(quarters[:]); most*100 > 65*len(delays) {
		r.warnf("the delays are not uniform: %v in the quarters of 20 to 120 ms", quarters)
	}
	r.okf("%d answers after %v to %v, %v in the quarters", len(delays), least.Round(time.Millisecond), most.Round(time.Millisecond), quarters)
}

// severalQuestions: answers to all, and none before 20 ms since others may answer too.
func (t *Tester) severalQuestions(r *report) {
	list := []mdns.Question{t.unique(), t.address(), t.shared()}
	began := t.ask(list...)
	got := map[mdns.Question]bool{}
	for h := range t.hear(tooLate) {
		for _, rec := range h.msg.Answers {
			for _, q := range list {
				if h.msg.Response && answers(rec, q) {
					got[q] = true
					if early := h.at.Sub(began); early < 15*time.Millisecond {
						r.warnf("an answer to several questions came after %v, not 20 ms", early.Round(100*time.Microsecond))
					}
				}
			}
		}
	}
	for _, q := range list {
		if !got[q] {
			r.failf("%s %s in a query of three questions is not answered", q.Name, dns.Type(q.Type))
		}
	}
	r.okf("%d questions answered", len(got))
	t.rest(between)
}

func (t *Tester) additional(r *report) {
	q := t.shared()
	h, _, ok := t.insist(q)
	if !ok {
		r.failf("%s is not answered", q.Name)
		return
	}
	for _, want := range []mdns.Question{{Name: t.instance, Type: dns.TypeSRV}, {Name: t.instance, Type: dns.TypeTXT}, t.address()} {
		matches := func(rec mdns.Record) bool { return answers(rec, want) }
		switch {
		case slices.ContainsFunc(h.msg.Additional, matches):
		case slices.ContainsFunc(h.msg.Answers, matches):
			r.warnf("%s is among the answers to a question for PTR, not among the additional records", dns.Type(want.Type))
		default:
			r.warnf("the answer with PTR comes without %s %s", want.Name, dns.Type(want.Type))
		}
	}
	r.okf("%d additional records", len(h.msg.Additional))
	t.rest(between)
}

func (t *Tester) serviceTypes(r *report) {
	q := mdns.Question{Name: "_services._dns-sd._udp.local.", Type: dns.TypePTR}
	t.ask(q)
	for h := range t.hear(tooLate) {
		for _, rec := range h.msg.Answers {
			target, _ := rec.Target()
			if h.msg.Response && answers(rec, q) && sameName(target, t.service) {
				if rec.Flush {
					r.failf("the cache-flush bit is set on a shared record")
				}
				r.okf("lists %s", target)
				t.rest(between)
				return
			}
		}
	}
	r.failf("%s does not list %s", q.Name, t.service)
}

// insist asks up to three times, since packets are lost.
func (t *Tester) insist(q mdns.Question) (h *heard, rec mdns.Record, ok bool) {
	for range 3 {
		t.ask(q)
		if h, rec, ok = t.answer(q, tooLate); ok {
			break
		}
		t.rest(between)
	}
	return h, rec, ok
}

// silence reports whether q stays unanswered for d.
func (t *Tester) silence(q mdns.Question, d time.Duration) bool {
	_, _, answered := t.answer(q, d)
	return !answered
}

// pointer is the shared record of the target.
func (t *Tester) pointer(r *report) (mdns.Record, bool) {
	q := t.shared()
	for range 3 {
		t.ask(q)
		for h := range t.hear(tooLate) {
			for _, rec := range h.msg.Answers {
				target, _ := rec.Target()
				if h.msg.Response && answers(rec, q) && sameName(target, t.instance) {
					t.rest(between)
					return rec, true
				}
			}
		}
		t.rest(between)
	}
	r.failf("%s is not answered with %s", q.Name, t.instance)
	return mdns.Record{}, false
}

func (t *Tester) knownAnswer(r *report) {
	q := t.shared()
	rec, ok := t.pointer(r)
	if !ok {
		return
	}
	full := rec.TTL
	for _, c := range []struct {
		ttl    uint32
		silent bool
	}{{full, true}, {full/2 + 1, true}, {full/2 - 10, false}} {
		m := query(q)
		rec.TTL = c.ttl
		m.Answers = []mdns.Record{rec}
		t.send(m)
		if got := t.silence(q, tooLate); got != c.silent {
			if c.silent {
				r.failf("answers although the answer was listed with a TTL of %d of %d", c.ttl, full)
			} else {
				r.failf("does not answer when the answer was listed with a TTL of %d of %d", c.ttl, full)
			}
		}
		t.rest(between)
	}
	r.okf("TTL %d", full)
}

// knownAnswerPackets sends a truncated query whose known answers come 100 ms later.
func (t *Tester) knownAnswerPackets(r *report) {
	q := t.shared()
	rec, ok := t.pointer(r)
	if !ok {
		return
	}
	packets, _ := query(q).Split(1400)
	packets[0][2] |= 2 // TC: more known answers follow (section 18.5)
	t.write(Packet{Data: packets[0], To: t.set.Group})
	if !t.silence(q, 100*time.Millisecond) {
		r.warnf("answers a truncated query before 400 ms have gone by")
		t.rest(between)
		return
	}
	t.send(&mdns.Message{Answers: []mdns.Record{rec}})
	if !t.silence(q, time.Second) {
		r.failf("answers although the second packet lists the answer")
	}
	t.rest(between)
	began := t.now
	t.write(Packet{Data: packets[0], To: t.set.Group})
	h, _, ok := t.answer(q, time.Second)
	switch {
	case !ok:
		r.failf("does not answer a truncated query that nothing follows")
	case h.at.Sub(began) < 380*time.Millisecond:
		r.warnf("answers a truncated query after %v, not 400 to 500 ms", h.at.Sub(began).Round(time.Millisecond))
	default:
		r.okf("waits %v for further packets", h.at.Sub(began).Round(time.Millisecond))
	}
	t.rest(between)
}

// rate asks for the same record three times in a second.
func (t *Tester) rate(r *report) {
	q := t.shared()
	var sent []time.Time
	for range 3 {
		t.ask(q)
		for h := range t.hear(300 * time.Millisecond) {
			if h.msg.Response && t.isGroup(h) && slices.ContainsFunc(h.msg.Answers, func(rec mdns.Record) bool { return answers(rec, q) }) {
				sent = append(sent, h.at)
			}
		}
	}
	for i := 1; i < len(sent); i++ {
		if gap := sent[i].Sub(sent[i-1]); gap < 900*time.Millisecond {
			r.failf("the same record is multicast again after %v", gap.Round(time.Millisecond))
		}
	}
	if len(sent) == 0 {
		r.failf("%s is not answered", q.Name)
	}
	r.okf("%d answers to three questions", len(sent))
	t.rest(between)
}

// aggregation asks two things back to back that both have shared answers.
func (t *Tester) aggregation(r *report) {
	list := []mdns.Question{t.shared(), {Name: "_services._dns-sd._udp.local.", Type: dns.TypePTR}}
	for _, q := range list {
		t.ask(q)
	}
	packets, got := 0, map[mdns.Question]bool{}
	for h := range t.hear(tooLate) {
		useful := false
		for _, rec := range h.msg.Answers {
			for _, q := range list {
				if h.msg.Response && answers(rec, q) {
					useful, got[q] = true, true
				}
			}
		}
		if useful {
			packets++
		}
	}
	switch {
	case len(got) < len(list):
		r.failf("%d of two queries back to back are answered", len(got))
	case packets > 1:
		r.warnf("two queries back to back are answered in %d packets", packets)
	}
	r.okf("%d packets", packets)
	t.rest(between)
}

// legacy asks as a DNS resolver does that knows nothing of multicast DNS.
func (t *Tester) legacy(r *report) {
	q := t.unique()
	m := query(q)
	m.ID = 0x4a7e
	packets, _ := m.Split(1400)
	t.write(Packet{Data: packets[0], To: t.set.Group, Legacy: true})
	for h := range t.hear(tooLate) {
		if !h.msg.Response || !h.Legacy {
			continue
		}
		if h.msg.ID != m.ID {
			r.failf("the ID is %#x, not that of the query", h.msg.ID)
		}
		if len(h.msg.Questions) != 1 || !sameName(h.msg.Questions[0].Name, q.Name) {
			r.failf("the question is not repeated")
		}
		for _, rec := range records(h.msg) {
			if rec.Flush {
				r.failf("the cache-flush bit is set on %s", rec)
			}
			if rec.TTL > 10 {
				r.warnf("the TTL of %s is %d, not 10 at most", rec, rec.TTL)
			}
		}
		if !slices.ContainsFunc(h.msg.Answers, func(rec mdns.Record) bool { return answers(rec, q) }) {
			r.failf("the answer is not among the answers")
		}
		r.okf("answered by unicast")
		t.rest(between)
		return
	}
	r.failf("no unicast answer to a query from another port than 5353")
}

func (t *Tester) unicastAnswer(r *report) {
	q := t.unique()
	t.ask(q) // so that it has been multicast lately
	t.answer(q, tooLate)
	t.rest(between)
	m := query(q)
	m.Questions[0].Unicast = true
	t.send(m)
	h, _, ok := t.answer(q, tooLate)
	switch {
	case !ok:
		r.failf("a QU question is not answered")
	case t.isGroup(h):
		r.warnf("a QU question is answered by multicast although the record was multicast a second ago")
	default:
		r.okf("answered by unicast")
	}
	t.rest(between)
}

func (t *Tester) unicastQuery(r *report) {
	q := t.unique()
	packets, _ := query(q).Split(1400)
	t.write(Packet{Data: packets[0], To: netip.AddrPortFrom(t.set.Address, Port)})
	h, _, ok := t.answer(q, tooLate)
	switch {
	case !ok:
		r.warnf("a query sent to its own address is not answered")
	case t.isGroup(h):
		r.okf("answered by multicast")
	default:
		r.okf("answered by unicast")
	}
	t.rest(between)
}

// malformed sends what breaks parsers and looks whether the target is still there.
func (t *Tester) malformed(r *report) {
	good, _ := query(t.unique()).Split(1400)
	header := func(questions, answers uint16) []byte {
		b := make([]byte, 12)
		binary.BigEndian.PutUint16(b[4:], questions)
		binary.BigEndian.PutUint16(b[6:], answers)
		return b
	}
	long := header(1, 0)
	for range 5 {
		long = append(append(long, 63), strings.Repeat("x", 63)...)
	}
	for _, b := range [][]byte{
		{}, {0}, good[0][:11], good[0][:len(good[0])-3],
		append(header(1, 0), 0xc0, 12, 0, 1, 0, 1),           // a name that points to itself
		append(header(1, 0), 0xc0, 14, 0xc0, 12, 0, 1, 0, 1), // two that point to each other
		header(65535, 0), header(0, 65535), // counts of what is not there
		append(long, 0, 0, 1, 0, 1),                                  // a name over 255 bytes
		append(header(0, 1), 0, 0, 1, 0, 1, 0, 0, 0, 9, 255, 255),    // rdata beyond the end
		append(header(0, 1), 0, 0, 16, 0, 1, 0, 0, 0, 9, 0, 0),       // TXT of no length
		append(header(0, 1), 0, 0, 33, 0, 1, 0, 0, 0, 9, 0, 2, 1, 1), // SRV cut short
		append(header(1, 0), 0x80, 1, 0, 1, 0, 1),                    // a label of no known kind
	} {
		t.write(Packet{Data: b, To: t.set.Group})
	}
	t.rest(between)
	q := t.unique()
	if _, _, ok := t.insist(q); !ok {
		r.failf("does not answer any more after malformed packets")
	}
	r.okf("answers after malformed packets")
	t.rest(between)
}

// idle waits: what nobody asked for is not sent.
func (t *Tester) idle(r *report) {
	packets := 0
	for h := range t.hear(t.set.Idle) {
		packets++
		if h.msg.Response {
			r.warnf("announces unasked")
		}
	}
	r.okf("%d packets in %v", packets, t.set.Idle)
}
