package chat

import (
	"cmp"
	"slices"
	"time"
)

// interval returns the time between hellos: all members together say about ten a
// second at most, as RFC 3550 section 6.2 bounds the reports of a session.
func (r *Room) interval() time.Duration {
	return min(max(r.cfg.Beat, shareOfMember*time.Duration(1+r.roster.count())), maxInterval)
}

// hello says hello and decides when the next one is due.
func (r *Room) hello(now time.Time) {
	p := &r.pulse
	p.beat++
	p.last = now
	every := r.interval()
	h := &hello{beat: p.beat, interval: uint64(every / time.Millisecond), name: r.roster.self.Name, claims: r.claims()}
	if p.beat <= joinHellos {
		h.flags |= flagNew
	}
	if r.flush.on {
		h.flags |= flagSure
	}
	r.out.control(h)
	jitter := every * jitterParts / jitterOf
	p.next = now.Add(between(r.cfg.Rand, every-jitter, every+jitter))
	if p.beat < joinHellos {
		p.next = now.Add(min(every, joinSoon<<(2*(p.beat-1))))
	}
}

// soon says the next hello within d, but not right behind the last one.
func (r *Room) soon(now time.Time, d time.Duration) {
	t := now.Add(d)
	if least := r.pulse.last.Add(helloGap); t.Before(least) {
		t = least
	}
	if t.Before(r.pulse.next) {
		r.pulse.next = t
	}
}

// listing is how often our hellos spoke of somebody, and in which one last.
type listing struct {
	times uint64
	beat  uint64
}

// mustKnow is in how many hellos somebody new comes first: who joins must see that
// we hear them, and some hellos are lost.
const mustKnow = 3

// compare puts who is new before all others, then whom the hellos spoke of longest ago.
func (l *listing) compare(o *listing) int {
	return cmp.Or(cmp.Compare(min(l.times, mustKnow), min(o.times, mustKnow)), cmp.Compare(l.beat, o.beat))
}

// claims returns what the next hello says that we have: our own messages, then
// those of all others in turn, as many as it has room for.
func (r *Room) claims() []claim {
	type entry struct {
		id     MemberID
		listed *listing
	}
	var all []entry
	for _, m := range r.roster.sorted() {
		if m.presence == candidate || m.presence == present {
			all = append(all, entry{m.id, &m.listed})
		}
	}
	for _, a := range r.log.sorted() {
		if m := r.roster.members[a.id]; a != r.log.own() && (m == nil || m.presence == vanished || m.presence == gone) && len(a.held) > 0 {
			all = append(all, entry{a.id, &a.listed})
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return a.listed.compare(b.listed) })
	own := r.claimOf(r.env.self)
	list, size := []claim{own}, len(own.append(nil))
	for _, e := range all {
		c := r.claimOf(e.id)
		if size += len(c.append(nil)); len(list) >= maxClaims || size > helloSize {
			break
		}
		list = append(list, c)
		e.listed.times++
		e.listed.beat = r.pulse.beat
	}
	return list
}

// claimOf returns what we have of an author.
func (r *Room) claimOf(id MemberID) claim {
	a := r.log.authors[id]
	if a == nil {
		return claim{author: id, low: 1}
	}
	low := a.low()
	if low == 0 {
		return claim{author: id, low: a.next, delivered: a.next - 1}
	}
	return claim{author: id, low: low, delivered: a.next - 1, high: a.highest()}
}

// bye says one of the goodbyes when it is due.
func (r *Room) bye(now time.Time) {
	p := &r.pulse
	if p.byes == 0 || p.next.After(now) {
		return
	}
	p.byes--
	p.beat++
	p.next = now.Add(goodbyeEvery)
	r.out.control(&goodbye{beat: p.beat})
}
