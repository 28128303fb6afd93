package peer

import (
	"errors"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/topics"
)

// events hands on what the engines tell. One engine's event may be another's input, so
// it goes round until none has any.
func (l *loop) events() {
	for more := true; more; {
		more = false
		for _, e := range l.ring.Events() {
			l.ringEvent(e)
			more = true
		}
		for _, e := range l.topics.Events() {
			l.topicsEvent(e)
			more = true
		}
		more = l.store.events() || more
		more = l.taskEvents() || more
	}
}

// ringEvent acts on what the ring tells.
func (l *loop) ringEvent(e dht.Event) {
	now := time.Now()
	log := l.n.cfg.Logger
	switch e := e.(type) {
	case dht.ViewChanged:
		l.store.engine.HandleView(now, e.View)
		l.topics.HandleView(now, e.View)
		log.Debug("view", "predecessor", Space().Format(e.View.Predecessor.ID), "successors", len(e.View.Successors))
	case dht.MemberJoined:
		log.Info("member", "state", "alive", "id", Space().Format(e.Peer.ID), "address", e.Peer.Address)
	case dht.MemberDied:
		l.topics.Unreachable(now, e.Peer)
		state := "dead"
		if e.Left {
			state = "left"
		}
		log.Info("member", "state", state, "id", Space().Format(e.Peer.ID), "address", e.Peer.Address)
	case dht.MemberSuspected:
		log.Debug("member", "state", "suspect", "id", Space().Format(e.Peer.ID), "address", e.Peer.Address)
	case dht.LookupDone:
		l.lookupDone(e)
	case dht.Refused:
		log.Debug("refused", "from", Space().Format(e.From.ID), "address", e.From.Address, "reason", e.Reason)
	}
}

// lookupDone tells whoever asked for the lookup.
func (l *loop) lookupDone(e dht.LookupDone) {
	if w, ok := l.lookups[e.ID]; ok {
		delete(l.lookups, e.ID)
		w.to <- e // has room
		return
	}
	if token, ok := l.resolve[e.ID]; ok {
		delete(l.resolve, e.ID)
		l.topics.Resolved(time.Now(), token, e.Owner, e.Err)
	}
}

// topicsEvent acts on what the topics tell.
func (l *loop) topicsEvent(e topics.Event) {
	switch e := e.(type) {
	case topics.Resolve:
		l.resolveOwner(e)
	case topics.Asked:
		l.askedFor(e)
	case topics.Answered:
		l.concluded(e.Number, outcome{payload: e.Payload, by: e.By})
	case topics.Published:
		l.concluded(e.Number, outcome{at: e.At, copies: e.Copies})
	case topics.Failed:
		l.concluded(e.Number, outcome{err: e.Err})
	case topics.Subscribed:
		l.subscribed(e.Topic)
	case topics.Delivered:
		l.delivered(e.Topic, Message{Topic: e.Topic, From: e.ID.From, Epoch: e.At.Epoch, Number: e.At.Seq, Payload: e.Payload})
	case topics.Gap:
		l.delivered(e.Topic, Message{Topic: e.Topic, Missed: max(1, e.Missed)})
	case topics.Unattached:
		l.n.cfg.Logger.Debug("subscription lost its place", "topic", e.Topic, "why", e.Why)
	}
}

// resolveOwner finds who owns a key for the topics: at once when all members are known.
func (l *loop) resolveOwner(e topics.Resolve) {
	now := time.Now()
	if p, ok := l.ring.Owner(e.Key); ok {
		l.topics.Resolved(now, e.Token, p, nil)
		return
	}
	l.resolve[l.ring.Lookup(now, e.Key)] = e.Token
}

// outcome is what became of a request.
type outcome struct {
	payload []byte
	by      dht.ID
	at      topics.Position
	copies  int
	err     error
}

func (l *loop) concluded(number uint64, o outcome) {
	if to, ok := l.asked[number]; ok {
		delete(l.asked, number)
		to <- o // has room
	}
}

var errBusyServices = errors.New("too many requests wait for this node's services")

// askedFor has a service or a subscriber answer.
func (l *loop) askedFor(e topics.Asked) {
	if e.Topic != "" {
		l.offered(e)
		return
	}
	n := l.n
	ok := n.services.run(e.Service, Request{e.From, e.Key, e.Payload}, func(b []byte, err error) { n.answer(e.ID, b, err) })
	if !ok {
		l.topics.Answer(time.Now(), e.ID, nil, errBusyServices)
	}
}

// answer has the loop answer a request.
func (n *Node) answer(id topics.RequestID, b []byte, err error) {
	_ = n.post(n.services.ctx, func(l *loop) { l.topics.Answer(time.Now(), id, b, err) })
}
