package conform

import (
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// startup is how long a target may take from the restart to its first probe.
const startup = 60 * time.Second

// probed is one probe of the target for one name.
type probed struct {
	*heard
	name    string
	unicast bool
	typ     uint16
}

// isSubject reports whether name may be what the target calls itself: an instance of the
// same service, or a host.
func (t *Tester) isSubject(name string) bool {
	_, rest, ok := cutLabel(name)
	if t.instance != "" {
		return ok && sameName(rest, t.service)
	}
	return ok && sameName(rest, "local.")
}

// probes returns what h probes for, of the names that isSubject.
func (t *Tester) probes(h *heard) (list []probed) {
	if h.msg.Response || len(h.msg.Authority) == 0 {
		return nil
	}
	for _, q := range h.msg.Questions {
		if t.isSubject(q.Name) && !slices.ContainsFunc(list, func(p probed) bool { return sameName(p.name, q.Name) }) {
			list = append(list, probed{h, q.Name, q.Unicast, q.Type})
		}
	}
	return list
}

// nextProbe waits up to d for a probe of the target for its name.
func (t *Tester) nextProbe(d time.Duration) (probed, bool) {
	for h := range t.hear(d) {
		if list := t.probes(h); len(list) > 0 {
			return list[0], true
		}
	}
	return probed{}, false
}

// recover waits until the target has a name again and learns it.
func (t *Tester) recover() {
	if t.instance == "" {
		t.rest(4 * time.Second)
		if t.called != "" {
			t.host = t.called
		}
		return
	}
	for range 8 {
		t.rest(2 * time.Second)
		t.ask(t.shared())
		if h, _, ok := t.answer(t.shared(), tooLate); ok {
			for _, rec := range h.msg.Answers {
				if name, ok := rec.Target(); ok && answers(rec, t.shared()) {
					t.ask(mdns.Question{Name: name, Type: dns.TypeSRV})
					t.learn(name, time.Second)
					t.rest(between)
					return
				}
			}
		}
	}
}

// probing watches a whole start.
func (t *Tester) probing(r *report) {
	t.restart()
	first, goodbye := t.firstProbe(r)
	if first.heard == nil {
		r.failf("no probe within %v of the restart", startup)
		return
	}
	if !goodbye {
		r.warnf("no goodbye when it ended (section 10.1)")
	}
	name, list := first.name, []probed{first}
	var announced []time.Time
	var records []mdns.Record
	for h := range t.hear(4 * time.Second) {
		for _, p := range t.probes(h) {
			if sameName(p.name, name) {
				list = append(list, p)
			}
		}
		if t.announces(h, name) {
			announced = append(announced, h.at)
			records = append(records, h.msg.Answers...)
		}
	}
	judgeProbes(r, list)
	judgeAnnouncements(r, list[len(list)-1].at, announced)
	for _, rec := range records {
		switch unique := sameName(rec.Name, name); {
		case unique && !rec.Flush && rec.Type != dns.TypePTR:
			r.failf("announced without the cache-flush bit: %s (section 8.3)", rec)
		case rec.Flush && sameName(rec.Name, t.service):
			r.failf("a shared record is announced with the cache-flush bit: %s (section 10.2)", rec)
		}
	}
	t.recover()
}

// firstProbe waits for the first probe after a restart, and says whether a goodbye came
// before.
func (t *Tester) firstProbe(*report) (first probed, goodbye bool) {
	for h := range t.hear(startup) {
		if list := t.probes(h); len(list) > 0 {
			return list[0], goodbye
		}
		goodbye = goodbye || h.msg.Response && slices.ContainsFunc(h.msg.Answers, func(rec mdns.Record) bool { return rec.TTL == 0 })
	}
	return probed{}, goodbye
}

// announces reports whether h tells of name unasked.
func (t *Tester) announces(h *heard, name string) bool {
	return h.msg.Response && t.isGroup(h) && slices.ContainsFunc(h.msg.Answers, func(rec mdns.Record) bool {
		return sameName(rec.Name, name) && rec.TTL > 0 && rec.Type != dns.TypeNSEC
	})
}

// judgeProbes: three of them 250 ms apart, QU, type ANY, with what is wanted in the
// authority section and without the cache-flush bit there. The limits of a failure leave room
// for a slow machine, here or there.
func judgeProbes(r *report, list []probed) {
	if len(list) != 3 {
		r.failf("%d probes for %s, not 3", len(list), list[0].name)
	}
	for i, p := range list {
		if i > 0 {
			switch gap := p.at.Sub(list[i-1].at); {
			case gap < 150*time.Millisecond || gap > 700*time.Millisecond:
				r.failf("probes are %v apart, not 250 ms", gap.Round(time.Millisecond))
			case gap < 240*time.Millisecond || gap > 300*time.Millisecond:
				r.warnf("probes are %v apart, not 250 ms", gap.Round(time.Millisecond))
			}
		}
		if !p.unicast && i < 2 {
			r.warnf("probe %d is not a QU question", i+1)
		}
		if p.typ != dns.TypeANY {
			r.failf("probe %d asks for %s, not ANY", i+1, dns.Type(p.typ))
		}
		for _, rec := range p.msg.Authority {
			if rec.Flush {
				r.failf("the cache-flush bit is set in the authority section of a probe (section 8.1)")
			}
		}
	}
	r.okf("%d probes for %s", len(list), list[0].name)
}

// judgeAnnouncements: not before the last probe had its 250 ms, twice at least, a second
// apart at least.
func judgeAnnouncements(r *report, lastProbe time.Time, announced []time.Time) {
	if len(announced) < 2 {
		r.failf("%d announcements, not 2", len(announced))
	}
	if len(announced) == 0 {
		return
	}
	switch gap := announced[0].Sub(lastProbe); {
	case gap < 150*time.Millisecond:
		r.failf("announced %v after the last probe, not 250 ms", gap.Round(time.Millisecond))
	case gap < 240*time.Millisecond:
		r.warnf("announced %v after the last probe, not 250 ms", gap.Round(time.Millisecond))
	}
	if len(announced) > 1 {
		if gap := announced[1].Sub(announced[0]); gap < 950*time.Millisecond {
			r.warnf("announcements are %v apart, not a second", gap.Round(time.Millisecond))
		}
	}
	r.okf("%d announcements", len(announced))
}

// rival is a record for name that another host could want. A later one wins every
// tie-break, an earlier one none (section 8.2).
func (t *Tester) rival(name string, later bool) mdns.Record {
	rec := mdns.Record{Name: name, Class: dns.ClassINET, TTL: mdns.HostTTL}
	switch {
	case t.instance != "" && later:
		rec.Type, rec.Data = dns.TypeSRV, append([]byte{255, 255, 255, 255, 255, 255}, "\x07tester0\x05local\x00"...)
	case t.instance != "":
		rec.Type, rec.TTL, rec.Data = dns.TypeTXT, mdns.OtherTTL, []byte{0}
	case !later:
		rec.Type, rec.Data = dns.TypeA, []byte{0, 0, 0, 1}
	case t.address().Type == dns.TypeA:
		rec.Type, rec.Data = dns.TypeA, []byte{255, 255, 255, 254}
	default:
		rec.Type, rec.Data = dns.TypeAAAA, slices.Repeat([]byte{255}, 16)
	}
	return rec
}

// compete probes for name as a rival would.
func (t *Tester) compete(name string, later bool) {
	m := query(mdns.Question{Name: name, Type: dns.TypeANY})
	m.Questions[0].Unicast = true
	m.Authority = []mdns.Record{t.rival(name, later)}
	t.send(m)
}

// deny says that name is taken. The case differs, as it may.
func (t *Tester) deny(name string) {
	rec := t.rival(name, true)
	rec.Name, rec.Flush = strings.ToUpper(name), true
	t.send(&mdns.Message{Response: true, Answers: []mdns.Record{rec}})
}

// tieBreakWon: a rival with earlier data changes nothing.
func (t *Tester) tieBreakWon(r *report) {
	t.restart()
	first, _ := t.firstProbe(r)
	if first.heard == nil {
		r.failf("no probe within %v of the restart", startup)
		return
	}
	t.compete(first.name, false)
	last := first.at
	for h := range t.hear(3 * time.Second) {
		for _, p := range t.probes(h) {
			if !sameName(p.name, first.name) {
				r.failf("takes the name %s although it wins the tie-break", p.name)
			} else if gap := p.at.Sub(last); gap > 700*time.Millisecond {
				r.failf("waits %v although it wins the tie-break", gap.Round(time.Millisecond))
			}
			last = p.at
		}
		if t.announces(h, first.name) {
			r.okf("announced %s", first.name)
		}
	}
	if r.verdict == Skipped {
		r.failf("%s is not announced", first.name)
	}
	t.recover()
}

// tieBreakLost: a rival with later data wins, for now; it is seen no more, so that the
// target gets its name a second later.
func (t *Tester) tieBreakLost(r *report) {
	t.restart()
	first, _ := t.firstProbe(r)
	if first.heard == nil {
		r.failf("no probe within %v of the restart", startup)
		return
	}
	t.compete(first.name, true)
	lost, again := t.now, false
	for h := range t.hear(6 * time.Second) {
		for _, p := range t.probes(h) {
			switch gap := p.at.Sub(lost); {
			case !sameName(p.name, first.name):
				r.failf("takes the name %s when it loses a tie-break; only an answer may cost a name", p.name)
			case !again && gap < 20*time.Millisecond: // was on its way
			case !again && gap < 950*time.Millisecond:
				r.failf("probes again %v after it has lost, not a second", gap.Round(time.Millisecond))
				again = true
			case !again:
				r.okf("probes again after %v", gap.Round(time.Millisecond))
				again = true
			}
		}
		if t.announces(h, first.name) && again {
			r.okf("announced %s", first.name)
		} else if t.announces(h, first.name) {
			r.failf("announces %s although it has lost", first.name)
		}
	}
	if !again && r.verdict != Fail {
		r.failf("does not probe for %s again", first.name)
	}
	t.recover()
}

// denied answers every probe for the first name.
func (t *Tester) denied(r *report) {
	t.restart()
	first, _ := t.firstProbe(r)
	if first.heard == nil {
		r.failf("no probe within %v of the restart", startup)
		return
	}
	t.deny(first.name)
	other := ""
	for h := range t.hear(6 * time.Second) {
		for _, p := range t.probes(h) {
			if sameName(p.name, first.name) {
				t.deny(first.name)
			} else {
				other = p.name
			}
		}
		if t.announces(h, first.name) {
			r.failf("announces %s although another host has it", first.name)
		}
		if other != "" && t.announces(h, other) {
			r.okf("takes %s", other)
		}
	}
	if other == "" {
		r.failf("does not probe for another name when %s is taken", first.name)
	}
	t.recover()
}

// conflict claims what the target has announced already.
func (t *Tester) conflict(r *report) {
	name := t.unique().Name
	t.deny(name)
	began := t.now
	p, ok := t.nextProbe(3 * time.Second)
	switch {
	case !ok:
		r.failf("does not probe after a conflict with %s", name)
	case !sameName(p.name, name):
		r.warnf("probes for %s at once, not first for %s", p.name, name)
	default:
		r.okf("probes again after %v", p.at.Sub(began).Round(time.Millisecond))
	}
	t.recover()
}

// probeRate denies whatever the target wants to be called.
func (t *Tester) probeRate(r *report) {
	t.restart()
	p, _ := t.firstProbe(r)
	if p.heard == nil {
		r.failf("no probe within %v of the restart", startup)
		return
	}
	var denials []time.Time
	for denied := ""; len(denials) < 16; {
		if !sameName(p.name, denied) {
			denied = p.name
			denials = append(denials, p.at)
		}
		t.deny(denied)
		var ok bool
		if p, ok = t.nextProbe(20 * time.Second); !ok {
			break
		}
	}
	last := t.now
	if p.heard != nil {
		last = p.at
	}
	switch n := len(denials); {
	case n < 15:
		r.okf("gave up after %d names", n)
	case denials[14].Sub(denials[0]) > 10*time.Second:
		r.okf("15 conflicts took %v", denials[14].Sub(denials[0]).Round(time.Second))
	case last.Sub(denials[14]) < 4900*time.Millisecond:
		r.failf("probes %v after the fifteenth conflict in 10 s, not after 5 s", last.Sub(denials[14]).Round(time.Millisecond))
	default:
		r.okf("waits %v after the fifteenth conflict", last.Sub(denials[14]).Round(100*time.Millisecond))
	}
	t.recover()
}
