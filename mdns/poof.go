package mdns

import (
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// Passive observation of failures (RFC 6762 section 10.5).
const (
	// PoofQueries is how many queries of others the owner of a record must leave
	// unanswered.
	PoofQueries = 2
	// PoofWindow is the time within which these queries come, and again the time
	// that the owner then has for an answer.
	PoofWindow = 10 * time.Second

	// poofSpacing is the least time between queries that count. Less apart are the
	// IPv4 and the IPv6 copy of one query, and queries that one answer serves.
	poofSpacing = 500 * time.Millisecond
	// poofRest is how long we do not ask either for what others ask in vain.
	poofRest = time.Minute
)

// missed counts unanswered queries of others for one record.
type missed struct {
	n           int
	first, last time.Time
}

// HandleQuery takes a query that another host multicast. Records whose owner must
// answer it and does not are gone, presumably: after [PoofQueries] such queries and
// [PoofWindow] without the record it goes, as [Poof], and we do not ask ourselves
// (RFC 6762 section 10.5). Not counted are questions that may be answered by
// unicast, probes, and queries whose known answers are not all here.
func (c *Cache) HandleQuery(now time.Time, m *Message, from netip.Addr) {
	if m.Truncated || len(m.Authority) > 0 {
		return
	}
	known := make(map[identity]bool, len(m.Answers))
	for _, r := range m.Answers {
		known[r.identity()] = true
	}
	seen := make(map[Question]bool, len(m.Questions))
	for _, q := range m.Questions {
		q.Name = foldName(q.Name)
		if q.Unicast || q.Class != dns.ClassINET || seen[q.Question] {
			continue
		}
		seen[q.Question] = true
		for _, e := range c.sets[q.Name] {
			if e.record.answers(q.Question) && e.mustAnswer(now, from) && !known[e.record.identity()] {
				c.missed(now, e)
			}
		}
	}
}

// mustAnswer reports whether the owner of e has to multicast it to from, unless it
// is known there (RFC 6762 section 7.1): it was not multicast within the last
// second (section 6), and from is another host.
func (e *entry) mustAnswer(now time.Time, from netip.Addr) bool {
	return now.Sub(e.heard) > Grace && !e.cameFrom(from)
}

// missed counts one query. Where a second opinion about e is due anyway, the
// question of another host does for ours (RFC 6762 section 7.3).
func (c *Cache) missed(now time.Time, e *entry) {
	if e.doubt.on && !e.ask.IsZero() && e.reason != Unconfirmed && e.ask.Sub(now) < poofSpacing {
		c.trace.question(now, NoteSuppressed, causeAsked, Question{e.record.Name, e.record.Type}, 0)
		e.asked(now)
		c.stale = true
	}
	if e.reason != Expired || e.missed.n > 0 && now.Sub(e.missed.last) < poofSpacing {
		return
	}
	if e.missed.n == 0 || now.Sub(e.missed.first) > PoofWindow {
		e.missed = missed{first: now}
	}
	e.missed.n++
	e.missed.last = now
	if e.missed.n < PoofQueries {
		c.trace.record(now, NoteHeeded, causeMissed, e.record, 0, netip.AddrPort{})
		return
	}
	if at := now.Add(PoofWindow); at.Before(e.expire) {
		e.expire, e.reason, e.ask = at, Poof, time.Time{}
		c.stale = true
		c.trace.record(now, NoteHeeded, causePoof, e.record, PoofWindow, netip.AddrPort{})
	}
}
