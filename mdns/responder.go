package mdns

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Responding (RFC 6762 section 6).
const (
	// ResponseDelayMin and ResponseDelayMax bound the delay of answers that other
	// hosts may give too.
	ResponseDelayMin = 20 * time.Millisecond
	ResponseDelayMax = 120 * time.Millisecond
	// TruncatedDelayMin and TruncatedDelayMax bound the delay after a query that
	// says that more known answers follow (section 7.2).
	TruncatedDelayMin = 400 * time.Millisecond
	TruncatedDelayMax = 500 * time.Millisecond
	// RecordInterval is the least time between two multicasts of one record,
	// DefenceInterval the same in answer to a probe.
	RecordInterval  = time.Second
	DefenceInterval = 250 * time.Millisecond
	// ReplyMax is the most replies that wait at one time. When half of it are for
	// one querier each, further ones go to the group together.
	ReplyMax = 256
	// DeferredMax is the most replies that wait for further known answers. One
	// source has two at most: for it and for the group.
	DeferredMax = 64

	aggregationMax = 500 * time.Millisecond
	truncatedMax   = 2 * time.Second // however many known answers follow
)

// Responder answers the questions of others with records that are ours.
type Responder struct {
	rnd     *rand.Rand
	owned   owned
	sent    map[identity]time.Time // when last multicast
	pending []*reply
	dropped uint64
	limit   limiter
	hurried uint64 // truncated queries that found DeferredMax others
	out     []response
	trace   *trace
}

// reply is an answer that waits for its time.
type reply struct {
	to        netip.AddrPort // invalid: the groups
	truncated netip.Addr     // whose known answers may follow
	due       time.Time
	first     time.Time
	defence   bool
	why       cause
	answers   []Record
}

// response is a message to send; to is invalid for the groups.
type response struct {
	to     netip.AddrPort
	m      *Message
	legacy bool
	most   int // packets, when to is valid
}

// asker says where a query came from.
type asker struct {
	from netip.AddrPort
	// direct: sent to our own address, not to the group (section 5.5).
	direct bool
	// onLink: from a subnet of the interface, so that a unicast answer would be
	// accepted (section 11).
	onLink bool
}

// NewResponder returns a Responder without records that draws its delays from rnd.
func NewResponder(rnd *rand.Rand) *Responder {
	return &Responder{rnd: rnd, sent: make(map[identity]time.Time)}
}

// Set makes the records of a set answers from now on, in place of those that the
// set had.
func (r *Responder) Set(set int, records []Record) { r.owned.set(set, records) }

// Remove takes the records of a set away, out of waiting replies too.
func (r *Responder) Remove(set int) { r.owned.remove(set) }

// HandleQuery plans the answers to a query.
func (r *Responder) HandleQuery(now time.Time, m *Message, by asker) {
	if by.from.Port() != Port {
		if by.onLink {
			r.answerLegacy(now, m, by)
		} else {
			r.trace.packet(now, causeLegacyOffLink, by.from)
		}
		return
	}
	if by.direct && !by.onLink {
		return
	}
	r.moreKnown(now, m, by)
	single := len(m.Questions) == 1 && !m.Truncated
	more := m.Truncated && r.mayDefer(by.from.Addr())
	allowed := allowance{r: r, now: now, by: by}
	for i, q := range m.Questions {
		if repeated(m.Questions[:i], q) {
			continue
		}
		all := r.owned.answers(q)
		answers := r.suppress(all, m.Answers)
		r.trace.missing(now, causeKnown, all, answers)
		if len(answers) == 0 {
			continue
		}
		p := reply{first: now, defence: isProbe(m, q), answers: answers}
		switch {
		case p.defence:
			p.due, p.why = now, causeDefence
		case single && allUnique(answers):
			p.due, p.why = now, causeOnly
		case more:
			p.due, p.truncated = now.Add(uniform(r.rnd, TruncatedDelayMin, TruncatedDelayMax)), by.from.Addr()
			p.why = causeTruncated
		default:
			p.due, p.why = now.Add(uniform(r.rnd, ResponseDelayMin, ResponseDelayMax)), causeShared
			if allUnique(answers) {
				p.why = causeSeveral
			}
		}
		unicast := q.Unicast || by.direct
		if unicast && !allowed.get() {
			if unicast = false; by.direct {
				r.trace.all(now, NoteDropped, causeLimited, answers, 0, by.from)
				continue
			}
		}
		r.route(now, p, by, unicast)
	}
}

// isProbe reports whether m probes for q: it proposes a record that answers it
// (RFC 6762 section 6).
func isProbe(m *Message, q AskedQuestion) bool {
	return slices.ContainsFunc(m.Authority, func(a Record) bool { return a.answers(q.Question) })
}

func allUnique(records []Record) bool {
	return !slices.ContainsFunc(records, func(a Record) bool { return !a.Flush })
}

// suppress leaves out the answers that the querier knows with at least half of
// their true life (RFC 6762 section 7.1). A unique set goes whole or not at all
// (section 10.2).
func (r *Responder) suppress(answers, known []Record) []Record {
	knows := func(a Record) bool {
		return slices.ContainsFunc(known, func(k Record) bool { return k.identity() == a.identity() && k.halfOf(a) })
	}
	needed := make(map[rrset]bool)
	for _, a := range answers {
		if !knows(a) {
			needed[a.rrset()] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(answers), func(a Record) bool {
		return !needed[a.rrset()] || !a.Flush && knows(a)
	})
}

// route splits p into what goes to the querier and what goes to the groups. A QU
// question is answered by unicast unless the record was not multicast within a
// quarter of its life (RFC 6762 section 5.4); a probe is always answered by
// unicast and, when that long has passed, by multicast too.
func (r *Responder) route(now time.Time, p reply, by asker, unicast bool) {
	if !unicast || !by.onLink {
		r.enqueue(now, p)
		return
	}
	direct, group := p, p
	direct.to, direct.answers, group.answers = by.from, nil, nil
	if !p.defence {
		direct.why, group.why = causeQU, causeStale
		if by.direct {
			direct.why = causeDirect
		}
	}
	for _, a := range p.answers {
		at, was := r.sent[a.identity()]
		recent := was && now.Sub(at) < time.Duration(a.TTL)*time.Second/4
		if recent || p.defence {
			direct.answers = append(direct.answers, a)
		}
		if !recent {
			group.answers = append(group.answers, a)
		}
	}
	r.enqueue(now, direct)
	r.enqueue(now, group)
}

// enqueue adds p to the waiting replies, joining one to the same place: that one
// may wait up to 500 ms longer so that both go in one packet (RFC 6762 section 6.4).
func (r *Responder) enqueue(now time.Time, p reply) {
	if len(p.answers) == 0 {
		return
	}
	for _, w := range r.pending {
		if w.to != p.to || w.defence != p.defence || w.truncated != p.truncated || w.due.After(now) != p.due.After(now) {
			continue
		}
		w.answers = appendNew(w.answers, p.answers)
		if w.due.Sub(now) < ResponseDelayMin && p.due.After(w.due) && p.due.Sub(w.first) <= aggregationMax {
			w.due = p.due
		}
		r.trace.all(now, NoteDelayed, causeJoined, p.answers, w.due.Sub(now), p.to)
		return
	}
	if p.to.IsValid() && p.why != causeDirect && r.waiting(toOne) >= ReplyMax/2 {
		p.to = netip.AddrPort{} // one reply for all that ask
		r.enqueue(now, p)
		return
	}
	if len(r.pending) >= ReplyMax {
		r.dropped++
		r.trace.all(now, NoteDropped, causeFull, p.answers, 0, p.to)
		return
	}
	if p.due.After(now) {
		r.trace.all(now, NoteDelayed, p.why, p.answers, p.due.Sub(now), p.to)
	}
	r.pending = append(r.pending, &p)
}

// appendNew appends the records that are not there yet.
func appendNew(to, records []Record) []Record {
	for _, a := range records {
		if !slices.ContainsFunc(to, func(x Record) bool { return x.identity() == a.identity() }) {
			to = append(to, a)
		}
	}
	return to
}

// moreKnown takes the known answers of a further packet off the replies that wait
// for them (RFC 6762 section 7.2).
func (r *Responder) moreKnown(now time.Time, m *Message, by asker) {
	for _, w := range r.pending {
		if w.truncated != by.from.Addr() {
			continue
		}
		before := w.answers
		w.answers = r.suppress(before, m.Answers)
		r.trace.missing(now, causeKnownLater, before, w.answers)
		if m.Truncated && len(m.Questions) == 0 {
			due := now.Add(uniform(r.rnd, TruncatedDelayMin, TruncatedDelayMax))
			if due.Sub(w.first) <= truncatedMax {
				w.due = due
			}
		}
	}
}

// answerLegacy answers a plain DNS resolver at once, as a DNS server would (RFC
// 6762 section 6.7), in the 512 bytes that such a resolver expects at most: a
// small answer to a small question cannot be made a weapon.
func (r *Responder) answerLegacy(now time.Time, m *Message, by asker) {
	reply := &Message{ID: m.ID, Response: true}
	for _, q := range m.Questions {
		if answers := r.owned.answers(q); len(answers) > 0 {
			q.Unicast = false
			reply.Questions = append(reply.Questions, q)
			reply.Answers = appendNew(reply.Answers, answers)
		}
	}
	if len(reply.Answers) == 0 {
		return
	}
	if !r.limit.allow(now, by.from.Addr()) {
		r.trace.all(now, NoteDropped, causeLimited, reply.Answers, 0, by.from)
		return
	}
	reply.Additional = r.owned.additional(reply.Answers)
	for _, section := range [][]Record{reply.Answers, reply.Additional} {
		for i := range section {
			section[i].Flush = false
			section[i].TTL = min(section[i].TTL, legacyTTL)
		}
	}
	r.trace.all(now, NoteSent, causeLegacy, reply.Answers, 0, by.from)
	r.out = append(r.out, response{by.from, reply, true, DirectMax})
}

// HandleResponse takes a response of another host. An answer that waits and that
// it gives with no less life need not be given again (RFC 6762 section 7.4); one
// of ours that it gives with less than half its life is corrected (section 6.6).
func (r *Responder) HandleResponse(now time.Time, m *Message) {
	for _, theirs := range m.records() {
		own, ok := r.owned.find(theirs.identity())
		if !ok {
			continue
		}
		if !theirs.halfOf(own) {
			delay := uniform(r.rnd, ResponseDelayMin, ResponseDelayMax)
			r.enqueue(now, reply{first: now, due: now.Add(delay), why: causeShortTTL, answers: r.owned.whole(own)})
			continue
		}
		if theirs.TTL < own.TTL {
			continue
		}
		for _, w := range r.pending {
			if !w.to.IsValid() && !own.Flush {
				before := len(w.answers)
				w.answers = slices.DeleteFunc(w.answers, func(a Record) bool { return a.identity() == own.identity() })
				if len(w.answers) < before {
					r.trace.record(now, NoteSuppressed, causeAnswered, own, 0, netip.AddrPort{})
				}
			}
		}
	}
}

// Multicast sends records to the groups now, but for those that went there less
// than a second ago.
func (r *Responder) Multicast(now time.Time, records []Record) {
	r.send(now, reply{answers: records})
}

// HandleTimeout sends the replies that are due.
func (r *Responder) HandleTimeout(now time.Time) {
	var due []*reply
	r.pending = slices.DeleteFunc(r.pending, func(p *reply) bool {
		if now.Before(p.due) {
			return false
		}
		due = append(due, p)
		return true
	})
	for _, p := range due {
		p.answers = r.owned.current(p.answers)
		r.send(now, *p)
	}
	// Denials are not in the sets; a quarter of their life is what counts.
	for id, at := range r.sent {
		if _, ok := r.owned.find(id); !ok && now.Sub(at) > HostTTL*time.Second/4 {
			delete(r.sent, id)
		}
	}
}

// send makes p a message. A record is multicast at most once a second, or every
// 250 ms in answer to probes (RFC 6762 section 6): what must not go now is left
// out, because all have just seen it, but a defence waits for its moment.
func (r *Responder) send(now time.Time, p reply) {
	m := &Message{Response: true}
	if p.to.IsValid() {
		m.Answers = p.answers
	} else {
		least, later := RecordInterval, p
		if p.defence {
			least = DefenceInterval
		}
		later.answers = nil
		for _, a := range p.answers {
			at, was := r.sent[a.identity()]
			if !was || now.Sub(at) >= least {
				m.Answers = append(m.Answers, a)
				r.sent[a.identity()] = now
			} else if p.defence {
				later.answers, later.due, later.why = append(later.answers, a), at.Add(least), causeDefenceRecent
			} else {
				r.trace.record(now, NoteSuppressed, causeRecent, a, 0, netip.AddrPort{})
			}
		}
		r.enqueue(now, later)
	}
	if len(m.Answers) == 0 {
		return
	}
	m.Additional = r.owned.additional(m.Answers)
	r.trace.all(now, NoteSent, p.why, m.Answers, 0, p.to)
	r.out = append(r.out, response{p.to, m, false, p.most()})
}

// NextTimeout reports when HandleTimeout has something to do.
func (r *Responder) NextTimeout() (t time.Time, ok bool) {
	for _, p := range r.pending {
		t = earlier(t, p.due)
	}
	return t, !t.IsZero()
}

// take returns the messages to send and forgets them.
func (r *Responder) take() []response { o := r.out; r.out = nil; return o }

// conflict returns the record of ours that theirs contradicts: unique, with the
// same name, type and class, and with other data (RFC 6762 section 9).
func (r *Responder) conflict(theirs Record) (set int, ok bool) {
	if theirs.TTL == 0 {
		return 0, false
	}
	for _, s := range r.owned.sets {
		for _, own := range s.records {
			if own.Flush && needsProbe(own) && own.rrset() == theirs.rrset() {
				_, same := r.owned.find(theirs.identity())
				return s.set, !same
			}
		}
	}
	return 0, false
}

// needsProbe reports whether a unique record's name must be probed for: reverse
// names belong to whoever has the address (RFC 6762 section 8.1).
func needsProbe(r Record) bool {
	if !r.Flush {
		return false
	}
	name := foldName(r.Name)
	return r.Type != dns.TypePTR || !dns.IsSubDomain("in-addr.arpa.", name) && !dns.IsSubDomain("ip6.arpa.", name)
}
