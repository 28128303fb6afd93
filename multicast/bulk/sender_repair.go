package bulk

import (
	"math"
	"slices"
	"time"
)

// polling is the end of a pass: statuses are collected.
type polling struct {
	first  bool // the pass sends everything for the first time
	passes int  // of this window
	began  time.Time
	wait   time.Duration
	grtt   time.Duration // the greatest round trip of late, as RFC 5401 calls it
	loss   float64
	tries  int
}

const (
	grttInitial = 50 * time.Millisecond
	grttMin     = 5 * time.Millisecond
	grttMax     = time.Second
	pollMax     = 500 * time.Millisecond
)

// rtt notes a round trip: up at once, down slowly, so that the slowest counts.
func (p *polling) rtt(d time.Duration) {
	p.grtt = min(grttMax, max(grttMin, d, p.grtt*15/16))
}

// endPass waits for the statuses of what was sent.
func (s *Sender) endPass(now time.Time) {
	p := &s.pass.poll
	if p.grtt == 0 {
		p.grtt = grttInitial
	}
	p.tries, p.wait = 0, 2*p.grtt+10*time.Millisecond
	s.state, s.clock.act = collecting, now.Add(p.wait)
	s.progress()
}

// missingReports returns the sections of the pass that an active receiver has not
// answered about.
func (s *Sender) missingReports() (sections []uint32) {
	members := s.roster.in(active)
	for i := range s.pass.tasks {
		section := s.pass.tasks[i].section
		for _, m := range members {
			if !s.answered(m, section) {
				sections = append(sections, uint32(section))
				break
			}
		}
	}
	return sections
}

func (s *Sender) answered(m *member, section int) bool {
	if m.have.has(section) {
		return true
	}
	p := m.reports[section]
	return p != nil && (p.Complete || p.Pass == s.pass.number)
}

// collect asks again until all active receivers have answered about all sections,
// then repairs or goes on.
func (s *Sender) collect(now time.Time) {
	missing := s.missingReports()
	if len(missing) == 0 {
		s.plan(now)
		return
	}
	if now.Before(s.clock.act) {
		return
	}
	if s.checkSilence(now); s.state != collecting {
		return
	}
	if missing = s.missingReports(); len(missing) == 0 {
		s.plan(now)
		return
	}
	// Answers of many receivers about many sections must fit into our own buffer.
	most := min(maxPoll, max(maxReports, 512/max(1, s.roster.count(active))))
	s.broadcast(Poll{Session: s.offer.Session, Number: s.number(), Pass: s.pass.number, Sections: missing[:min(len(missing), most)]})
	s.stats.Polls++
	p := &s.pass.poll
	p.tries++
	p.wait = min(pollMax, p.wait*3/2)
	s.clock.act = now.Add(p.wait)
}

// plan makes the next pass of what is missing.
func (s *Sender) plan(now time.Time) {
	p := s.pass
	p.poll.passes++
	s.dropStragglers()
	p.tasks = p.tasks[:0]
	p.next = 0
	p.poll.first = false
	members := s.roster.in(active)
	if len(members) == 0 {
		s.startTrailing(now)
		return
	}
	last := min(p.window+p.size, s.offer.Sections())
	for i := p.window; i < last; i++ {
		if t, ok := s.repair(members, i); ok {
			p.tasks = append(p.tasks, t)
		}
	}
	switch {
	case len(p.tasks) > 0 && p.poll.passes >= maxPasses:
		for _, m := range members {
			if s.missing(m) > 0 {
				s.evict(m, "still incomplete after many repairs")
			}
		}
		s.nextWindow(now)
	case len(p.tasks) > 0:
		p.number++
		s.state, s.clock.act = sending, now
	default:
		s.nextWindow(now)
	}
}

func (s *Sender) nextWindow(now time.Time) {
	if next := s.pass.window + s.pass.size; next < s.offer.Sections() && s.roster.count(active) > 0 {
		passes := s.pass.poll
		s.startPass(now, next)
		s.pass.poll.grtt, s.pass.poll.loss = passes.grtt, passes.loss
		return
	}
	s.startTrailing(now)
}

// missing returns how many packets m wants in this window.
func (s *Sender) missing(m *member) (n int) {
	for i, p := range m.reports {
		if m.have.has(i) {
			continue
		}
		n += lacks(p, s.offer.Blocks(i))
		if !p.Complete && p.Proof {
			n++
		}
	}
	return n
}

// stragglerPass is after how many repairs a minority is not waited for any more.
const stragglerPass = 5

// dropStragglers evicts receivers that lack far more than the others, so that one
// bad port, or one that lies, does not hold the group.
func (s *Sender) dropStragglers() {
	members := s.roster.in(active)
	if len(members) < 2 {
		return
	}
	sent := 0
	for i := range s.pass.tasks {
		sent += s.offer.Blocks(s.pass.tasks[i].section)
	}
	var lack []float64
	for _, m := range members {
		lack = append(lack, float64(s.missing(m)))
	}
	typical := median(lack)
	incomplete := 0
	for _, l := range lack {
		if l > 0 {
			incomplete++
		}
	}
	for i, m := range members {
		switch {
		case s.pass.poll.first && lack[i] > 4*typical+0.05*float64(sent)+8:
			s.evict(m, "lacks far more than the others")
		case s.pass.poll.passes > stragglerPass && lack[i] > 0 && 2*incomplete <= len(members):
			s.evict(m, "lacks what the others have after several repairs")
		}
	}
}

// repair returns what to send of a section to those who lack something: the missing
// blocks, or as many rows of parity as the neediest wants when that is less.
func (s *Sender) repair(members []*member, section int) (t task, ok bool) {
	t.section = section
	blocks := s.offer.Blocks(section)
	var union bitmap
	var need [Groups]int
	for _, m := range members {
		p := m.reports[section]
		if p == nil || p.Complete || m.have.has(section) {
			continue
		}
		ok = true // at least the way to the root is asked for
		if union == nil {
			union = newBitmap(SectionBlocks)
		}
		for i, b := range p.Holes {
			union[i] |= b
		}
		for g, n := range p.Need {
			need[g] = max(need[g], int(n))
		}
	}
	if union != nil {
		union.trim(blocks)
		s.choose(&t, union, need, blocks)
	}
	return t, ok
}

// choose fills in a task's blocks and rows, group by group.
func (s *Sender) choose(t *task, union bitmap, need [Groups]int, blocks int) {
	for g := range Groups {
		var missing []int
		for b := g; b < blocks; b += Groups {
			if union.has(b) {
				missing = append(missing, b)
			}
		}
		rows := need[g]
		if s.pass.poll.loss > 0.03 { // what repairs is lost as well
			rows = int(math.Ceil(float64(rows) / (1 - min(0.5, s.pass.poll.loss))))
		}
		if need[g] < len(missing) && rows < len(missing) && rows <= s.pass.left(t.section, g) {
			t.rows = append(t.rows, s.pass.spend(t.section, g, rows))
			continue
		}
		t.blocks = append(t.blocks, missing...)
	}
	slices.Sort(t.blocks)
}
