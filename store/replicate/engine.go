package replicate

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
)

// Fetch is an order to the driver: get all chunks of these versions that are
// missing here from Peer, make them durable, then call [Engine.Done] with ID.
type Fetch struct {
	// ID names the fetch in its FetchResult.
	ID uint64
	// Peer is whom to ask.
	Peer store.MachineID
	// Assignments are the versions, at least one.
	Assignments []Assignment
}

// FetchResult says how a Fetch ended. A version of it that is neither in Fetched
// nor in Missing is tried again.
type FetchResult struct {
	// ID is the Fetch's.
	ID uint64
	// Fetched versions are whole and durable here.
	Fetched []store.Dot
	// Missing versions are ones that the peer does not have.
	Missing []store.Dot
	// Err, when not nil, is why the peer is left alone for a while. Versions
	// that were fetched before it count.
	Err error
}

// Engine decides which copies this machine fetches, and from whom. It is not safe
// for concurrent use.
type Engine struct {
	cfg Config
	kv  store.KV

	peers   map[store.MachineID]*peer
	told    map[store.MachineID]inventory // the latest of each machine, connected or not
	flights map[uint64]*flight
	busy    map[store.Dot]uint64 // versions being fetched, and by which flight
	missing map[store.Dot]lack
	lastID  uint64
	turn    int   // of the peers in plan
	portion int64 // bytes of a fetch, see portionNow

	due    time.Time
	waits  bool // due is set
	out    []Fetch
	events []Event
}

// maxTold bounds the machines whose inventories are kept.
const maxTold = 4096

// peer is a connected machine.
type peer struct {
	id       store.MachineID
	holds    inventory
	cursor   []byte // where in the queue to look next; nil: the beginning
	whole    bool   // nothing has changed since this lap began
	done     bool   // a whole lap was walked since something changed
	flights  int
	failures int
	until    time.Time // not asked before
}

// flight is a Fetch under way.
type flight struct {
	peer store.MachineID
	dots []store.Dot
}

// lack is who was asked for a version and did not have it, and until when that
// counts.
type lack struct {
	peers []store.MachineID
	until time.Time
}

// New returns an Engine that goes on with the queue that is in kv. What is said to
// methods that take a transaction of kv is on disk when that is.
func New(kv store.KV, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if _, _, err := counted(kv); err != nil {
		return nil, fmt.Errorf("replicate: open: %w", err)
	}
	return &Engine{
		cfg: cfg, kv: kv,
		peers: make(map[store.MachineID]*peer), told: make(map[store.MachineID]inventory), flights: make(map[uint64]*flight),
		busy: make(map[store.Dot]uint64), missing: make(map[store.Dot]lack),
	}, nil
}

// Assign queues a version that this machine shall keep and does not have. The
// versions of one author must be assigned in the order of their numbers, because
// the watermark of the inventory says "all up to": Hold and Assign may alternate,
// and an earlier version may come again. Assigning what is queued replaces it.
func (e *Engine) Assign(tx store.Txn, now time.Time, a Assignment) error {
	if err := a.check(); err != nil {
		return err
	}
	if !slices.Contains(a.Holders, e.cfg.Self) {
		return fmt.Errorf("replicate: assign %v: not assigned to this machine", a.Dot)
	}
	if err := put(tx, a); err != nil {
		return fmt.Errorf("replicate: assign %v: %w", a.Dot, err)
	}
	if err := know(tx, a.Dot); err != nil {
		return fmt.Errorf("replicate: assign %v: %w", a.Dot, err)
	}
	e.lookAgain(now)
	return nil
}

// Hold says that a version assigned to this machine is whole and durable here:
// written here, or found here. See Assign for the order.
func (e *Engine) Hold(tx store.Txn, a Assignment) error {
	if err := a.check(); err != nil {
		return err
	}
	if _, err := take(tx, a.Dot); err != nil {
		return fmt.Errorf("replicate: hold %v: %w", a.Dot, err)
	}
	if err := know(tx, a.Dot); err != nil {
		return fmt.Errorf("replicate: hold %v: %w", a.Dot, err)
	}
	delete(e.missing, a.Dot)
	return nil
}

// Forget says that a version is no longer wanted: superseded, deleted, or assigned
// to others. A fetch of it that is under way is not stopped.
func (e *Engine) Forget(tx store.Txn, d store.Dot) error {
	if _, err := take(tx, d); err != nil {
		return fmt.Errorf("replicate: forget %v: %w", d, err)
	}
	delete(e.missing, d)
	return nil
}

// PeerUp says that a machine can be asked. What it holds is what it last told.
func (e *Engine) PeerUp(now time.Time, id store.MachineID) {
	if id == e.cfg.Self || id.IsZero() {
		return
	}
	if e.peers[id] == nil {
		e.peers[id] = &peer{id: id, holds: e.told[id]}
	}
	e.lookAgain(now)
}

// PeerDown says that a machine cannot be asked any more. What was being fetched
// from it may be fetched from others at once; Done may still be called for it.
func (e *Engine) PeerDown(now time.Time, id store.MachineID) {
	if e.peers[id] == nil {
		return
	}
	delete(e.peers, id)
	for fid, f := range e.flights {
		if f.peer == id {
			e.land(fid)
		}
	}
	e.lookAgain(now)
}

// PeerHolds takes the inventory of a machine, connected or not: what
// [Engine.Inventory] returned there. The latest replaces those before. It fails with
// ErrBadInventory.
func (e *Engine) PeerHolds(now time.Time, id store.MachineID, b []byte) error {
	inv, err := parseInventory(b)
	if err != nil {
		return err
	}
	if _, ok := e.told[id]; !ok && len(e.told) >= maxTold {
		return nil
	}
	e.told[id] = inv
	p := e.peers[id]
	if p == nil {
		return nil
	}
	p.holds = inv
	for d, l := range e.missing { // it may have what it lacked
		if inv.covers(d) {
			l.peers = slices.DeleteFunc(l.peers, func(m store.MachineID) bool { return m == id })
			e.missing[d] = l
		}
	}
	e.lookAgain(now)
	return nil
}

// Doubt says that a machine which says that it holds a version could not prove it: it
// does not count for that version until its inventory comes anew.
func (e *Engine) Doubt(id store.MachineID, d store.Dot) {
	inv := e.told[id].without(d)
	if _, ok := e.told[id]; ok {
		e.told[id] = inv
	}
	if p := e.peers[id]; p != nil {
		p.holds = inv
	}
}

// Done says how a fetch ended. What was fetched leaves the queue in tx. A result of
// a fetch that is not known any more counts all the same.
func (e *Engine) Done(tx store.Txn, now time.Time, r FetchResult) error {
	for _, d := range r.Fetched {
		a, err := take(tx, d)
		if err != nil {
			return fmt.Errorf("replicate: done %v: %w", d, err)
		}
		delete(e.missing, d)
		if a != nil {
			e.events = append(e.events, Held{*a})
		}
	}
	f := e.flights[r.ID]
	if f == nil {
		return nil
	}
	e.land(r.ID)
	p := e.peers[f.peer]
	if p == nil {
		return nil
	}
	for _, d := range r.Missing {
		if slices.Contains(f.dots, d) {
			e.lacks(now, f.peer, d)
		}
	}
	e.judge(now, p, r)
	e.lookAgain(now)
	return nil
}

// land ends a flight.
func (e *Engine) land(id uint64) {
	f := e.flights[id]
	delete(e.flights, id)
	for _, d := range f.dots {
		if e.busy[d] == id {
			delete(e.busy, d)
		}
	}
	if p := e.peers[f.peer]; p != nil {
		p.flights--
	}
}

// lacks remembers that a peer does not have a version.
func (e *Engine) lacks(now time.Time, id store.MachineID, d store.Dot) {
	e.events = append(e.events, Unavailable{Peer: id, Dot: d})
	l, known := e.missing[d]
	if !known && len(e.missing) >= e.cfg.MaxMissing {
		e.peers[id].until = now.Add(e.jitter(e.cfg.RetryMissing)) // instead of one memory for each
		return
	}
	if !slices.Contains(l.peers, id) {
		l.peers = append(l.peers, id)
	}
	l.until = now.Add(e.jitter(e.cfg.RetryMissing))
	e.missing[d] = l
}

// judge counts a peer's failures in a row. A result without any of what was asked
// and without a word why is a failure, too, lest it be repeated without pause.
func (e *Engine) judge(now time.Time, p *peer, r FetchResult) {
	if r.Err == nil && len(r.Fetched)+len(r.Missing) > 0 {
		p.failures = 0
		return
	}
	if len(r.Fetched) > 0 {
		p.failures = 0 // it got somewhere
	}
	p.failures++
	pause := e.cfg.BackoffMin << min(p.failures-1, 30)
	if pause <= 0 || pause > e.cfg.BackoffMax {
		pause = e.cfg.BackoffMax
	}
	p.until = now.Add(e.jitter(pause))
	e.events = append(e.events, PeerFailed{Peer: p.id, Until: p.until, Err: r.Err})
}

// jitter takes a random part of at most half off d.
func (e *Engine) jitter(d time.Duration) time.Duration {
	return d - time.Duration(e.cfg.Rand.Int64N(int64(d/2)+1))
}

// Outgoing returns the fetches to carry out, and forgets them.
func (e *Engine) Outgoing() []Fetch {
	out := e.out
	e.out = nil
	return out
}

// Events returns what the user should hear, and forgets it.
func (e *Engine) Events() []Event {
	ev := e.events
	e.events = nil
	return ev
}

// NextTimeout returns when HandleTimeout must be called next.
func (e *Engine) NextTimeout() (time.Time, bool) { return e.due, e.waits }

// Inventory returns what this machine holds, for PeerHolds of others. It shows what
// is committed. Damage makes it empty, which claims nothing, and a Broken event.
func (e *Engine) Inventory() []byte {
	inv, err := readInventory(e.kv)
	if err != nil {
		e.events = append(e.events, Broken{err})
		inv = nil
	}
	return inv.append(nil)
}

// Copies returns how many of a's holders are known to hold it, by what they last
// told; a machine that is away still holds it.
func (e *Engine) Copies(a Assignment) int {
	n := 0
	for i, m := range a.Holders {
		switch {
		case slices.Contains(a.Holders[:i], m):
		case m == e.cfg.Self:
			if e.holds(a.Dot) {
				n++
			}
		case e.told[m].covers(a.Dot):
			n++
		}
	}
	return n
}

// holds reports whether an assigned version is here.
func (e *Engine) holds(d store.Dot) bool { return e.Holds(e.kv, d) }

// Holds reports whether a version is here, going by r, given that it is, or was, assigned
// to this machine.
func (e *Engine) Holds(r store.Reader, d store.Dot) bool {
	last, err := known(r, d.Machine)
	if err != nil || d.Seq > last {
		return false
	}
	_, err = r.Get(queueKey(d))
	return errors.Is(err, store.ErrNotFound)
}

// Pending returns the size of the queue: versions, and bytes in them, that are
// assigned to this machine and not here.
func (e *Engine) Pending() (files int, bytes int64) {
	f, b, err := counted(e.kv)
	if err != nil {
		e.events = append(e.events, Broken{err})
	}
	return int(f), b
}
