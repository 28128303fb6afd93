package mdns

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/miekg/dns"
)

// Querying (RFC 6762 section 5.2).
const (
	// QueryInterval is the time between the first two queries; it then doubles.
	QueryInterval = time.Second
	// QueryIntervalMax is where doubling ends.
	QueryIntervalMax = time.Hour
	// QuestionMax is the most questions one Querier asks.
	QuestionMax = 8192

	// KnownMax is the most known answers one query lists. What is beyond is answered
	// again, which costs less than a query of hundreds of packets.
	KnownMax = 1000

	firstQueryMin = 20 * time.Millisecond
	firstQueryMax = 120 * time.Millisecond
)

// Querier asks the questions that somebody is interested in.
type Querier struct {
	rnd     *rand.Rand
	unicast bool
	asking  []*asking
	refused uint64
	out     []*Message
	trace   *trace
	// disputed are questions about records in doubt, for the next HandleTimeout.
	disputed []Question
}

type asking struct {
	q     Question
	users int
	sent  int
	next  time.Time
	gap   time.Duration
}

// NewQuerier returns a Querier that draws its delays from rnd, and whose first
// query of a series asks for unicast answers when unicast is true.
func NewQuerier(rnd *rand.Rand, unicast bool) *Querier { return &Querier{rnd: rnd, unicast: unicast} }

// Start adds a user of q and reports false when there are too many questions. The
// first query waits 20 to 120 ms, together with other first ones.
func (s *Querier) Start(now time.Time, q Question) bool {
	if a := s.find(q); a != nil {
		a.users++
		return true
	}
	if len(s.asking) >= QuestionMax {
		s.refused++
		return false
	}
	a := &asking{q: q, users: 1, next: s.first(now)}
	s.asking = append(s.asking, a)
	s.trace.question(now, NoteDelayed, causeFirstQuestion, q, a.next.Sub(now))
	return true
}

// first draws when a series begins: with another one that is about to.
func (s *Querier) first(now time.Time) time.Time {
	for _, a := range s.asking {
		if a.sent == 0 && a.next.After(now) {
			return a.next
		}
	}
	return now.Add(uniform(s.rnd, firstQueryMin, firstQueryMax))
}

// Stop takes a user of q away.
func (s *Querier) Stop(q Question) {
	a := s.find(q)
	if a == nil {
		return
	}
	if a.users--; a.users == 0 {
		s.asking = slices.DeleteFunc(s.asking, func(x *asking) bool { return x == a })
	}
}

// Restart begins every series anew: the link has changed.
func (s *Querier) Restart(now time.Time) {
	for _, a := range s.asking {
		a.sent, a.gap, a.next = 0, 0, time.Time{}
	}
	at := s.first(now)
	for _, a := range s.asking {
		a.next = at
	}
}

// Gone tells that no record is left that answers r's question: a series that an
// answer had ended begins again, a second later.
func (s *Querier) Gone(now time.Time, r Record) { s.resume(now, r, QueryInterval) }

// resume begins the series that r answers again, after rest.
func (s *Querier) resume(now time.Time, r Record, rest time.Duration) {
	for _, a := range s.asking {
		if r.answers(a.q) && a.next.After(now.Add(rest)) {
			a.gap, a.next = 0, now.Add(rest)
		}
	}
}

func (s *Querier) find(q Question) *asking {
	for _, a := range s.asking {
		if a.q.Type == q.Type && sameName(a.q.Name, q.Name) {
			return a
		}
	}
	return nil
}

// wants reports whether r answers a question that somebody asks.
func (s *Querier) wants(r Record) bool {
	return slices.ContainsFunc(s.asking, func(a *asking) bool { return r.answers(a.q) })
}

// HandleResponse takes the answers of others: after a unique one there is no more
// to expect, and the question is next asked to refresh it (RFC 6762 section 5.2).
func (s *Querier) HandleResponse(now time.Time, m *Message) {
	for _, r := range m.records() {
		if !r.Flush || r.TTL == 0 {
			continue
		}
		for _, a := range s.asking {
			if a.q.Type == r.Type && sameName(a.q.Name, r.Name) && a.sent > 0 {
				a.gap, a.next = QueryIntervalMax, now.Add(QueryIntervalMax)
				s.trace.question(now, NoteDelayed, causeUnique, a.q, a.gap)
			}
		}
	}
}

// HandleQuery takes a query of another host. A QM question that is also ours counts
// as asked when its known answers are among those we would list (RFC 6762 section
// 7.3).
func (s *Querier) HandleQuery(now time.Time, m *Message, known func(Question) []Record) {
	if m.Truncated {
		return // its known answers are not all here
	}
	for _, q := range m.Questions {
		a := s.find(q.Question)
		if a == nil || q.Unicast || q.Class != dns.ClassINET || a.next.Sub(now) > QueryInterval {
			continue
		}
		var ours []Record
		if slices.ContainsFunc(m.Answers, func(r Record) bool { return r.answers(q.Question) }) {
			ours = known(q.Question)
		}
		foreign := slices.ContainsFunc(m.Answers, func(r Record) bool {
			return r.answers(q.Question) && !slices.ContainsFunc(ours, func(o Record) bool { return o.identity() == r.identity() })
		})
		if !foreign {
			a.asked(now)
			s.trace.question(now, NoteSuppressed, causeAsked, a.q, 0)
		}
	}
}

// asked moves a on to its next query.
func (a *asking) asked(now time.Time) {
	a.sent++
	switch {
	case a.gap == 0:
		a.gap = QueryInterval
	case a.gap < QueryIntervalMax/2:
		a.gap *= 2
	default:
		a.gap = QueryIntervalMax
	}
	a.next = now.Add(a.gap)
}

// HandleTimeout asks what is due, and refresh, in one message. known gives the
// known answers to a question.
func (s *Querier) HandleTimeout(now time.Time, refresh []Question, known func(Question) []Record) {
	m, listed := new(Message), make(map[identity]bool)
	ask := func(q Question, unicast bool) {
		m.Questions = append(m.Questions, AskedQuestion{q, dns.ClassINET, unicast})
		if unicast {
			return // wants to hear all there is
		}
		for _, r := range known(q) {
			if id := r.identity(); !listed[id] && len(m.Answers) < KnownMax {
				listed[id] = true
				m.Answers = append(m.Answers, r)
			}
		}
	}
	for _, a := range s.asking {
		if now.Before(a.next) {
			continue
		}
		ask(a.q, s.unicast && a.sent == 0)
		s.trace.question(now, NoteSent, causeSeries, a.q, 0)
		a.asked(now)
	}
	more := func(list []Question, why cause) {
		for _, q := range list {
			if !slices.ContainsFunc(m.Questions, func(x AskedQuestion) bool { return x.Type == q.Type && sameName(x.Name, q.Name) }) {
				ask(q, false)
				s.trace.question(now, NoteSent, why, q, 0)
			}
		}
	}
	more(refresh, causeRefresh)
	more(s.disputed, causeDisputed)
	s.disputed = nil
	if len(m.Questions) > 0 {
		s.out = append(s.out, m)
	}
}

// NextTimeout reports when HandleTimeout has something to do.
func (s *Querier) NextTimeout() (t time.Time, ok bool) {
	for _, a := range s.asking {
		t = earlier(t, a.next)
	}
	return t, !t.IsZero()
}

// Outgoing returns the queries to send and forgets them.
func (s *Querier) Outgoing() []*Message { out := s.out; s.out = nil; return out }

// uniform draws from [min, max].
func uniform(rnd *rand.Rand, min, max time.Duration) time.Duration {
	return min + time.Duration(rnd.Int64N(int64(max-min)+1))
}
