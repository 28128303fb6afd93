package topics

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// outbox are the requests of this node that wait for their answer.
type outbox struct {
	waiting map[uint64]*sent
	next    uint64 // number of the next request
	oldest  uint64 // no number below waits
}

// sent is a request of this node.
type sent struct {
	number   uint64
	request  Request // all but Oldest and Wait, which change
	owner    dht.Peer
	asked    bool // owner has been sent the request, and has not said that it will not
	due      time.Time
	deadline time.Time
	tries    int
	last     string // why the last try failed
	begun    time.Time
}

// A request is sent again after retryFirst, then each time after twice as long, up to
// retryMost. Whoever could not be asked at all is asked again after retrySoon.
const (
	retryFirst = 500 * time.Millisecond
	retryMost  = 4 * time.Second
	retrySoon  = 50 * time.Millisecond
)

// Send asks the service at the owner of key and returns the request's number. The
// outcome is an event [Answered] or [Failed] with that number.
func (e *Engine) Send(now time.Time, key dht.ID, service string, payload []byte) uint64 {
	return e.ask(now, Request{Kind: Ask, Key: key, Service: service, Payload: payload})
}

// Publish sends payload to all subscribers of a topic and returns the request's
// number. The outcome is an event [Published] or [Failed] with that number.
func (e *Engine) Publish(now time.Time, topic string, payload []byte) uint64 {
	return e.ask(now, Request{Kind: ToAll, Key: TopicID(e.cfg.Space, topic), Service: topic, Payload: payload})
}

// Anycast sends payload to one subscriber of a topic and returns the request's
// number. The outcome is an event [Answered] with the answer of the subscriber that
// accepted it, or [Failed]: with ErrRefused when all refused, ErrNobody when there is
// no subscriber. It is accepted by at least one; by a second only when the first was
// lost, or could not be heard, before its answer came through.
func (e *Engine) Anycast(now time.Time, topic string, payload []byte) uint64 {
	return e.ask(now, Request{Kind: ToOne, Key: TopicID(e.cfg.Space, topic), Service: topic, Payload: payload})
}

// Cancel ends a request: it fails with ErrCanceled, unless its outcome has been told.
func (e *Engine) Cancel(number uint64) {
	if s := e.outbox.waiting[number]; s != nil {
		e.fail(s, ErrCanceled)
	}
}

// ID returns the ID that a request of this node has: of its number.
func (e *Engine) ID(number uint64) RequestID {
	return RequestID{e.cfg.Self.ID, e.cfg.Self.Incarnation, number}
}

func (e *Engine) ask(now time.Time, r Request) uint64 {
	o := &e.outbox
	r.Number = o.next
	o.next++
	s := &sent{number: r.Number, request: r, begun: now, deadline: now.Add(e.cfg.Deadline)}
	o.waiting[s.number] = s
	switch {
	case len(r.Payload) > MaxPayload:
		e.fail(s, ErrTooLarge)
	case r.Service == "" || len(r.Service) > MaxName:
		e.fail(s, ErrName)
	case len(o.waiting) > e.cfg.Limits.Outstanding:
		e.fail(s, ErrBusy)
	default:
		s.request.Payload = slices.Clone(r.Payload)
		if r.Kind != ToOne || !e.offerHere(now, s) {
			e.find(now, s)
		}
		e.settle(now)
	}
	return r.Number
}

// find looks for the owner and asks it.
func (e *Engine) find(now time.Time, s *sent) {
	s.asked = false
	e.wait(s, now.Add(resolveWait+retryMost)) // the resolve ends before
	e.resolve(now, s.request.Key, resolve{number: s.number})
}

// wait sets when the request is looked after next.
func (e *Engine) wait(s *sent, until time.Time) {
	s.due = until
	if s.due.After(s.deadline) {
		s.due = s.deadline
	}
	e.timers.set(timer{at: s.due, of: ofRequest, number: s.number})
}

// pause waits before the next try, longer each time.
func (e *Engine) pause(now time.Time, s *sent, first time.Duration, why string) {
	s.last, s.asked = why, false
	d := min(first<<min(s.tries, 16), retryMost)
	s.tries++
	e.wait(s, now.Add(e.jitter(d)))
}

func (e *Engine) ownerFound(now time.Time, number uint64, owner dht.Peer, err error) {
	s := e.outbox.waiting[number]
	if s == nil {
		return
	}
	if err != nil {
		e.pause(now, s, retryFirst, err.Error())
		return
	}
	s.owner = owner
	e.transmit(now, s)
}

func (e *Engine) transmit(now time.Time, s *sent) {
	r := s.request
	r.Oldest, r.Wait = e.outbox.oldest, s.deadline.Sub(now)
	d := min(retryFirst<<min(s.tries, 16), retryMost)
	s.tries++
	e.wait(s, now.Add(e.jitter(d)))
	s.asked = true
	e.count.RequestsSent++
	if s.tries > 1 {
		e.count.RequestsRepeated++
	}
	e.send(s.owner, r)
}

// requestDue tries again: the owner may be another by now.
func (e *Engine) requestDue(now time.Time, number uint64) {
	s := e.outbox.waiting[number]
	switch {
	case s == nil || s.due.After(now):
	case !s.deadline.After(now):
		err := ErrDeadline
		if s.last == Busy.String() {
			err = fmt.Errorf("%w: %w", ErrBusy, ErrDeadline)
		} else if s.last != "" {
			err = fmt.Errorf("%w: %s", ErrDeadline, s.last)
		}
		e.fail(s, err)
	default:
		if s.asked {
			s.last = fmt.Sprintf("no word from %s", e.cfg.Space.Format(s.owner.ID))
		}
		e.find(now, s)
	}
}

func (e *Engine) handleReply(now time.Time, from dht.Peer, m Reply) {
	s := e.outbox.waiting[m.Number]
	if s == nil || !s.asked || from.ID != s.owner.ID {
		e.count.Unasked++ // late, or an answer to no question of ours
		return
	}
	switch m.Status {
	case Working:
		s.tries, s.last = 2, "the request is being handled"
		e.wait(s, now.Add(e.jitter(retryMost/2)))
	case Elsewhere, Busy:
		e.pause(now, s, retrySoon, m.Status.String())
	case Refused:
		e.fail(s, refusal(s.request.Kind, m))
	case Nobody:
		e.fail(s, ErrNobody)
	case Done:
		e.done(s, from, m)
	}
}

func refusal(k Kind, m Reply) error {
	switch {
	case k == ToOne:
		return fmt.Errorf("%w by all %d subscribers asked: %s", ErrRefused, m.Asked, m.Text)
	case m.Text == "":
		return ErrRefused
	}
	return fmt.Errorf("%w: %s", ErrRefused, m.Text)
}

func (e *Engine) done(s *sent, from dht.Peer, m Reply) {
	e.finish(s)
	if s.request.Kind == ToAll {
		e.tell(Published{s.number, s.request.Service, m.At, int(min(m.Copies, 1<<16))})
		return
	}
	by := m.By
	if by == (dht.ID{}) {
		by = from.ID
	}
	e.tell(Answered{s.number, by, m.Payload})
}

func (e *Engine) fail(s *sent, err error) {
	e.finish(s)
	e.count.RequestsFailed++
	e.tell(Failed{s.number, fmt.Errorf("topics: %v: %w", s.request.Kind, err)})
}

func (e *Engine) finish(s *sent) {
	o := &e.outbox
	delete(o.waiting, s.number)
	for o.oldest < o.next && o.waiting[o.oldest] == nil {
		o.oldest++
	}
}

// outboxLost tries at once what waits for a node that is dead.
func (e *Engine) outboxLost(now time.Time, p dht.Peer) {
	for _, n := range slices.Sorted(maps.Keys(e.outbox.waiting)) {
		if s := e.outbox.waiting[n]; s.asked && gone(s.owner, p) {
			e.pause(now, s, retrySoon, fmt.Sprintf("%s is unreachable", e.cfg.Space.Format(p.ID)))
		}
	}
}

func (e *Engine) cancelAll(err error) {
	for _, n := range slices.Sorted(maps.Keys(e.outbox.waiting)) {
		e.fail(e.outbox.waiting[n], err)
	}
}
