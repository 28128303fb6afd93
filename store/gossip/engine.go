package gossip

import (
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// Entry is one entry of a machine's log. Its payload, at most [MaxPayload]
// bytes, means nothing to this package.
type Entry struct {
	Dot     store.Dot
	Payload []byte
	// Seal is the author's signature of its log up to this entry, which a driver
	// hands on with the entry; most have none.
	Seal []byte
}

// Packet is a message to or from a peer.
type Packet struct {
	Peer    store.MachineID
	Message []byte
}

// Engine is one machine's part in the gossip. It is not safe for concurrent use.
type Engine struct {
	cfg       Config
	log       *journal
	signer    signer
	inbox     inbox
	peers     map[store.MachineID]*peer
	pace      pace
	root      []byte // of the state at the vector; nil if not known
	owed      uint64 // the last entry of ours of which a peer has proof
	inventory inventories
	events    []Event
	counters  Counters
}

// pace says when vectors are exchanged.
type pace struct {
	due   time.Time // the next exchange; zero without peers
	soon  time.Time // the next one if there is news
	eager int       // how many more exchanges news have made frequent
}

// eager is after how many exchanges without news they become seldom: by then somebody
// has met nearly everybody since.
const eager = 6

// news has vectors exchanged more often for a while.
func (p *pace) news() {
	p.eager = eager
	if p.soon.Before(p.due) {
		p.due = p.soon
	}
}

// New returns an engine that continues with what kv holds.
func New(kv store.KV, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	j, err := openJournal(kv, cfg.Self)
	if err != nil {
		return nil, fmt.Errorf("gossip: open: %w", err)
	}
	return &Engine{
		cfg:       cfg,
		log:       j,
		signer:    signer{self: cfg.Self, key: cfg.Key, last: map[uint64][]byte{}},
		inbox:     inbox{heard: j.vector.Clone(), ends: map[store.MachineID]hash{}},
		peers:     map[store.MachineID]*peer{},
		inventory: inventories{of: map[store.MachineID]soft{}},
	}, nil
}

// Vector returns what is committed here.
func (e *Engine) Vector() store.Vector { return e.log.vector.Clone() }

// Known returns what the peer is known to have committed, or false while it is
// not up or has not said.
func (e *Engine) Known(id store.MachineID) (store.Vector, bool) {
	p := e.peers[id]
	if p == nil || !p.met {
		return nil, false
	}
	return p.known.Clone(), true
}

// Counters returns what was dropped since New.
func (e *Engine) Counters() Counters { return e.counters }

// Append writes an entry of this machine into tx. Its number must follow that of
// the machine's last, or the error is ErrOrder. After tx is committed, and
// Committed called, the next Outgoing pushes it to connected peers. While entries
// of this machine that a peer has proved to have are missing here, the error is
// ErrRelapsed; when the log has forked it is ErrForked.
func (e *Engine) Append(tx store.Txn, d store.Dot, payload []byte) error {
	if err := e.Ready(); err != nil {
		return err
	}
	if d.Machine != e.cfg.Self || d.Seq <= e.inbox.heard[d.Machine] {
		return fmt.Errorf("%w: append %v", ErrOrder, d)
	}
	return e.log.put(tx, []Entry{{Dot: d, Payload: payload}})
}

// Received hands over entries that came from peers and are not stored: in order
// and without gaps for each author, each once, at most Config.Batch of them.
// The driver applies them to its state and calls Store, all in one transaction.
// An entry that it does not understand it stores all the same: others may.
func (e *Engine) Received() []Entry { return e.inbox.take(e.cfg.Batch) }

// Store writes entries that Received gave into tx. An entry that is not the next
// of its author is ErrOrder; tx must then be discarded.
func (e *Engine) Store(tx store.Txn, entries []Entry) error { return e.log.put(tx, entries) }

// Committed says that the transaction with all that Append and Store wrote is
// committed. Only now does the vector move. A root set before is forgotten if it
// did.
func (e *Engine) Committed() {
	if !e.log.committed() {
		return
	}
	e.root = nil
	e.pace.news()
	e.inbox.heard.Merge(e.log.vector)
	e.settle()
	e.spread()
}

// Rollback says that the transaction was not committed. What Append wrote is
// forgotten; Received gives the entries that came once more.
func (e *Engine) Rollback() {
	e.log.rollback()
	e.inbox.putBack()
}

// SetRoot tells the hash of the driver's state at the present vector, which
// peers at an equal vector compare with theirs. It counts until the vector moves.
func (e *Engine) SetRoot(h [32]byte) {
	if string(e.root) != string(h[:]) {
		e.pace.news()
	}
	e.root = h[:]
}

// PeerUp says that a connection to id is ready. Our vector goes to it at once.
// A peer that was up starts anew.
func (e *Engine) PeerUp(now time.Time, id store.MachineID) {
	if id == e.cfg.Self || id.IsZero() {
		return
	}
	e.peers[id] = &peer{
		id:     id,
		told:   told{session: e.newSession(now), say: true, want: true},
		known:  store.Vector{},
		sent:   store.Vector{},
		souls:  map[store.MachineID]store.Time{},
		doubts: newDoubts(),
	}
	if e.pace.due.IsZero() {
		e.plan(now)
	}
	e.pace.news()
}

// PeerDown says that the connection to id is gone. What was in flight may be lost.
func (e *Engine) PeerDown(now time.Time, id store.MachineID) {
	delete(e.peers, id)
	if len(e.peers) == 0 {
		e.pace = pace{}
	}
}

// newSession returns a number that this machine has not used for a connection:
// random, and mixed with the clock since a restart may repeat the generator.
func (e *Engine) newSession(now time.Time) uint64 {
	return e.cfg.Rand.Uint64() ^ uint64(now.UnixNano())
}

// plan decides when vectors are exchanged next.
func (e *Engine) plan(now time.Time) {
	quarter := int64(e.cfg.Interval) / 4
	wait := e.cfg.Interval - time.Duration(quarter) + time.Duration(e.cfg.Rand.Int64N(2*quarter+1))
	e.pace.soon, e.pace.due = now.Add(wait), now.Add(wait)
	if e.pace.eager == 0 {
		e.pace.due = now.Add(time.Duration(float64(wait) / float64(e.cfg.Interval) * float64(e.cfg.Calm)))
	}
}

// NextTimeout reports when the next exchange is due; never while no peer is up.
func (e *Engine) NextTimeout() (time.Time, bool) { return e.pace.due, !e.pace.due.IsZero() }

// HandleTimeout exchanges vectors with one random peer when that is due, and
// gives up waiting for acknowledgements that are overdue.
func (e *Engine) HandleTimeout(now time.Time) {
	if e.pace.due.IsZero() || now.Before(e.pace.due) {
		return
	}
	e.pace.eager = max(0, e.pace.eager-1)
	order := e.order()
	for _, p := range order {
		e.expire(now, p)
		if len(p.flights) > 0 {
			e.pace.eager = max(1, e.pace.eager)
		}
	}
	e.plan(now)
	p := order[e.cfg.Rand.IntN(len(order))]
	p.say, p.want = true, true
}

// expire takes flights that were never acknowledged for lost.
func (e *Engine) expire(now time.Time, p *peer) {
	switch {
	case len(p.flights) == 0:
		p.waiting = time.Time{}
	case p.waiting.IsZero():
		p.waiting = now
	case now.Sub(p.waiting) >= e.cfg.Retry:
		p.session, p.number, p.flights, p.waiting = e.newSession(now), 0, nil, time.Time{}
		p.forgetSent()
		p.push, p.say, p.want = true, true, true
	}
}

// order returns the peers by ID, so that one seed gives one run.
func (e *Engine) order() []*peer {
	order := make([]*peer, 0, len(e.peers))
	for _, p := range e.peers {
		order = append(order, p)
	}
	slices.SortFunc(order, func(a, b *peer) int { return a.id.Compare(b.id) })
	return order
}

// maxEvents bounds the events that wait for Events.
const maxEvents = 4096

func (e *Engine) tell(ev Event) {
	if len(e.events) >= maxEvents {
		e.counters.Events++
		return
	}
	e.events = append(e.events, ev)
}

// Events returns what the user should hear and forgets it.
func (e *Engine) Events() []Event {
	ev := e.events
	e.events = nil
	return ev
}
