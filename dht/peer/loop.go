package peer

import (
	"context"
	"slices"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/topics"
)

// loop is the goroutine that has the engines.
type loop struct {
	n      *Node
	ring   *dht.Node
	topics *topics.Engine
	store  *store

	answers map[dht.ID]*reply // to nodes that wait for what there is to say at once
	local   []parcel          // what an engine has sent this node itself
	lookups map[uint64]lookup
	asked   map[uint64]chan<- outcome // requests of topics, by number
	resolve map[uint64]uint64         // tokens of topics, by the lookup that answers them
	subs    map[string][]*Subscription
	refused Refused
	alone   bool // when it left: nobody takes over
}

// reply is what a node is told in answer to its batches.
type reply struct {
	to   []chan<- []parcel // of each batch; the first gets it all
	list []parcel
	size int
}

// lookup is somebody who waits for a lookup.
type lookup struct {
	to chan<- dht.LookupDone
}

// newLoop makes the engines.
func newLoop(n *Node, known []dht.Peer) (*loop, error) {
	s, err := seed()
	if err != nil {
		return nil, err
	}
	l := &loop{
		n: n, answers: map[dht.ID]*reply{}, lookups: map[uint64]lookup{}, asked: map[uint64]chan<- outcome{}, resolve: map[uint64]uint64{},
		subs: map[string][]*Subscription{},
	}
	l.ring = dht.NewNode(dht.Config{Space: Space(), Self: n.self, Seed: s})
	l.topics = topics.New(topics.Config{Space: Space(), Self: n.self, Seed: s})
	if l.store, err = newStore(n, s); err != nil {
		return nil, err
	}
	now := time.Now()
	view := l.ring.View()
	l.store.engine.HandleView(now, view)
	l.topics.HandleView(now, view)
	l.watchTasks()
	l.ring.Meet(now, known...)
	return l, nil
}

// gather is how many inputs are taken before the engines' outputs are: they share
// batches and syncs.
const gather = 512

// run runs the loop until run ends; when ctx ends, it leaves the ring first and hands
// over what it keeps.
func (l *loop) run(ctx, run context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	leave := ctx.Done()
	var grace <-chan time.Time
	for {
		l.output()
		timer.Reset(l.untilDue())
		select {
		case <-run.Done():
			return
		case <-leave:
			leave, grace = nil, l.leave()
			continue
		case <-grace:
			l.n.stop(errLeft)
			return
		case <-timer.C:
			l.timeout()
		case b := <-l.n.in.batches:
			l.take(b)
		case f := <-l.n.in.calls:
			f(l)
		case seq := <-l.n.in.saved:
			l.store.saved(seq)
		case p := <-l.n.in.gone:
			l.gone(p)
		}
		l.more()
		if grace != nil && l.handedOver() && l.store.settled() && l.n.links.idle() {
			l.output()
			if l.n.links.idle() {
				l.n.stop(errLeft)
				return
			}
		}
	}
}

// more takes what else is there.
func (l *loop) more() {
	for range gather {
		select {
		case b := <-l.n.in.batches:
			l.take(b)
		case f := <-l.n.in.calls:
			f(l)
		case seq := <-l.n.in.saved:
			l.store.saved(seq)
		case p := <-l.n.in.gone:
			l.gone(p)
		default:
			return
		}
	}
}

// handedOver reports whether nothing is kept that another node could take.
func (l *loop) handedOver() bool {
	return l.alone || l.store.engine.Idle()
}

// leave tells the neighbours that the node goes, and returns when to have gone.
func (l *loop) leave() <-chan time.Time {
	now := time.Now()
	self := l.ring.View().Self
	l.alone = !slices.ContainsFunc(l.ring.View().Successors, func(p dht.Peer) bool { return p.ID != self.ID })
	l.store.engine.Leave(now)
	l.topics.Leave(now)
	l.ring.Leave(now)
	l.output()
	return time.After(leaveGrace)
}

// untilDue returns how long nothing is to be done.
func (l *loop) untilDue() time.Duration {
	wait := tickEvery
	for _, next := range []func() (time.Time, bool){l.ring.NextTimeout, l.store.engine.NextTimeout, l.topics.NextTimeout, l.store.engineOfTasks.NextTimeout} {
		if t, ok := next(); ok {
			wait = min(wait, time.Until(t))
		}
	}
	return max(0, wait)
}

func (l *loop) timeout() {
	now := time.Now()
	l.ring.HandleTimeout(now)
	l.store.engine.HandleTimeout(now)
	l.topics.HandleTimeout(now)
	l.store.engineOfTasks.HandleTimeout(now)
}

func (l *loop) gone(p dht.Peer) {
	now := time.Now()
	l.ring.Unreachable(now, p)
	l.topics.Unreachable(now, p)
}

// take hands the parcels of a batch to the engines.
func (l *loop) take(b inbound) {
	if b.answer != nil {
		a := l.answers[b.from.ID]
		if a == nil {
			a = &reply{}
			l.answers[b.from.ID] = a
		}
		a.to = append(a.to, b.answer)
	}
	for _, p := range b.list {
		l.handle(b.from, p)
	}
}

func (l *loop) handle(from dht.Peer, p parcel) {
	now := time.Now()
	switch p.layer {
	case layerRing:
		m, err := dht.ParseMessage(p.body)
		if err != nil {
			l.refused.Ring++
			return
		}
		l.ring.HandleMessage(now, from, m)
	case layerRecords:
		if !l.store.handle(now, from, p.body) {
			l.refused.Records++
		}
	case layerTopics:
		m, err := topics.ParseMessage(p.body)
		if err != nil {
			l.refused.Topics++
			return
		}
		l.topics.HandleMessage(now, from, m)
	}
}

// output hands on what the engines have to say, until they have nothing more.
func (l *loop) output() {
	for {
		l.events()
		l.send()
		if len(l.local) == 0 {
			break
		}
		list := l.local
		l.local = nil
		for _, p := range list {
			l.handle(l.n.self, p)
		}
	}
	l.store.save()
	for id, a := range l.answers {
		for _, to := range a.to {
			to <- a.list // has room
			a.list = nil
		}
		delete(l.answers, id)
	}
}

// send sends what the engines have for other nodes. What is for one whose batch has just
// been taken goes with the answer.
func (l *loop) send() {
	for _, p := range l.ring.Outgoing() {
		l.sendTo(p.To, parcel{layerRing, dht.AppendMessage(nil, p.Message)})
	}
	l.store.send(l)
	for _, p := range l.topics.Outgoing() {
		l.sendTo(p.To, parcel{layerTopics, topics.AppendMessage(nil, p.Message)})
	}
}

func (l *loop) sendTo(to dht.Peer, p parcel) {
	if to.ID == l.n.self.ID {
		l.local = append(l.local, p)
		return
	}
	if a := l.answers[to.ID]; a != nil && a.size < maxBatch && len(a.list) < maxParcels {
		a.list, a.size = append(a.list, p), a.size+p.weight()
		return
	}
	l.n.links.send(to, p)
}
