package topics

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/dht"
)

// Engine is one node's part in requests and topics: a value without goroutine, clock
// or socket. Its methods are for one goroutine.
type Engine struct {
	cfg      Config
	view     dht.View
	rand     *rand.Rand
	timers   timers
	resolves resolves
	outbox   outbox
	inbox    inbox
	trees    trees
	offers   offers
	rtt      map[dht.ID]time.Duration
	output   output
	count    Counters
	mutation mutation
}

// output is what the engine hands over.
type output struct {
	packets []Packet
	local   []Message // to this node itself
	events  []Event
}

// New returns the engine of a node that knows no other. The driver tells it the ring
// by [Engine.HandleView].
func New(cfg Config) *Engine {
	cfg = cfg.withDefaults()
	e := &Engine{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0x746f70696373))}
	e.view = dht.View{Self: cfg.Self, Predecessor: cfg.Self, Successors: []dht.Peer{cfg.Self}}
	e.resolves.asked = map[uint64]resolve{}
	e.outbox = outbox{waiting: map[uint64]*sent{}, next: 1, oldest: 1}
	e.inbox.sessions = map[dht.ID]*session{}
	e.trees.topics = map[string]*topic{}
	e.offers.open = map[RequestID]*offer{}
	e.rtt = map[dht.ID]time.Duration{}
	return e
}

// TopicID returns the point of the circle whose owner is the root of a topic.
func TopicID(s dht.Space, topic string) dht.ID {
	sum := sha256.Sum256([]byte("topic\x00" + topic))
	return s.Hash(sum[:])
}

// HandleMessage takes a message of from, whose ID the driver has proven. The engine
// keeps the message's slices; the driver must not write to them again.
func (e *Engine) HandleMessage(now time.Time, from dht.Peer, m Message) {
	if from.ID == e.cfg.Self.ID {
		return // only what this node sends itself comes from there, and not this way
	}
	e.handle(now, from, m)
	e.settle(now)
}

func (e *Engine) handle(now time.Time, from dht.Peer, m Message) {
	switch m := m.(type) {
	case Request:
		e.handleRequest(now, from, m)
	case Reply:
		e.handleReply(now, from, m)
	case Attach:
		e.handleAttach(now, from, m)
	case Attached:
		e.handleAttached(now, from, m)
	case Redirect:
		e.handleRedirect(now, from, m)
	case Detach:
		e.handleDetach(now, from, m)
	case Forward:
		e.handleForward(now, from, m)
	case Ack:
		e.handleAck(now, from, m)
	case Offer:
		e.handleOffer(now, from, m)
	case Outcome:
		e.handleOutcome(now, from, m)
	}
}

// HandleTimeout does what is due.
func (e *Engine) HandleTimeout(now time.Time) {
	for {
		t, ok := e.timers.due(now)
		if !ok {
			break
		}
		switch t.of {
		case ofRequest:
			e.requestDue(now, t.number)
		case ofResolve:
			e.resolveDue(now, t.number)
		case ofTopic:
			e.topicDue(now, t.name)
		case ofOffer:
			e.offerDue(now, t.id)
		case ofSessions:
			e.sessionsDue(now)
		}
	}
	e.settle(now)
}

// NextTimeout returns when to call HandleTimeout next; ok is false when nothing is
// due ever, as at a node without requests and topics.
func (e *Engine) NextTimeout() (t time.Time, ok bool) {
	if len(e.timers.list) == 0 {
		return time.Time{}, false
	}
	return e.timers.list[0].at, true
}

// Outgoing returns what is to be sent, each packet once, in order for each receiver.
func (e *Engine) Outgoing() []Packet {
	p := e.output.packets
	e.output.packets = nil
	return p
}

// Events returns what happened, each event once.
func (e *Engine) Events() []Event {
	ev := e.output.events
	e.output.events = nil
	return ev
}

// HandleView takes the node's new place in the ring: it is the root of the topics
// between its predecessor and itself, and its next successors are their mirrors.
func (e *Engine) HandleView(now time.Time, v dht.View) {
	if v.Self.ID != e.cfg.Self.ID {
		return
	}
	e.view = v
	e.viewChanged(now)
	e.settle(now)
}

// Unreachable tells that p cannot be reached, or that the ring has found it dead:
// whatever waits for it goes on without it.
func (e *Engine) Unreachable(now time.Time, p dht.Peer) {
	if p.ID == e.cfg.Self.ID {
		return
	}
	delete(e.rtt, p.ID)
	e.outboxLost(now, p)
	e.treesLost(now, p)
	e.offersLost(now, p)
	e.settle(now)
}

// gone reports whether p is the dead node, in that life or an earlier one. An
// incarnation of 0 is not known.
func gone(p, dead dht.Peer) bool {
	return p.ID == dead.ID && (dead.Incarnation == 0 || p.Incarnation <= dead.Incarnation)
}

// Measured tells the round-trip time to a node, for anycasts to the nearest. That of
// its children the engine also learns itself, from what it sends them.
func (e *Engine) Measured(id dht.ID, rtt time.Duration) {
	if _, known := e.rtt[id]; known || len(e.rtt) < maxMeasured {
		e.rtt[id] = rtt
	}
}

// maxMeasured bounds how many nodes' round-trip times are kept.
const maxMeasured = 4096

// Leave ends everything: children are sent to look for another parent, parents hear
// that the node goes, own requests fail. What is still to be sent is in Outgoing.
func (e *Engine) Leave(now time.Time) {
	e.leaveTrees(now)
	e.cancelAll(ErrCanceled)
	e.settle(now)
}

func (e *Engine) owns(key dht.ID) bool {
	return dht.Owns(e.view.Predecessor.ID, e.cfg.Self.ID, key)
}

func (e *Engine) send(to dht.Peer, m Message) {
	if to.ID == e.cfg.Self.ID {
		e.output.local = append(e.output.local, m)
		return
	}
	e.output.packets = append(e.output.packets, Packet{to, m})
}

func (e *Engine) tell(ev Event) { e.output.events = append(e.output.events, ev) }

// settle handles what the node has sent itself.
func (e *Engine) settle(now time.Time) {
	for len(e.output.local) > 0 {
		m := e.output.local[0]
		e.output.local = e.output.local[1:]
		e.handle(now, e.cfg.Self, m)
	}
	e.output.local = nil
}

// jitter returns d and up to a quarter more, so that many who wait for the same do
// not come at once.
func (e *Engine) jitter(d time.Duration) time.Duration {
	return d + time.Duration(e.rand.Int64N(int64(d)/4+1))
}

// resolve is a question of who owns a key: of request number, or of a topic.
type resolve struct {
	due    time.Time
	number uint64
	topic  string
}

// resolves are the questions that the driver has not answered.
type resolves struct {
	asked map[uint64]resolve
	token uint64
}

// resolveWait is how long the driver may take to find an owner.
const resolveWait = 5 * time.Second

// resolve finds the owner of key for a request or topic. Its own keys this node knows.
func (e *Engine) resolve(now time.Time, key dht.ID, r resolve) {
	if e.owns(key) {
		e.resolved(now, r, e.cfg.Self, nil)
		return
	}
	e.resolves.token++
	r.due = now.Add(resolveWait)
	e.resolves.asked[e.resolves.token] = r
	e.timers.set(timer{at: r.due, of: ofResolve, number: e.resolves.token})
	e.tell(Resolve{e.resolves.token, key})
}

// Resolved answers the event [Resolve]: owner owns its key, or err tells why nobody
// is known to.
func (e *Engine) Resolved(now time.Time, token uint64, owner dht.Peer, err error) {
	r, ok := e.resolves.asked[token]
	if !ok {
		return
	}
	delete(e.resolves.asked, token)
	e.resolved(now, r, owner, err)
	e.settle(now)
}

func (e *Engine) resolveDue(now time.Time, token uint64) {
	if r, ok := e.resolves.asked[token]; ok {
		delete(e.resolves.asked, token)
		e.resolved(now, r, dht.Peer{}, fmt.Errorf("topics: find owner: %w", ErrDeadline))
	}
}

func (e *Engine) resolved(now time.Time, r resolve, owner dht.Peer, err error) {
	if r.topic != "" {
		e.rootFound(now, r.topic, owner, err)
		return
	}
	e.ownerFound(now, r.number, owner, err)
}
