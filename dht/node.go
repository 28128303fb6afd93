package dht

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Node is one node of the ring: it keeps its neighbours right, knows the members,
// looks keys up, and notices who dies. It is a value: it has no clock, socket or
// goroutine. Whoever drives it calls HandleMessage and HandleTimeout, sends what
// Outgoing returns, and reads Events.
//
// A node that starts is a ring of one. It becomes a member of a ring by [Node.Meet].
type Node struct {
	cfg      Config
	clock    clock
	rng      *rand.Rand
	ring     *Ring
	table    *Table
	book     book
	calls    calls
	stab     stabilizer
	doubt    doubt
	gossip   gossip
	finding  finding
	out      []Packet
	events   []Event
	counters Counters
	counter  uint64 // of refutations
	left     bool
	broken   Mutation
}

// NewNode returns a node that is alone. An ID that is no point of the space is
// reduced to one.
func NewNode(cfg Config) *Node {
	cfg = cfg.withDefaults()
	cfg.Self.ID = cfg.Space.reduce(cfg.Self.ID)
	n := &Node{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x6468742d6e6f6465))}
	length := cfg.Successors
	if length <= 0 {
		length = minSuccessors
	}
	n.ring = NewRing(cfg.Self, length)
	n.table = NewTable(cfg.Space, n.ring)
	n.calls.open = map[uint64]*call{}
	n.finding.byID = map[uint64]*lookup{}
	n.book.init(cfg.Self)
	n.stab.view = n.ring.View()
	n.stab.viewHash = hashView(n.stab.view)
	return n
}

// HandleMessage takes a message. The driver has proven from.ID; from's incarnation
// and address are what from says of itself.
func (n *Node) HandleMessage(now time.Time, from Peer, m Message) {
	n.enter(now)
	n.counters.Received++
	switch reason, ok := n.admissible(from); {
	case !ok:
		n.refuse(from, reason)
	case n.left:
		if q, asked := m.(Query); asked && q.View {
			n.send(from, n.farewell())
		}
	default:
		n.heard(from)
		n.dispatch(from, m)
	}
	n.settle()
}

func (n *Node) dispatch(from Peer, m Message) {
	switch m := m.(type) {
	case Query:
		n.handleQuery(from, m)
	case Answer:
		n.handleAnswer(from, m)
	case Find:
		n.handleFind(from, m)
	case Found:
		n.handleFound(from, m)
	case Probe:
		n.handleProbe(from, m)
	case Probed:
		n.handleProbed(from, m)
	case Changed:
		n.handleChanged(from, m)
	case Rumors:
		n.handleRumors(from, m)
	case Sync:
		n.handleSync(from, m)
	case Members:
		n.handleMembers(from, m)
	case Farewell:
		n.handleFarewell(from, m)
	}
}

// admissible reports whether from may be believed to be what it says.
func (n *Node) admissible(from Peer) (Reason, bool) {
	if from.ID == n.cfg.Self.ID {
		return OwnName, false
	}
	if !n.point(from) {
		return NoPoint, false
	}
	k := n.book.get(from.ID)
	if k != nil && k.met && (k.state == Alive || k.state == Suspect) && from.Incarnation < k.Incarnation {
		return EarlierLife, false
	}
	return 0, true
}

// point reports whether a peer can exist at all.
func (n *Node) point(p Peer) bool {
	return n.cfg.Space.Contains(p.ID) && p.Incarnation <= MaxIncarnation
}

// HandleTimeout does what has come due.
func (n *Node) HandleTimeout(now time.Time) {
	n.enter(now)
	if !n.left {
		n.tick()
		for {
			t, ok := n.calls.timers.pop(n.clock.now)
			if !ok {
				break
			}
			if c := n.calls.open[t.call]; t.call != 0 && c != nil && !c.deadline.After(n.clock.now) {
				n.expire(c)
			} else if t.call == 0 {
				n.redial(t)
			}
		}
		n.findFingers()
	}
	n.settle()
}

// NextTimeout returns when HandleTimeout is to be called.
func (n *Node) NextTimeout() (time.Time, bool) { return n.clock.next() }

// Outgoing returns what is to be sent, once.
func (n *Node) Outgoing() []Packet {
	out := n.out
	n.out = nil
	return out
}

// Events returns what has happened, once.
func (n *Node) Events() []Event {
	events := n.events
	n.events = nil
	return events
}

// View returns the node's neighbours, all of whom have answered it.
func (n *Node) View() View { return n.ring.View() }

// enter begins every call of the driver.
func (n *Node) enter(now time.Time) {
	first := n.clock.outside.IsZero()
	pause := n.clock.enter(now)
	if first {
		n.stab.at = n.clock.now
		n.book.self().since = n.clock.now
	}
	if pause > 0 && n.broken == NeverDoubt {
		n.clock.now = n.clock.now.Add(pause)
	} else if pause > 0 {
		n.paused(pause)
	}
}

// settle ends every call of the driver.
func (n *Node) settle() {
	n.clock.due = time.Time{}
	if n.left {
		return
	}
	n.useHeld()
	n.aim()
	n.place()
	n.meetNext()
	n.spread()
	n.tellView()
	n.clock.due = n.due()
}

func (n *Node) due() time.Time {
	due := n.stab.at
	for _, at := range []time.Time{n.stab.tellAt, n.gossip.spreadAt, n.finding.fingerAt} {
		if !at.IsZero() && at.Before(due) {
			due = at
		}
	}
	if t := n.calls.timers; len(t) > 0 && t[0].at.Before(due) {
		due = t[0].at
	}
	return due
}

func (n *Node) send(to Peer, m Message) {
	if to.ID == n.cfg.Self.ID {
		return
	}
	n.counters.Sent++
	n.out = append(n.out, Packet{to, m})
}

func (n *Node) tell(e Event) { n.events = append(n.events, e) }

func (n *Node) refuse(from Peer, why Reason) {
	n.counters.Refused[why]++
	n.tell(Refused{from, why})
}

// others draws up to count living members by lot, but for those of except.
func (n *Node) others(count int, except ...ID) (list []Peer) {
	living := n.book.order
	for range 4 * count {
		if len(list) == count || len(living) <= 1+len(list) {
			break
		}
		k := living[n.rng.IntN(len(living))]
		drawn := slices.ContainsFunc(list, func(p Peer) bool { return p.ID == k.ID })
		if k.state == Alive && k.ID != n.cfg.Self.ID && !drawn && !slices.Contains(except, k.ID) {
			list = append(list, k.Peer)
		}
	}
	return list
}
