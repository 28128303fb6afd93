package bulk

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// askInterval bounds the time between two questions while a long section is sent.
const askInterval = 400 * time.Millisecond

// quickAsk is after how many packets the first sections are asked about.
const quickAsk = 256

// sendDue sends what the rate allows now.
func (s *Sender) sendDue(now time.Time) {
	if now.Before(s.clock.act) {
		return
	}
	if s.checkSilence(now); s.state != sending {
		return
	}
	s.pace.fill(now)
	for s.pace.tokens > 0 {
		more, err := s.sendNext(now)
		if err != nil {
			s.Abort(now, err.Error())
			return
		}
		if !more {
			s.endPass(now)
			return
		}
	}
	s.clock.act = s.pace.next(now)
}

// burst sends up to n packets of the current section at once, for the train.
func (s *Sender) burst(now time.Time, n int) (section, sent int, err error) {
	s.pace.tokens = float64(n * MaxBlock * 2)
	for sent < n {
		if c := &s.pass.cur; c.active && len(c.queue) == 0 {
			break
		}
		more, err := s.sendNext(now)
		if err != nil || !more {
			return s.pass.cur.section, sent, err
		}
		sent++
	}
	s.pace.tokens = 0
	return s.pass.cur.section, sent, nil
}

// sendNext sends a packet of the pass; more is false when there is none left.
func (s *Sender) sendNext(now time.Time) (more bool, err error) {
	c := &s.pass.cur
	if c.active && len(c.queue) == 0 {
		s.solicit(now, false)
		c.active = false
	}
	if !c.active {
		if more, err = s.open(now); !more || err != nil {
			return more, err
		}
		if len(c.queue) == 0 { // the way to the root was all that lacked
			return true, nil
		}
	}
	b := &c.queue[0]
	c.queue = c.queue[1:]
	p := s.env.appendBlock(make([]byte, 0, s.env.blockLen(len(b.Content))), b)
	if c.sent == 0 {
		c.began = now
	}
	c.sent++
	c.bytes += len(b.Content)
	s.pace.take(len(p))
	s.count(b)
	s.emit(netip.AddrPort{}, p)
	quick := s.pace.start && c.sent%quickAsk == 0
	if len(c.queue) > 0 && (quick || now.Sub(c.asked) > askInterval) {
		s.solicit(now, true)
	}
	return true, nil
}

func (s *Sender) count(b *Block) {
	switch {
	case b.Parity:
		s.stats.Parity++
	default:
		s.stats.Blocks++
		if !s.pass.poll.first {
			s.stats.Repairs++
		}
	}
}

// solicit asks about the current section.
func (s *Sender) solicit(now time.Time, partial bool) {
	c := &s.pass.cur
	n := s.number()
	rec := &record{
		section: c.section, pass: s.pass.number, partial: partial, sent: c.sent, at: now, epoch: c.rate, heard: make(map[uint16]bool),
	}
	if d := now.Sub(c.began).Seconds(); c.sent >= 16 && d > 0 {
		rec.round.sent = float64(c.bytes) / d
	}
	rec.round.rate, rec.round.took = s.pace.rate, now.Sub(c.began)
	s.pass.records[n] = rec
	if len(s.pass.records) > maxRecords {
		oldest := n
		for k := range s.pass.records {
			oldest = min(oldest, k)
		}
		delete(s.pass.records, oldest)
	}
	c.asked = now
	m := Solicit{
		Session: s.offer.Session, Number: n, Section: uint32(c.section), Pass: s.pass.number,
		Partial: partial, Sent: uint16(c.sent),
	}
	if !partial {
		m.Proof = s.cfg.Tree.Proof(c.section)
		if s.pass.poll.first && s.pass.next%4 == 0 {
			s.progress()
		}
	}
	s.broadcast(m)
}

func (s *Sender) progress() {
	p := s.pass
	sent := p.window + p.next
	if !p.poll.first {
		sent = min(p.window+p.size, s.offer.Sections())
	}
	s.say(Progress{
		Sections: min(sent, s.offer.Sections()), Total: s.offer.Sections(), Pass: p.poll.passes, Rate: s.pace.rate,
		Loss: p.poll.loss, Active: s.roster.count(active), Done: s.roster.count(done),
	})
}

// checkSilence evicts active receivers that were not heard for too long, and slows
// down when none is.
func (s *Sender) checkSilence(now time.Time) {
	s.roster.replaceGhosts(now)
	for _, m := range s.roster.in(active) {
		if now.Sub(m.heard) > s.cfg.Evict {
			s.evict(m, "silent for "+s.cfg.Evict.String())
		}
	}
	if s.roster.count(active) == 0 {
		s.startTrailing(now)
		return
	}
	if now.Sub(s.clock.heard) > time.Second {
		s.clock.heard = now
		s.pace.silence()
	}
}

// evict stops waiting for m in the group. It hears it all the same.
func (s *Sender) evict(m *member, reason string) {
	m.state, m.text = evicted, reason
	clear(m.reports)
	s.say(Evicted{Receiver: m.name, Reason: reason})
}

// handleStatus takes what a receiver says of itself.
func (s *Sender) handleStatus(now time.Time, m Status) {
	r := s.roster.byToken(m.Station, m.Token)
	if r == nil || m.Session != s.offer.Session {
		s.stats.NotAuthentic++
		return
	}
	s.stats.Statuses++
	r.heard, s.clock.heard = now, now
	r.window = m.Window
	r.holds(now, int(min(m.Contiguous, uint32(s.roster.sections))), s.roster.sections)
	if m.Complete > r.complete {
		r.complete, r.moved = m.Complete, now
	}
	for i := range m.Reports {
		s.handleReport(now, r, &m.Reports[i])
	}
	s.answer(now, r, &m)
}

// handleReport keeps what can be true of a report.
func (s *Sender) handleReport(now time.Time, r *member, p *Report) {
	i := int(p.Section)
	switch {
	case i >= s.roster.sections || p.Pass > s.pass.number:
		s.stats.BadReports++
		return
	case p.Complete:
		if !r.have.has(i) {
			r.have.set(i)
			r.moved = now
		}
	case r.have.has(i):
		return // it said that it has it, and what is verified stays so
	}
	if r.state != active || i < s.pass.window || i >= s.pass.window+s.pass.size {
		return
	}
	if old := r.reports[i]; old != nil && (old.Complete || old.Pass > p.Pass) {
		return
	}
	if !s.plausible(i, p) {
		s.stats.BadReports++
	}
	r.reports[i] = p
}

// plausible brings a report down to what its section can lack, and says whether it
// had to.
func (s *Sender) plausible(section int, p *Report) bool {
	blocks := s.offer.Blocks(section)
	before := bitmap(p.Holes[:]).count()
	bitmap(p.Holes[:]).trim(blocks)
	ok := bitmap(p.Holes[:]).count() == before
	var holes [Groups]uint8
	for b := range blocks {
		if bitmap(p.Holes[:]).has(b) {
			holes[b%Groups]++
		}
	}
	for g := range holes {
		if p.Need[g] > holes[g] || p.Need[g] == 0 && holes[g] > 0 {
			p.Need[g], ok = holes[g], false
		}
	}
	return ok
}

// answer uses a status that answers a question about a section just sent to judge
// the rate.
func (s *Sender) answer(now time.Time, r *member, m *Status) {
	rec := s.pass.records[m.Number]
	if rec == nil || rec.heard[r.number] || r.state != active {
		return
	}
	i := slices.IndexFunc(m.Reports, func(p Report) bool { return int(p.Section) == rec.section })
	if i < 0 || m.Reports[i].Pass != rec.pass {
		return
	}
	rec.heard[r.number] = true
	s.pass.poll.rtt(now.Sub(rec.at))
	rec.round.losses = append(rec.round.losses, max(0, 1-float64(m.Reports[i].Received)/float64(max(1, rec.sent))))
	if m.Arrival > 0 {
		rec.round.arrivals = append(rec.round.arrivals, float64(m.Arrival))
	}
	if len(rec.heard) >= s.roster.count(active) {
		s.judge(m.Number, rec)
		if !rec.partial && s.pass.poll.first && rec.pass == s.pass.number {
			s.learn(rec.section)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(s.pass.records)) { // those that will not be answered by all
		old := s.pass.records[n]
		if n+2 <= m.Number && !old.judged && 2*len(old.heard) >= s.roster.count(active) {
			s.judge(n, old)
		}
	}
}

// judge lets the pacer hear of a section, if it began after the last change.
func (s *Sender) judge(number uint32, rec *record) {
	if rec.judged {
		return
	}
	rec.judged = true
	s.stats.Rounds++
	s.pass.poll.loss = median(rec.round.losses)
	if rec.sent < 32 || rec.epoch != rec.round.rate || rec.round.rate != s.pace.rate {
		return
	}
	rec.round.cap = s.windowCap()
	s.pace.judge(rec.round)
}

// windowCap returns the least window of the active receivers. One far below the
// median is not believed: it belongs to a straggler, who shall fetch by TCP.
func (s *Sender) windowCap() float64 {
	var windows []float64
	for _, m := range s.roster.in(active) {
		if m.window > 0 {
			windows = append(windows, float64(m.window))
		}
	}
	if len(windows) == 0 {
		return 0
	}
	typical := s.pace.rate
	if 2*len(windows) > s.roster.count(active) {
		typical = min(typical, median(windows))
	}
	for _, m := range s.roster.in(active) {
		if m.window > 0 && float64(m.window) < typical/4 && s.roster.count(active) > 1 {
			s.evict(m, "takes less than a quarter of what the others do")
		}
	}
	least := 0.0
	for _, m := range s.roster.in(active) {
		if w := float64(m.window); w > 0 && (least == 0 || w < least) {
			least = w
		}
	}
	return least
}
