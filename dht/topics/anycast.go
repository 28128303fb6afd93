package topics

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
)

// offers are the anycasts that this node sees to, by the ID of their request.
type offers struct{ open map[RequestID]*offer }

// offer is an anycast on its way through the subtree of this node.
type offer struct {
	id      RequestID
	topic   string
	payload []byte
	origin  origin
	parent  dht.Peer // who offered it, of offered
	until   time.Time

	own     answering
	child   dht.Peer // is being asked; the zero Peer for none
	working bool     // child has it
	tries   int
	tried   map[dht.ID]bool
	due     time.Time

	outcome Outcome // when Status is not Working: what was said
}

// origin says where an offer came from.
type origin uint8

const (
	requested origin = iota // a request to this node, the root
	offered                 // from the parent in the tree
	begunHere               // a request of this node, which has a subtree itself
)

// answering is how far the own subscription is with an offer.
type answering uint8

const (
	unasked answering = iota
	asked
	hasAnswered
)

// A child that is asked says at least that it is working, or is given up after
// asksMost questions, offerAgain apart. Outcomes are remembered for offerGrace after
// the request has ended.
const (
	offerAgain = time.Second
	offerGrace = 5 * time.Second
)

// anycast begins, at the root, to offer a request.
func (e *Engine) anycast(now time.Time, topic string, id RequestID, payload []byte, wait time.Duration) {
	if !e.newOffer(now, &offer{id: id, topic: topic, payload: payload, origin: requested}, wait) {
		e.count.Busy++
		e.unhandleAs(id, Busy)
	}
}

// offerHere offers a request of this node to itself and those below it first: they are
// the nearest. It reports false when there are none.
func (e *Engine) offerHere(now time.Time, s *sent) bool {
	t := e.trees.topics[s.request.Service]
	if t == nil || t.root.is || !t.subscribed {
		return false
	}
	e.wait(s, s.deadline)
	o := &offer{id: e.ID(s.number), topic: t.name, payload: s.request.Payload, origin: begunHere}
	return e.newOffer(now, o, s.deadline.Sub(now))
}

func (e *Engine) newOffer(now time.Time, o *offer, wait time.Duration) bool {
	if len(e.offers.open) >= e.cfg.Limits.Offers || e.offers.open[o.id] != nil {
		return false
	}
	o.until = now.Add(min(max(wait, 0), MaxDeadline))
	o.tried = map[dht.ID]bool{}
	o.outcome = Outcome{Topic: o.topic, ID: o.id, Status: Working}
	e.offers.open[o.id] = o
	e.count.Offers++
	e.offerNext(now, o)
	return true
}

// offerNext asks the own subscription, then the children, nearest first.
func (e *Engine) offerNext(now time.Time, o *offer) {
	o.child, o.working, o.tries = dht.Peer{}, false, 0
	t := e.trees.topics[o.topic]
	switch {
	case t == nil:
	case t.subscribed && o.own == unasked:
		o.own = asked
		e.tell(Asked{ID: o.id, From: o.id.From, Key: t.key, Topic: t.name, Payload: o.payload, Wait: o.until.Sub(now)})
		e.waitOffer(o, o.until)
		return
	default:
		if c := e.nearest(t, o); c != nil {
			o.child = c.peer
			o.tried[c.peer.ID] = true
			e.offerTo(now, o)
			return
		}
	}
	status := Nobody
	if o.outcome.Asked > 0 {
		status = Refused
	}
	e.endOffer(now, o, status)
}

// nearest returns the child to ask next: of those whose round-trip time is known the
// nearest, else any.
func (e *Engine) nearest(t *topic, o *offer) *feed {
	var known, others []*feed
	for _, f := range t.feeds {
		if f.role != Child || o.tried[f.peer.ID] {
			continue
		}
		if _, ok := e.rtt[f.peer.ID]; ok {
			known = append(known, f)
		} else {
			others = append(others, f)
		}
	}
	if len(known) > 0 {
		return slices.MinFunc(known, func(a, b *feed) int { return int(e.rtt[a.peer.ID] - e.rtt[b.peer.ID]) })
	}
	if len(others) > 0 {
		return others[e.rand.IntN(len(others))]
	}
	return nil
}

func (e *Engine) offerTo(now time.Time, o *offer) {
	m := Offer{Topic: o.topic, ID: o.id, Payload: o.payload, Wait: o.until.Sub(now), Again: o.working}
	if m.Again {
		m.Payload = nil
	}
	o.tries++
	e.waitOffer(o, now.Add(e.jitter(offerAgain)))
	e.send(o.child, m)
}

func (e *Engine) waitOffer(o *offer, until time.Time) {
	o.due = until
	if o.due.After(o.until) {
		o.due = o.until
	}
	e.timers.set(timer{at: o.due, of: ofOffer, id: o.id})
}

func (e *Engine) offerDue(now time.Time, id RequestID) {
	o := e.offers.open[id]
	switch {
	case o == nil || o.due.After(now):
	case o.outcome.Status != Working:
		delete(e.offers.open, id)
	case !o.until.After(now):
		e.endOffer(now, o, Nobody) // who asked has given up
	case o.child == dht.Peer{}:
	case o.tries >= asksMost:
		e.offerNext(now, o)
	default:
		e.offerTo(now, o)
	}
}

// handleOffer takes an anycast from the parent.
func (e *Engine) handleOffer(now time.Time, from dht.Peer, m Offer) {
	if o := e.offers.open[m.ID]; o != nil {
		e.count.Repeated++
		if o.origin != requested {
			if o.origin == offered {
				o.parent = from
			}
			e.send(from, o.outcome)
			return
		}
	}
	t := e.trees.topics[m.Topic]
	status := Working
	switch {
	case m.Again:
		status = Elsewhere
	case t == nil || t.root.is || from.ID != t.place.parent.ID:
		status = Nobody
	case !e.newOffer(now, &offer{id: m.ID, topic: m.Topic, payload: m.Payload, origin: offered, parent: from}, m.Wait):
		e.count.Busy++
		status = Nobody
	}
	if o := e.offers.open[m.ID]; status == Working && o.outcome.Status != Working {
		return // it has been answered
	}
	e.send(from, Outcome{Topic: m.Topic, ID: m.ID, Status: status})
}

func (e *Engine) handleOutcome(now time.Time, from dht.Peer, m Outcome) {
	o := e.offers.open[m.ID]
	if o == nil || o.outcome.Status != Working || o.child.ID != from.ID {
		e.count.Unasked++
		return
	}
	switch m.Status {
	case Working:
		o.working, o.tries = true, 0
	case Elsewhere, Busy:
		o.working = false // it does not know the offer: it is sent again, whole
	case Done:
		o.outcome.Payload, o.outcome.By = m.Payload, m.By
		if m.By == (dht.ID{}) {
			o.outcome.By = from.ID
		}
		e.endOffer(now, o, Done)
	default:
		o.outcome.Asked += min(m.Asked, maxNodes)
		if m.Text != "" {
			o.outcome.Text = m.Text
		}
		e.offerNext(now, o)
	}
}

// answerOffer takes the own subscription's answer; false: id is no offer.
func (e *Engine) answerOffer(now time.Time, id RequestID, r Reply) bool {
	o := e.offers.open[id]
	if o == nil || o.own != asked {
		return o != nil
	}
	o.own = hasAnswered
	if o.outcome.Status != Working {
		return true
	}
	if r.Status == Done {
		o.outcome.Payload, o.outcome.By = r.Payload, e.cfg.Self.ID
		e.endOffer(now, o, Done)
		return true
	}
	o.outcome.Asked++
	o.outcome.Text = r.Text
	e.offerNext(now, o)
	return true
}

// endOffer tells the outcome to where the offer came from.
func (e *Engine) endOffer(now time.Time, o *offer, s Status) {
	o.outcome.Status, o.payload, o.child = s, nil, dht.Peer{}
	o.due = o.until.Add(offerGrace)
	e.timers.set(timer{at: o.due, of: ofOffer, id: o.id})
	m := o.outcome
	switch o.origin {
	case requested:
		e.reply(o.id, Reply{Status: s, Text: m.Text, Payload: m.Payload, By: m.By, Asked: m.Asked})
	case offered:
		e.send(o.parent, m)
	case begunHere:
		e.offeredHere(now, o)
	}
}

// offeredHere ends the request of this node, or has the root go on with it.
func (e *Engine) offeredHere(now time.Time, o *offer) {
	s := e.outbox.waiting[o.id.Number]
	if s == nil || o.id != e.ID(o.id.Number) {
		return
	}
	if o.outcome.Status == Done {
		e.done(s, e.cfg.Self, Reply{By: o.outcome.By, Payload: o.outcome.Payload})
		return
	}
	e.find(now, s)
}

// offersLost goes on without a child that is dead.
func (e *Engine) offersLost(now time.Time, p dht.Peer) {
	ids := slices.SortedFunc(maps.Keys(e.offers.open), compareRequests)
	for _, id := range ids {
		if o := e.offers.open[id]; o != nil && gone(o.child, p) && o.outcome.Status == Working {
			e.offerNext(now, o)
		}
	}
}

func compareRequests(a, b RequestID) int {
	if c := a.From.Compare(b.From); c != 0 {
		return c
	}
	if a.Incarnation != b.Incarnation {
		return cmp.Compare(a.Incarnation, b.Incarnation)
	}
	return cmp.Compare(a.Number, b.Number)
}
