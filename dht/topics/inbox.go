package topics

import (
	"maps"
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// remember is how long the session of a node is kept that asks nothing any more. It
// is longer than [MaxDeadline], after which nobody repeats a request.
const remember = 2 * MaxDeadline

// maxSessions bounds how many nodes' sessions are kept.
const maxSessions = 4096

// inbox remembers what other nodes have asked, so that it is handled once.
type inbox struct {
	sessions map[dht.ID]*session
	requests int // of all sessions
	bytes    int // of their answers
	timed    bool
}

// session is what is known of one node's requests.
type session struct {
	incarnation uint64
	oldest      uint64 // below, nothing is handled any more
	handled     map[uint64]*handled
	heard       time.Time
}

// handled is a request that is being handled, or was.
type handled struct {
	from     dht.Peer
	answered bool
	reply    Reply
}

func (e *Engine) handleRequest(now time.Time, from dht.Peer, m Request) {
	if len(m.Payload) > MaxPayload || m.Service == "" || m.Number < m.Oldest || m.Oldest == 0 || m.Kind > ToOne ||
		m.Kind != Ask && m.Key != TopicID(e.cfg.Space, m.Service) {
		e.count.Malformed++
		return
	}
	s := e.inbox.sessions[from.ID]
	if s != nil && e.repeated(now, s, from, m) {
		return
	}
	status := Done
	switch {
	case !e.owns(m.Key):
		status = Elsewhere
		e.count.Elsewhere++
	case !e.room(now, s, from):
		status = Busy
		e.count.Busy++
	}
	if status != Done {
		e.send(from, Reply{Number: m.Number, Status: status})
		return
	}
	e.begin(now, from, m)
}

// repeated deals with a request that this node has seen, or whose sender does not
// wait any more. It forgets what the sender has.
func (e *Engine) repeated(now time.Time, s *session, from dht.Peer, m Request) bool {
	if from.Incarnation != s.incarnation {
		if from.Incarnation < s.incarnation {
			e.count.Stale++
			return true
		}
		e.forget(s, ^uint64(0))
		s.incarnation, s.oldest = from.Incarnation, 0
	}
	s.heard = now
	if m.Oldest > s.oldest {
		e.forget(s, m.Oldest)
		s.oldest = m.Oldest
	}
	if m.Number < s.oldest {
		e.count.Stale++ // its sender has its answer, or has given up
		return true
	}
	h := s.handled[m.Number]
	if h == nil || e.mutation == forgetAnswers {
		return false
	}
	e.count.Repeated++
	if h.answered {
		e.send(from, h.reply)
		return true
	}
	h.from = from
	e.send(from, Reply{Number: m.Number, Status: Working})
	return true
}

// forget drops the requests of a session with numbers below oldest.
func (e *Engine) forget(s *session, oldest uint64) {
	for n, h := range s.handled {
		if n < oldest {
			e.inbox.requests--
			e.inbox.bytes -= len(h.reply.Payload)
			delete(s.handled, n)
		}
	}
}

// room reports whether one more request may be handled. Nothing that its sender waits
// for is forgotten to make room, or it might be handled twice.
func (e *Engine) room(now time.Time, s *session, from dht.Peer) bool {
	l := e.cfg.Limits
	if e.inbox.requests >= l.Handled || e.inbox.bytes >= l.HandledBytes {
		e.endSessions(now)
	}
	if e.inbox.requests >= l.Handled || e.inbox.bytes >= l.HandledBytes {
		return false
	}
	if s != nil {
		return len(s.handled) < max(l.Handled/8, 1) || from.ID == e.cfg.Self.ID
	}
	if len(e.inbox.sessions) >= maxSessions {
		e.endSessions(now)
	}
	return len(e.inbox.sessions) < maxSessions
}

// endSessions forgets the nodes that have asked nothing for long.
func (e *Engine) endSessions(now time.Time) {
	for id, s := range e.inbox.sessions {
		if now.Sub(s.heard) > remember {
			e.forget(s, ^uint64(0))
			delete(e.inbox.sessions, id)
		}
	}
}

func (e *Engine) sessionsDue(now time.Time) {
	e.inbox.timed = false
	e.endSessions(now)
	e.watchSessions(now)
}

func (e *Engine) watchSessions(now time.Time) {
	if !e.inbox.timed && len(e.inbox.sessions) > 0 {
		e.inbox.timed = true
		e.timers.set(timer{at: now.Add(remember / 2), of: ofSessions})
	}
}

// begin handles a request for the first time.
func (e *Engine) begin(now time.Time, from dht.Peer, m Request) {
	s := e.inbox.sessions[from.ID]
	if s == nil {
		s = &session{incarnation: from.Incarnation, oldest: m.Oldest, handled: map[uint64]*handled{}}
		e.inbox.sessions[from.ID] = s
		e.watchSessions(now)
	}
	s.heard = now
	s.handled[m.Number] = &handled{from: from}
	e.inbox.requests++
	e.count.Handled++
	id := RequestID{from.ID, from.Incarnation, m.Number}
	switch m.Kind {
	case Ask:
		e.tell(Asked{ID: id, From: from.ID, Key: m.Key, Service: m.Service, Payload: m.Payload, Wait: m.Wait})
	case ToAll:
		e.publish(now, m.Service, id, m.Payload)
	case ToOne:
		e.anycast(now, m.Service, id, m.Payload, m.Wait)
	}
}

// Answer answers the event [Asked] of id: with payload, or, when err is not nil, by
// refusing; of an anycast, another subscriber is asked then. A second answer, or one
// to a request that its sender does not wait for any more, does nothing.
func (e *Engine) Answer(now time.Time, id RequestID, payload []byte, err error) {
	r := Reply{Payload: slices.Clone(payload)}
	if len(payload) > MaxPayload {
		err = ErrTooLarge
	}
	if err != nil {
		text := err.Error()
		r = Reply{Status: Refused, Text: text[:min(len(text), MaxText)]}
	}
	if !e.answerOffer(now, id, r) {
		e.reply(id, r)
	}
	e.settle(now)
}

// reply ends the handling of a request.
func (e *Engine) reply(id RequestID, r Reply) {
	s := e.inbox.sessions[id.From]
	if s == nil || s.incarnation != id.Incarnation {
		return
	}
	h := s.handled[id.Number]
	if h == nil || h.answered {
		return
	}
	r.Number = id.Number
	h.answered, h.reply = true, r
	e.inbox.bytes += len(r.Payload)
	e.send(h.from, r)
}

// pending returns the requests that Answer has not been called for, for Status.
func (b *inbox) pending() (n int) {
	for s := range maps.Values(b.sessions) {
		for _, h := range s.handled {
			if !h.answered {
				n++
			}
		}
	}
	return n
}

// unhandle gives a request up that another node has to handle: its sender looks for
// the owner again.
func (e *Engine) unhandle(id RequestID) { e.unhandleAs(id, Elsewhere) }

func (e *Engine) unhandleAs(id RequestID, why Status) {
	s := e.inbox.sessions[id.From]
	if s == nil || s.incarnation != id.Incarnation {
		return
	}
	if h := s.handled[id.Number]; h != nil && !h.answered {
		delete(s.handled, id.Number)
		e.inbox.requests--
		e.send(h.from, Reply{Number: id.Number, Status: why})
	}
}
