package chat

import "time"

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
	h := &hello{beat: p.beat, interval: uint64(every / time.Millisecond), name: r.roster.self.Name, claims: r.claims(now)}
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

// claims returns what the next hello says that we have: our own messages, then
// whom we have just come to know, who must see that we hear them, then all others
// in turn.
func (r *Room) claims(now time.Time) (list []claim) {
	size := 0
	add := func(c claim) bool {
		size += len(c.append(nil))
		if len(list) >= maxClaims || size > helloSize {
			return false
		}
		list = append(list, c)
		return true
	}
	add(r.claimOf(r.env.self))
	var rest []MemberID
	fresh := now.Add(-2 * r.interval())
	for _, m := range r.roster.sorted() {
		switch {
		case m.presence == candidate || m.presence == present && m.since.After(fresh):
			add(r.claimOf(m.id))
		case m.presence == present:
			rest = append(rest, m.id)
		}
	}
	for _, a := range r.log.sorted() {
		if m := r.roster.members[a.id]; a != r.log.own() && (m == nil || m.presence == vanished || m.presence == gone) && len(a.held) > 0 {
			rest = append(rest, a.id)
		}
	}
	for i := range rest {
		id := rest[(r.pulse.turn+i)%len(rest)]
		if !add(r.claimOf(id)) {
			r.pulse.turn = (r.pulse.turn + i) % len(rest)
			return list
		}
	}
	r.pulse.turn = 0
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
