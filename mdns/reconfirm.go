package mdns

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Records in doubt (RFC 6762 section 10.4).
const (
	// ReconfirmWindow is how long the owner of a record that is reconfirmed has to
	// speak up, from the first question on. After its last question a record
	// is left alone for as long, should it be doubted again.
	ReconfirmWindow = 10 * time.Second
	// OpinionWindow is the same for a record that another address withdrew or
	// replaced.
	OpinionWindow = 2 * time.Second

	reconfirmQueries = 3 // at 0, 1 and 3 s
	opinionQueries   = 2 // at 0 and 1 s
	alsoMax          = 3
)

// doubt is what a cache does about a record that may be stale.
type doubt struct {
	on   bool
	last time.Time // when the last question was asked, in this doubt or one before
	left int       // questions to ask yet
	gap  time.Duration
}

// Reconfirm doubts r, which a user found to be of no use: it is asked for three
// times and goes, as [Unconfirmed], when it is not heard within [ReconfirmWindow]
// (RFC 6762 section 10.4). It reports whether the record is held.
func (c *Cache) Reconfirm(now time.Time, r Record) bool {
	for _, e := range c.sets[foldName(r.Name)] {
		if e.record.identity() == r.identity() {
			c.doubt(now, e, reconfirmQueries, ReconfirmWindow, Unconfirmed)
			return true
		}
	}
	return false
}

// end takes a record off that from withdrew (Goodbye) or replaced (Flushed): after
// a second (RFC 6762 sections 10.1, 10.2), or, when somebody here uses it and from
// is not known as an address of its owner, after a second opinion.
func (c *Cache) end(now time.Time, e *entry, from netip.Addr, why Reason) {
	if !e.cameFrom(from) && c.wanted(e.record) && !c.announced(e, from) {
		if c.doubt(now, e, opinionQueries, OpinionWindow, why) {
			c.trace.record(now, NoteHeeded, causeDoubted, e.record, e.expire.Sub(now), netip.AddrPortFrom(from, Port))
		}
		return
	}
	if at := now.Add(Grace); at.Before(e.expire) {
		e.expire, e.reason, e.ask = at, why, time.Time{}
	}
}

// doubt begins to ask for e, together with others that are about to be asked for,
// and reports false when it is in doubt already or goes within a second anyway.
// The wait of 20 to 120 ms keeps hosts that heard the same packet from asking
// together (RFC 6762 section 5.2).
func (c *Cache) doubt(now time.Time, e *entry, queries int, window time.Duration, why Reason) bool {
	if e.doubt.on || e.expire.Sub(now) <= Grace {
		return false
	}
	if !c.doubtAt.After(now) {
		c.doubtAt = now.Add(uniform(c.rnd, firstQueryMin, firstQueryMax))
	}
	first := c.doubtAt
	if again := e.doubt.last.Add(ReconfirmWindow); !e.doubt.last.IsZero() && again.After(first) {
		first = again
	}
	c.stale = true
	e.ask = first
	e.doubt = doubt{on: true, last: e.doubt.last, left: queries, gap: QueryInterval}
	if at := first.Add(window); at.Before(e.expire) {
		e.expire, e.reason = at, why
	}
	return true
}

// asked moves an entry in doubt on to its next question. Two of them are never
// less than a second apart (RFC 6762 section 5.2).
func (e *entry) asked(now time.Time) {
	e.doubt.last = now
	if e.doubt.left--; e.doubt.left <= 0 {
		e.ask = time.Time{}
		return
	}
	e.ask = now.Add(e.doubt.gap)
	e.doubt.gap *= 2
}

// heardFrom takes note that from sent the record once more, which ends all doubt.
func (c *Cache) heardFrom(now time.Time, e *entry, from netip.Addr) {
	if e.doubt.on || e.reason == Poof {
		c.trace.record(now, NoteHeeded, causeConfirmed, e.record, 0, netip.AddrPortFrom(from, Port))
	}
	if e.from == from {
		return
	}
	e.also = slices.DeleteFunc(e.also, func(a netip.Addr) bool { return a == from })
	e.also = append(e.also, e.from)
	e.also = e.also[max(0, len(e.also)-alsoMax):]
}

// announced reports whether who gave us e has announced a as an address of a host.
func (c *Cache) announced(e *entry, a netip.Addr) bool {
	plain := a.Unmap().WithZone("")
	for _, set := range c.sets {
		for _, x := range set {
			if data, ok := x.record.Addr(); ok && data == plain && x.cameFrom(e.from) {
				return true
			}
		}
	}
	return false
}

// cameFrom reports whether a has sent e.
func (e *entry) cameFrom(a netip.Addr) bool { return e.from == a || slices.Contains(e.also, a) }

// disputed returns the questions to ask about records in doubt and forgets them.
func (c *Cache) disputed() []Question { o := c.disputes; c.disputes = nil; return o }

// appendQuestion appends q unless it is there.
func appendQuestion(list []Question, q Question) []Question {
	if slices.ContainsFunc(list, func(x Question) bool { return x.Type == q.Type && sameName(x.Name, q.Name) }) {
		return list
	}
	return append(list, q)
}

// Reconfirm makes sure of a record of others that proved to be of no use, an
// address that does not respond say: it is asked for, and goes when its owner does
// not answer within [ReconfirmWindow] (RFC 6762 section 10.4). It reports whether
// the record is held.
func (e *Engine) Reconfirm(now time.Time, r Record) bool {
	held := e.cache.Reconfirm(now, r)
	e.settle(now)
	return held
}

// Reconfirm makes sure of a record on all interfaces; see [Engine.Reconfirm]. It
// fails with [ErrName] for a record that cannot be.
func (h *Host) Reconfirm(now time.Time, r Record) (held bool, err error) {
	if r, err = canonicalRecord(r); err != nil {
		return false, fmt.Errorf("mdns: reconfirm: %w", err)
	}
	for _, e := range h.engines {
		held = e.Reconfirm(now, r) || held
	}
	h.collect(now)
	return held, nil
}
