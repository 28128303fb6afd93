package paxos

import (
	"fmt"
	"slices"
	"time"
)

// Node is one node of a cluster: proposer, acceptor and learner of all slots.
// It is not safe for concurrent use. Instants given to it must not go back, and
// should carry a monotonic clock reading.
type Node struct {
	cfg    Config
	now    time.Time // the last instant given
	self   identity
	acc    promises
	log    entryLog
	chosen Slot // the watermark: all slots to it are chosen, and known
	// members counts for slot chosen+1.
	members Membership
	role    Role
	wait    waits
	try     *candidacy  // while Polling or Preparing
	lead    *leadership // while Leading
	app     application
	disk    saver
	out     outputs
	storage Storage
	broken  Mutation
}

// identity is who this node is to others: see hello.go.
type identity struct {
	inc       Incarnation
	confirmed bool
	bound     []Binding       // ordered by ID
	confirms  map[NodeID]bool // who confirmed this disk; nil when nobody needs to
	wiped     bool            // others know another disk of this node
	removed   bool            // not a member; silent until a leader says otherwise
	stopped   bool            // diverged
}

// promises is what the acceptor part has promised and to whom it listens.
type promises struct {
	promised Ballot
	record   uint64 // that holds promised
	// accepted is the slot to which all slots after chosen were accepted in promised.
	accepted Slot
	leader   NodeID    // of promised, once it was heard as such
	heard    time.Time // when
	lease    time.Time // until when nobody else is promised
	highest  uint64    // the highest round seen anywhere
}

// waits are the instants at which something is due; zero is never.
type waits struct {
	election, heartbeat, hello, retry, fetch time.Time
}

// application is what is known of the state that is made from chosen values.
type application struct {
	given     Slot       // by Chosen
	members   Membership // after given
	applied   Slot       // as told by Applied
	snapshot  Snapshot
	forgotten Slot // by Storage
	hashes    []stateHash
	wanted    Snapshot // being fetched; Slot 0: none
	from      NodeID
}

// stateHash is the hash of the application's state after slot.
type stateHash struct {
	slot Slot
	hash uint64
}

// New returns the node that cfg and what its disk holds describe. storage gives
// back older entries; nil keeps all entries in memory until they are forgotten.
func New(now time.Time, cfg Config, st State, storage Storage) (*Node, error) {
	return NewBroken(now, cfg, st, storage, Sound)
}

func newNode(now time.Time, cfg Config, st State, storage Storage, broken Mutation) (*Node, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, now: now, storage: storage, broken: broken}
	n.members = Membership{Members: slices.Clone(cfg.Members), AcceptQuorum: cfg.AcceptQuorum}
	for i := range n.members.Members {
		n.members.Members[i].Incarnation = 0
	}
	slices.SortFunc(n.members.Members, func(a, b Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	if len(cfg.Members) > 0 {
		if err := n.members.check(); err != nil {
			return nil, fmt.Errorf("paxos: new: %w", err)
		}
	}
	if err := n.restore(st); err != nil {
		return nil, fmt.Errorf("paxos: new: %w", err)
	}
	n.identify()
	if l := cfg.Timing.Lease; l > 0 && !st.Hard.Promised.IsZero() {
		n.acc.lease = now.Add(l) // one may have been promised before the restart
	}
	n.wait.election = n.electionTime(now)
	return n, nil
}

// restore takes over what the disk holds.
func (n *Node) restore(st State) error {
	for i, e := range st.Entries {
		if want := st.Applied.Slot + 1 + Slot(i); e.Slot != want {
			return fmt.Errorf("entry of slot %v where that of %v should be", e.Slot, want)
		}
	}
	if st.Applied.Slot > 0 {
		if err := st.Applied.Members.check(); err != nil {
			return err
		}
		n.members = st.Applied.Members
	}
	n.self.inc, n.self.confirmed, n.self.bound = st.Hard.Incarnation, st.Hard.Confirmed, slices.Clone(st.Hard.Bound)
	n.acc.promised = st.Hard.Promised
	n.acc.highest = st.Hard.Promised.Round
	n.app.applied, n.app.given = st.Applied.Slot, st.Applied.Slot
	n.app.snapshot, n.app.forgotten = st.Snapshot, st.Forgotten
	n.chosen, n.app.members = st.Applied.Slot, n.members
	n.log.first = st.Applied.Slot + 1
	for _, e := range st.Entries {
		n.log.set(e)
	}
	n.learn(min(st.Hard.Chosen, n.log.last()))
	n.findAccepted()
	return nil
}

// findAccepted finds to where the log after chosen was accepted in promised.
func (n *Node) findAccepted() {
	n.acc.accepted = n.chosen
	for _, e := range n.log.between(n.chosen+1, n.log.last()) {
		if e.Ballot != n.acc.promised {
			return
		}
		n.acc.accepted = e.Slot
	}
}

// advance takes in the instant and notices when time went on without the node: a
// pause, after which a lease means nothing.
func (n *Node) advance(now time.Time) {
	gap := max(now.Sub(n.now), now.Round(0).Sub(n.now.Round(0))) // monotonic, and wall clock
	if l := n.lead; l != nil && gap > n.pause() && n.broken != LeaseOverPause {
		l.rounds.leaseFrom, l.rounds.leaseAt = max(l.rounds.leaseFrom, l.rounds.count+1), time.Time{}
	}
	if now.After(n.now) {
		n.now = now
	}
}

// pause is how long a leader may be without an instant before its lease is void.
func (n *Node) pause() time.Duration { return max(n.cfg.Timing.Lease/4, 2*n.cfg.Timing.Heartbeat) }

// electionTime draws when to poll if no leader is heard: one to two election times.
func (n *Node) electionTime(now time.Time) time.Time {
	e := n.cfg.Timing.Election
	return now.Add(e + time.Duration(n.cfg.Rand.Int64N(int64(e))))
}

// HandleTimeout does what is due. It may be called at any time.
func (n *Node) HandleTimeout(now time.Time) {
	n.advance(now)
	if n.self.stopped {
		return
	}
	if due(n.wait.hello, now) {
		n.sayHello(now)
	}
	switch n.role {
	case Following, Polling, Preparing:
		if due(n.wait.election, now) {
			n.poll(now)
		} else if due(n.wait.retry, now) {
			n.retryCandidacy(now)
		}
	case Leading:
		if due(n.wait.heartbeat, now) {
			n.heartbeat(now)
		}
	}
	n.wantAgain(now)
}

func due(t, now time.Time) bool { return !t.IsZero() && !now.Before(t) }

// NextTimeout returns when to call HandleTimeout if nothing happens before; ok is
// false when nothing is due.
func (n *Node) NextTimeout() (t time.Time, ok bool) {
	if n.self.stopped {
		return t, false
	}
	list := [5]time.Time{n.wait.hello, n.wait.fetch, n.wait.election, n.wait.retry}
	if l := n.lead; l != nil {
		list[2], list[3], list[4] = n.wait.heartbeat, l.batchAt, l.tellAt
	}
	for _, d := range list {
		if !d.IsZero() && (!ok || d.Before(t)) {
			t, ok = d, true
		}
	}
	return t, ok
}

// HandleMessage takes in a message. What does not belong here is dropped with an
// EventBadInput. The node keeps the values of m.
func (n *Node) HandleMessage(now time.Time, m Message) {
	n.advance(now)
	switch {
	case n.self.stopped:
		return
	case m.Cluster != n.cfg.Cluster:
		n.reject(m, "of cluster "+m.Cluster.String())
		return
	case m.To != n.cfg.ID && m.To != Everyone:
		n.reject(m, "for node "+m.To.String())
		return
	case m.From == n.cfg.ID || m.From == Everyone:
		if m.From == n.cfg.ID && m.Incarnation != n.self.inc && m.To == n.cfg.ID {
			n.reject(m, "of another machine with our id")
		}
		return
	}
	if n.dismiss(m) {
		return
	}
	n.meet(m)
	switch b := m.Body.(type) {
	case Hello:
		n.onHello(m, b)
	case HelloReply:
		n.onHelloReply(m, b)
	case Poll:
		n.onPoll(m, b)
	case PollReply:
		n.onPollReply(m, b)
	case Prepare:
		n.onPrepare(m, b)
	case Promise:
		n.onPromise(m, b)
	case Accept:
		n.onAccept(m, b)
	case Accepted:
		n.onAccepted(m, b)
	case Nack:
		n.onNack(m, b)
	case CatchUp:
		n.onCatchUp(m, b)
	case CaughtUp:
		n.onCaughtUp(m, b)
	case Offer:
		n.onOffer(m, b)
	case TakeOver:
		n.onTakeOver(m, b)
	case Removed:
		n.onRemoved(m, b)
	}
}

func (n *Node) reject(m Message, why string) {
	n.out.dropped++
	n.event(Event{Kind: EventBadInput, Peer: m.From, Note: why})
}

// dismiss answers nodes that are not members: one that would lead is told so.
func (n *Node) dismiss(m Message) bool {
	if n.members.Slot == 0 {
		return false
	}
	if _, ok := n.members.Find(m.From); ok {
		return false
	}
	switch m.Body.(type) {
	case Poll, Prepare:
		n.send(m.From, Removed{n.members.Slot})
		return true
	}
	return false
}

// onRemoved: nodes that know a later membership do not know this one in it. A
// leader that knows better is heard nevertheless.
func (n *Node) onRemoved(m Message, b Removed) {
	_, first := n.members.Find(n.cfg.ID)
	if !first || b.Slot <= n.members.Slot || n.self.removed {
		return
	}
	n.setRemoved()
}

func (n *Node) setRemoved() {
	n.self.removed = true
	n.follow(n.acc.leader)
	n.event(Event{Kind: EventRemoved, Slot: n.members.Slot})
}
