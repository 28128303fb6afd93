package chat

import (
	"bytes"
	"cmp"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"
)

// The delays of asking and of repairing. Suppression works when they are long
// against the time that a datagram takes (RFC 5740 section 5.1 draws them from the
// round-trip time; on one link that is about a millisecond).
const (
	askLeast, askMost         = 40 * time.Millisecond, 160 * time.Millisecond  // after a gap was seen
	quietLeast, quietMost     = 100 * time.Millisecond, 250 * time.Millisecond // after the last useful piece
	othersLeast, othersMost   = 300 * time.Millisecond, 600 * time.Millisecond // after somebody else asked
	retryLeast                = 400 * time.Millisecond                         // doubles with each try
	maxDoublings, maxTries    = 4, 12
	repairWait                = 30 * time.Millisecond  // the author's head start
	repairSpread              = 15 * time.Millisecond  // a member, for all but the author
	othersRepair              = 150 * time.Millisecond // somebody else is repairing
	repairHoldoff             = 80 * time.Millisecond  // a repair just made is not made again
	maxRepairs                = 512
	ownGiveUp                 = 1500 * time.Millisecond // what an author says it has not is soon given up
	pastGiveUp                = 500 * time.Millisecond  // what was before we came, when nobody claims it
	mostRepairMembers         = 32
	mostSequencesOfOneRequest = 256
)

// between draws a duration from least to most.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// ask is when an author's missing messages are asked for.
type ask struct {
	at      time.Time // zero: nothing is missing
	next    uint64    // the first that was missing; when it has come, tries and blocked begin anew
	tries   int
	blocked time.Time // since when nobody present has that one
}

// slot is a message by author and sequence.
type slot struct {
	author   MemberID
	sequence uint64
}

// repair is a message that somebody asked for and that we shall repeat.
type repair struct {
	slot
	due    time.Time
	pieces uint64 // a bit for each that is still to be sent
}

// repairs are the repeats that this member owes, unless others are faster.
type repairs struct {
	owed  map[slot]*repair
	stats *Stats
}

func newRepairs(stats *Stats) *repairs {
	return &repairs{owed: make(map[slot]*repair), stats: stats}
}

// owe adds pieces of a message to what is to be sent at due.
func (q *repairs) owe(s slot, pieces uint64, due time.Time) {
	if r := q.owed[s]; r != nil {
		r.pieces |= pieces
		return
	}
	if len(q.owed) >= maxRepairs {
		q.stats.Full++
		return
	}
	q.owed[s] = &repair{slot: s, due: due, pieces: pieces}
}

// heard strikes a piece that somebody else has sent, and leaves the rest of the
// author's messages to them for a while.
func (q *repairs) heard(now time.Time, s slot, index uint8) {
	r := q.owed[s]
	if r == nil || r.pieces&(1<<index) == 0 {
		return
	}
	q.stats.Suppressed++
	if r.pieces &^= 1 << index; r.pieces == 0 {
		delete(q.owed, s)
	}
	for _, o := range q.owed {
		if t := now.Add(othersRepair); o.author == s.author && o.due.Before(t) {
			o.due = t
		}
	}
}

// next returns when the first repair is due.
func (q *repairs) next() (at time.Time, ok bool) {
	for _, r := range q.owed {
		if !ok || r.due.Before(at) {
			at, ok = r.due, true
		}
	}
	return at, ok
}

// take returns one piece that is due, and strikes it.
func (q *repairs) take(now time.Time) (s slot, index int, ok bool) {
	var first *repair
	for _, r := range q.owed {
		if !r.due.After(now) && (first == nil || r.compare(first) < 0) {
			first = r
		}
	}
	if first == nil {
		return slot{}, 0, false
	}
	index = bits.TrailingZeros64(first.pieces)
	if first.pieces &= first.pieces - 1; first.pieces == 0 {
		delete(q.owed, first.slot)
	}
	return first.slot, index, true
}

func (r *repair) compare(o *repair) int {
	return cmp.Or(r.due.Compare(o.due), bytes.Compare(r.author[:], o.author[:]), cmp.Compare(r.sequence, o.sequence))
}

// wantsOf returns the entries of a request for the messages of a in list.
func wantsOf(a *author, list []uint64) (wants []want) {
	for _, s := range list {
		lacks := a.lacks(s)
		last := len(wants) - 1
		if lacks != ^uint64(0) {
			wants = append(wants, want{author: a.id, first: s, count: 1, pieces: lacks})
		} else if last >= 0 && wants[last].pieces == 0 && wants[last].first+wants[last].count == s && wants[last].count < maxWantCount {
			wants[last].count++
		} else {
			wants = append(wants, want{author: a.id, first: s, count: 1})
		}
	}
	return wants
}

// plan decides when to ask for what is missing of a.
func (r *Room) plan(now time.Time, a *author) {
	switch missing := len(a.missing(a.high, 1)) > 0; {
	case !missing:
		a.ask = ask{}
	case a.ask.at.IsZero():
		a.ask.at = now.Add(between(r.cfg.Rand, askLeast, askMost))
	}
}

// progress plans anew after a useful piece of a message: more may be on the way.
func (r *Room) progress(now time.Time, a *author, sequence uint64) {
	if a.ask.next != a.next || sequence == a.next {
		a.ask = ask{next: a.next}
	}
	a.ask.at = time.Time{}
	if len(a.missing(a.high, 1)) > 0 {
		a.ask.at = now.Add(between(r.cfg.Rand, quietLeast, quietMost))
	}
}

// askAll asks for what is missing of the authors whose time has come.
func (r *Room) askAll(now time.Time) {
	q := &request{}
	for _, a := range r.log.sorted() {
		if a.ask.at.IsZero() || a.ask.at.After(now) {
			continue
		}
		r.giveUp(now, a)
		wants := wantsOf(a, a.missing(a.high, maxWants))
		room := maxWants - len(q.wants)
		if len(wants) == 0 || room == 0 {
			if len(wants) == 0 {
				a.ask = ask{}
			}
			continue
		}
		q.wants = append(q.wants, wants[:min(room, len(wants))]...)
		d := retryLeast << min(a.ask.tries, maxDoublings)
		a.ask.tries++
		a.ask.at = now.Add(between(r.cfg.Rand, d*3/4, d*5/4))
	}
	if len(q.wants) > 0 {
		r.stats.Requests++
		r.out.control(q)
	}
}

// giveUp looks whether anybody has the next message of a, and gives it up when
// that has not been so for long enough.
func (r *Room) giveUp(now time.Time, a *author) {
	if a.ask.next != a.next {
		a.ask.next, a.ask.tries, a.ask.blocked = a.next, 0, time.Time{}
	}
	exhausted := a.ask.tries >= maxTries
	if exhausted {
		a.rest()
	}
	if a.held[a.next] != nil || a.high < a.next {
		return
	}
	held, lowest, own := r.holders(a)
	if held && !exhausted {
		a.ask.blocked = time.Time{}
		return
	}
	to := lowest
	for s := range a.held {
		if s > a.next && (to == 0 || s < to) {
			to = s
		}
	}
	if to == 0 {
		if exhausted { // nobody has it, and nothing waits for it: it may not exist
			a.high = a.next - 1
		}
		return
	}
	if a.ask.blocked.IsZero() {
		a.ask.blocked = now
	}
	wait := r.cfg.Patience
	switch {
	case held: // who claims it does not give it
		wait = 0
	case !a.begun && lowest > 0: // the history begins there
		wait = pastGiveUp
	case own:
		wait = ownGiveUp
	case !a.begun:
		wait = 2 * r.cfg.Beat
	}
	if now.Sub(a.ask.blocked) >= wait {
		r.log.give(a, to)
		a.ask = ask{at: a.ask.at, next: a.next}
	}
}

// holders reports whether a member that is here claims to have the next message of
// a, which is the lowest later one that any has (0: none), and whether the author
// is here and says itself that it has not the next one.
func (r *Room) holders(a *author) (held bool, lowest uint64, own bool) {
	for _, m := range r.roster.members {
		c, ok := m.claims[a.id]
		if m.presence != present || !ok || c.low == 0 || c.low > c.high {
			continue
		}
		switch {
		case c.low <= a.next && a.next <= c.high:
			held = true
		case c.low > a.next:
			own = own || m.id == a.id
			if lowest == 0 || c.low < lowest {
				lowest = c.low
			}
		}
	}
	return held, lowest, own
}

// request takes what another member misses: we owe it what we have, and need not
// ask for it ourselves.
func (r *Room) request(now time.Time, q *request) {
	delay := repairWait + between(r.cfg.Rand, 0, repairSpread*time.Duration(min(r.roster.count(), mostRepairMembers)))
	budget := uint64(mostSequencesOfOneRequest)
	for _, w := range q.wants {
		a := r.log.authors[w.author]
		if a == nil {
			continue
		}
		r.yield(now, a, w)
		due := now.Add(delay)
		if a == r.log.own() {
			due = now
		}
		n := min(w.count, budget)
		budget -= n
		for s := w.first; s < w.first+n; s++ {
			rec := a.held[s]
			if rec == nil || now.Sub(rec.repaired) < repairHoldoff {
				continue
			}
			pieces := allOf(rec.pieces())
			if w.pieces != 0 {
				pieces &= w.pieces
			}
			if pieces != 0 {
				r.mend.owe(slot{w.author, s}, pieces, due)
			}
		}
	}
}

// yield puts off asking for what somebody else has just asked for.
func (r *Room) yield(now time.Time, a *author, w want) {
	if a.ask.at.IsZero() || w.first+w.count <= a.next || !slices.ContainsFunc(a.missing(a.high, maxWants), func(s uint64) bool { return w.first <= s && s < w.first+w.count }) {
		return
	}
	if t := now.Add(between(r.cfg.Rand, othersLeast, othersMost)); a.ask.at.Before(t) {
		a.ask.at = t
		r.stats.Suppressed++
	}
}
