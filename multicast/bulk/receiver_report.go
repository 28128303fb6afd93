package bulk

import (
	"slices"
	"time"
)

// reporter says what a receiver lacks, when it is asked, a little later: all
// receivers were asked at once.
type reporter struct {
	tallies [2]tally // of the section now coming and of the one before
	begun   bool
	pending []question
	number  uint32
	arrival float64
	at      time.Time // when to answer; zero: nothing to answer
	last    time.Time // of the last answer
	probe   probing
	train   TrainReport // the last one, to be repeated when asked again
}

// question is a section that the sender asked about.
type question struct {
	section, received int
	pass              uint16
}

// probing is a burst of unicast packets coming in.
type probing struct {
	number      uint32
	count       int
	first, last time.Time
}

func (p *reporter) due(now time.Time) bool { return !p.at.IsZero() && !now.Before(p.at) }

// quiet reports whether it is time to say something without being asked.
func (p *reporter) quiet(now time.Time) bool { return now.Sub(p.last) >= beatInterval && p.at.IsZero() }

// tally returns the count of section s, begun anew if s is neither the section now
// coming nor the one before.
func (p *reporter) tally(s int) *tally {
	if !p.begun {
		p.begun = true
		p.tallies[0].reset(s)
		p.tallies[1].reset(-1)
	}
	for i := range p.tallies {
		if p.tallies[i].section == s {
			return &p.tallies[i]
		}
	}
	p.tallies[1] = p.tallies[0]
	p.tallies[0].reset(s)
	return &p.tallies[0]
}

// asked reports whether a question of that session is for us now.
func (r *Receiver) asked(now time.Time, session Session) bool {
	switch {
	case session != r.cur.offer.Session || r.state == idle:
		r.stats.Foreign++
	case r.state == lingering:
		r.heard(now)
	}
	return r.state == receiving && session == r.cur.offer.Session
}

// handleSolicit takes the way of a section to the root and promises an answer.
func (r *Receiver) handleSolicit(now time.Time, m Solicit) {
	s := int(m.Section)
	if !r.asked(now, m.Session) || s >= r.cur.offer.Sections() {
		return
	}
	r.heard(now)
	if !m.Partial && !r.cur.have.has(s) {
		c := r.at(s)
		if !c.proven {
			c.proof, c.proven = m.Proof, true
		} else if !slices.Equal(c.proof, m.Proof) && c.poison > 0 {
			c.proof = m.Proof // one of the two was a lie
		}
		if err := r.settle(s); err != nil {
			r.fail(now, err)
			return
		}
	}
	t := r.rep.tally(s)
	r.rep.arrival = t.arrival()
	r.question(now, m.Number, question{section: s, received: t.count, pass: m.Pass})
	if !m.Partial {
		t.reset(s)
	}
}

func (r *Receiver) handlePoll(now time.Time, m Poll) {
	if !r.asked(now, m.Session) {
		return
	}
	r.heard(now)
	for _, s := range m.Sections {
		if int(s) < r.cur.offer.Sections() {
			r.question(now, m.Number, question{section: int(s), pass: m.Pass})
		}
	}
}

// question queues an answer.
func (r *Receiver) question(now time.Time, number uint32, q question) {
	p := &r.rep
	i := slices.IndexFunc(p.pending, func(o question) bool { return o.section == q.section })
	switch {
	case i >= 0:
		p.pending[i] = q
	case len(p.pending) >= reportsLimit:
		r.stats.ReportsDropped++
		return
	default:
		p.pending = append(p.pending, q)
	}
	p.number = number
	if p.at.IsZero() {
		// A millisecond for each receiver spreads the answers of a few over the
		// time that a section takes; the sender knows them all, so nothing needs to
		// be suppressed as RFC 5401 section 3.2 does for unknown crowds.
		spread := time.Duration(max(1, min(50, int(r.cur.offer.Receivers)))) * time.Millisecond
		p.at = now.Add(time.Duration(r.cfg.Rand.Int64N(int64(spread))))
	}
}

// status sends as much of the pending answers as one datagram holds, or a sign of
// life when there are none.
func (r *Receiver) status(now time.Time) {
	p := &r.rep
	p.at = time.Time{}
	if r.state != receiving {
		p.pending = nil
		return
	}
	t := &r.cur
	n := t.offer.Sections()
	m := Status{
		Session: t.offer.Session, Station: t.number, Token: t.token, Number: p.number,
		Contiguous: uint32(t.have.contiguous(n)), Complete: uint32(n - t.left), Window: r.cfg.Window,
		Arrival: uint32(min(p.arrival, 1<<32-1)),
	}
	take := min(len(p.pending), maxReports)
	for _, q := range p.pending[:take] {
		m.Reports = append(m.Reports, r.report(q))
	}
	p.pending = append(p.pending[:0], p.pending[take:]...)
	p.last = now
	r.send(m)
	if len(p.pending) > 0 {
		p.at = now.Add(time.Millisecond) // answers must not flood the sender either
	}
}

func (r *Receiver) report(q question) Report {
	rep := Report{Section: uint32(q.section), Pass: q.pass, Received: uint16(min(q.received, 1<<16-1))}
	if r.cur.have.has(q.section) {
		rep.Complete = true
		return rep
	}
	c := r.cur.sections[q.section]
	if c == nil {
		c = newSection(r.cur.offer.Blocks(q.section))
	}
	c.report(&rep, r.cur.offer.Blocks(q.section))
	return rep
}

// handleTrain says how a burst of blocks came in.
func (r *Receiver) handleTrain(now time.Time, m Train) {
	if !r.asked(now, m.Session) {
		return
	}
	r.heard(now)
	if p := &r.rep; p.train.Number != m.Number {
		t := p.tally(int(m.Section))
		p.train = TrainReport{
			Session: m.Session, Station: r.cur.number, Token: r.cur.token, Number: m.Number,
			Received: uint16(min(t.burst.count, 1<<16-1)), Span: uint64(max(0, t.burst.last-t.burst.first)),
		}
		t.burst = burst{}
	}
	r.send(r.rep.train)
}

// handleProbe says how a burst of packets to this receiver alone came in, once the
// last of them is here.
func (r *Receiver) handleProbe(now time.Time, m Probe) {
	if !r.asked(now, m.Session) {
		return
	}
	r.heard(now)
	p := &r.rep.probe
	if p.number != m.Number || p.count == 0 {
		*p = probing{number: m.Number, first: now}
	}
	p.count++
	p.last = now
	if m.Index+1 < m.Count {
		return
	}
	r.send(TrainReport{
		Session: m.Session, Station: r.cur.number, Token: r.cur.token, Number: m.Number,
		Received: uint16(min(p.count, 1<<16-1)), Span: uint64(p.last.Sub(p.first)),
	})
}
