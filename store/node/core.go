package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/gossip"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/place"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

// core is the engine of a machine: the log of operations (gossip), what they make
// of the drive (tree), who the members are, and which copies are still to be
// fetched (replicate). It alone changes any of them, one change at a time under its
// lock. loop.Run turns it, with or without a network; changes that come from this
// machine are made by whoever asks, because handing each to another goroutine and
// back costs as much as the change.
type core struct {
	mu      sync.Mutex // held by every input; see turned
	closed  bool
	peers   int       // connected machines
	armed   time.Time // when the loop will wake by itself; zero: not
	m       *Machine
	gossip  *gossip.Engine
	copying *replicate.Engine
	members members
	pins    pins
	heardOf
	absent absences
	wire   *wire

	stalled  time.Time // until when a full disk keeps operations waiting; zero: not
	unsynced bool      // something was committed and not yet forced to the disk
	proving  bool      // what is held here is not yet proved, and not told
	soft     softState
	root     rootTimer
	lapsing  lapsing
	doubt    bool      // the index was lost: operations of our own may be missing
	unknown  bool      // the machine could not make itself known yet
	metSome  time.Time // while in doubt: when another machine had first said what it has
	err      error     // why the core cannot go on
	choosing choosing

	removals, tidied atomic.Int64 // versions shown no more, and how many when room was last made
	foreign          int64        // bytes written here, or kept here once, that are others' to keep

	do            chan func(time.Time) // wakes the loop when there may be something to send
	ended         chan struct{}
	quit          context.CancelFunc
	balanceWanted chan struct{}
	roomWanted    chan struct{} // wakes upkeep when something was removed
	looks         chan struct{} // bounds lookThrough
	leaving       chan struct{} // wakes heal when a machine cannot be reached any more
}

// inventoryDelay is how long what is newly held waits to be told, so that many
// files are told at once.
const inventoryDelay = 200 * time.Millisecond

// stallTime is how long operations of others wait before a full disk is tried again.
const stallTime = 5 * time.Second

func newCore(m *Machine) (*core, error) {
	g, err := gossip.New(m.kv, gossip.Config{Self: m.ID(), Key: m.pool.Key()})
	if err != nil {
		return nil, err
	}
	r, err := replicate.New(m.kv, replicate.Config{Self: m.ID()})
	if err != nil {
		return nil, err
	}
	c := &core{m: m, gossip: g, copying: r, wire: newWire(), do: make(chan func(time.Time), 1), ended: make(chan struct{}), balanceWanted: make(chan struct{}, 1)}
	c.soft.of = map[store.MachineID]soft{}
	c.roomWanted, c.looks, c.leaving = make(chan struct{}, 1), make(chan struct{}, maxLooks), make(chan struct{}, 1)
	c.choosing = choosing{maps: map[int]*place.Map{}, promised: map[store.MachineID]*promise{}}
	if c.choosing.marked, err = loadMarks(m.kv); err != nil {
		return nil, err
	}
	if c.members, err = loadMembers(m.kv); err != nil {
		return nil, err
	}
	if c.pins, err = loadPins(m.kv); err != nil {
		return nil, err
	}
	if c.heardOf, err = loadHeardOf(m.kv); err != nil {
		return nil, err
	}
	return c, errors.Join(c.loadDoubt(), c.loadRenewal())
}

// start turns the loop and begins.
func (c *core) start() error {
	ctx, quit := context.WithCancel(context.Background())
	c.quit = quit
	go func() {
		defer close(c.ended)
		_ = loop.Run[gossip.Packet, replicate.Fetch](ctx, turned{c}, c.wire, loop.Config[gossip.Packet, replicate.Fetch]{
			Do:         c.do,
			Event:      c.carryOut,
			WriteError: func(gossip.Packet, error) error { return nil }, // gossip asks again
		})
	}()
	var err error
	cerr := c.call(ctx, func() { err = c.begin(c.m.now()) })
	return errors.Join(err, cerr)
}

// begin makes this machine known to the pool.
func (c *core) begin(now time.Time) error {
	c.noteInventory(now)
	if c.lapsing.again {
		c.m.drive.KeepGarbage()
	}
	return errors.Join(c.recall(now), c.renew(now), c.present(now), c.markBegun())
}

// stop ends the loop and forces what was committed to the disk.
func (c *core) stop() error {
	if c.quit == nil {
		return nil
	}
	c.quit()
	<-c.ended
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	return c.sync()
}

// sync returns once everything committed before is on the disk. Callers that wait
// at the same time share one fsync.
func (c *core) sync() error { return c.m.kv.Begin().Commit(true) }

// call runs f alone with the core, and has the loop look what there is to send.
func (c *core) call(ctx context.Context, f func()) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	closed := c.closed
	if !closed {
		f()
	}
	next, _ := c.NextTimeout()
	wake := c.peers > 0 || !next.Equal(c.armed)
	c.mu.Unlock()
	if closed {
		return fmt.Errorf("node: the machine is closed: %w", net.ErrClosed)
	}
	if !wake {
		return nil
	}
	select {
	case c.do <- func(time.Time) {}:
	default: // it will look anyway
	}
	return nil
}

// turned is the core as the loop sees it: each input alone with it.
type turned struct{ c *core }

func (t turned) HandlePacket(now time.Time, p gossip.Packet) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.c.HandlePacket(now, p)
}

func (t turned) HandleTimeout(now time.Time) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.c.HandleTimeout(now)
}

func (t turned) NextTimeout() (time.Time, bool) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	next, ok := t.c.NextTimeout()
	t.c.armed = next
	return next, ok
}

func (t turned) Outgoing() []gossip.Packet {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	return t.c.Outgoing()
}

func (t turned) Events() []replicate.Fetch {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	return t.c.Events()
}

// Do makes a change of the tree; see drive.Journal.
func (c *core) Do(ctx context.Context, change drive.Change) error {
	return c.waitForRoom(ctx, func() error {
		return c.patiently(ctx, func() error {
			var err error
			cerr := c.call(ctx, func() { err = c.change(c.m.now(), drive.Origin(ctx), change) })
			return errors.Join(cerr, err)
		})
	})
}

// Sync returns when all changes made before are on the disk: many callers wait for
// one fsync.
func (c *core) Sync(context.Context) error { return c.sync() }

// change makes a change in a Txn of its own and commits it.
func (c *core) change(now time.Time, origin any, change drive.Change) error {
	if c.err != nil {
		return c.err
	}
	var events []tree.Event
	err := c.commit(func(tx store.Txn) error {
		ops, evs, err := change(c.m.tree, tx, c.m.clocks.stamp(now))
		if err != nil {
			return err
		}
		for i := range ops {
			if err := c.log(tx, ops[i]); err != nil {
				return err
			}
		}
		events = evs
		return c.follow(tx, now, evs)
	})
	if err == nil {
		c.m.drive.Announce(origin, events)
	}
	return err
}

// log appends an operation of this machine to the log.
func (c *core) log(tx store.Txn, op tree.Op) error {
	if err := c.mayWrite(); err != nil {
		return err
	}
	payload, err := op.Append(nil)
	if err != nil {
		return err
	}
	if err := c.mark(tx, &op); err != nil {
		return err
	}
	return c.gossip.Append(tx, op.Dot, payload)
}

// commit runs f in a Txn and commits it without waiting for the disk.
func (c *core) commit(f func(tx store.Txn) error) error {
	tx := c.m.kv.Begin()
	defer tx.Discard()
	if err := f(tx); err != nil {
		c.gossip.Rollback()
		return err
	}
	if err := tx.Commit(false); err != nil {
		c.gossip.Rollback()
		return fmt.Errorf("node: commit: %w", err)
	}
	c.gossip.Committed()
	c.m.census.touch()
	c.root.touch(c.m.now())
	c.unsynced = true
	return nil
}

// HandlePacket takes a message of another machine.
func (c *core) HandlePacket(now time.Time, p gossip.Packet) {
	c.gossip.HandlePacket(now, p)
	c.absorb(now)
	c.listen(now)
	c.settleDoubt(now)
}

// absorb applies the operations that have come, batch by batch.
func (c *core) absorb(now time.Time) {
	for c.err == nil && !now.Before(c.stalled) {
		entries := c.gossip.Received()
		if len(entries) == 0 {
			return
		}
		var events []tree.Event
		err := c.commit(func(tx store.Txn) error {
			if err := c.gossip.Store(tx, entries); err != nil {
				return err
			}
			for _, e := range entries {
				evs, err := c.apply(tx, now, e)
				if err != nil {
					return err
				}
				events = append(events, evs...)
			}
			return nil
		})
		if err == nil {
			c.m.drive.Announce(nil, events)
			err = c.renew(now)
		}
		switch {
		case errors.Is(err, index.ErrFull):
			c.stalled = now.Add(stallTime)
			c.m.log.Error("operations of other machines wait for room on the disk", "error", err)
			c.m.alarm(AlarmFull, "", "changes of other machines wait for room on the disk")
		case err != nil:
			c.fail(err)
		}
	}
}

// apply applies one entry of the log.
func (c *core) apply(tx store.Txn, now time.Time, e gossip.Entry) ([]tree.Event, error) {
	op, err := tree.ParseOp(e.Payload)
	if err != nil || op.Dot != e.Dot {
		// A member that writes nonsense: all machines pass over it alike.
		c.m.log.Error("an operation makes no sense", "operation", e.Dot.String(), "error", err)
		c.m.alarm(AlarmFault, e.Dot.Machine.String(), "it wrote a change that makes no sense, which all pass over")
		op = tree.Op{Dot: e.Dot, Kind: tree.KindForeign}
	}
	if c.m.misread != nil {
		op = c.m.misread(op)
	}
	events, err := c.m.tree.Apply(tx, op, c.m.clocks.stamp(now))
	if err == nil {
		err = c.mark(tx, &op)
	}
	if err != nil {
		return nil, err
	}
	if op.Kind == kindMember {
		if err := c.members.learn(tx, op.Dot.Machine, op.Body); err != nil {
			c.m.log.Warn("a member's record cannot be read", "machine", op.Dot.Machine.String(), "error", err)
		}
		c.wantBalance()
	}
	if err := c.hearOfKeys(tx, op); err != nil {
		return nil, err
	}
	if op.Kind == kindStanding {
		if err := c.judged(tx, op); err != nil {
			return nil, err
		}
	}
	return events, c.follow(tx, now, events)
}

// follow draws the conclusions for copies from what happened to the tree.
func (c *core) follow(tx store.Txn, now time.Time, events []tree.Event) error {
	was := replacedSizes(events)
	for _, ev := range events {
		var err error
		switch ev.Kind {
		case tree.VersionAdded:
			err = c.versionAdded(tx, now, ev, was[ev.File])
		case tree.VersionRemoved:
			err = errors.Join(c.copying.Forget(tx, ev.Dot), c.pinRemoved(tx, ev.Dot))
			c.removals.Add(1)
			c.wantRoom()
		case tree.Closed:
			err = c.voided(tx, ev)
		case tree.Alarm:
			c.m.log.Warn("a machine's clock is more than a minute ahead", "operation", ev.Dot.String())
		case tree.MoveIgnored, tree.Invalid:
			c.m.log.Info("an operation has no effect", "operation", ev.Dot.String())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// HandleTimeout does what is due.
func (c *core) HandleTimeout(now time.Time) {
	if c.err != nil {
		return
	}
	c.tellSoft(now)
	c.tellRoot(now)
	c.gossip.HandleTimeout(now)
	stalled := !c.stalled.IsZero()
	if !now.Before(c.stalled) {
		c.stalled = time.Time{}
	}
	c.absorb(now)
	if err := c.renew(now); err != nil {
		c.fail(err)
	}
	if stalled && c.stalled.IsZero() {
		c.m.clear(AlarmFull, "")
	}
	c.settleDoubt(now)
	c.copying.HandleTimeout(now)
	for _, ev := range c.copying.Events() {
		c.m.log.Debug("copies", "event", ev.String())
		if held, ok := ev.(replicate.Held); ok {
			c.m.held(held.Assignment.File)
		}
	}
	c.listen(now)
}

// listen takes what the gossip has heard.
func (c *core) listen(now time.Time) {
	for _, ev := range c.gossip.Events() {
		c.heard(now, ev)
	}
}

// heard takes an event of the gossip.
func (c *core) heard(now time.Time, ev gossip.Event) {
	switch ev := ev.(type) {
	case gossip.Inventory:
		c.inventory(now, ev)
	default:
		c.distrust(ev)
	}
}

// NextTimeout returns when HandleTimeout is due.
func (c *core) NextTimeout() (time.Time, bool) {
	t, ok := c.gossip.NextTimeout()
	if c.peers > 0 && (!ok || c.root.due.Before(t)) {
		t, ok = c.root.due, true
	}
	if r, rok := c.copying.NextTimeout(); rok && (!ok || r.Before(t)) {
		t, ok = r, true
	}
	if c.stalled.After(time.Time{}) && (!ok || c.stalled.Before(t)) {
		t, ok = c.stalled, true
	}
	if !c.soft.due.IsZero() && (!ok || c.soft.due.Before(t)) {
		t, ok = c.soft.due, true
	}
	if !ok || c.soft.look.Before(t) {
		t, ok = c.soft.look, true
	}
	return t, ok && c.err == nil
}

// Outgoing returns the messages to send. What they tell of is on the disk before
// anybody hears it: an operation that a crash took back must never have been seen,
// since its number will be used again.
func (c *core) Outgoing() []gossip.Packet {
	out := c.gossip.Outgoing()
	for i := range out {
		c.m.traffic.gossiped.add(c.m.now(), len(out[i].Message))
	}
	if len(out) > 0 && c.unsynced {
		if err := c.sync(); err != nil {
			if errors.Is(err, index.ErrFull) {
				c.m.log.Error("nothing is told to other machines until there is room on the disk", "error", err)
				return nil // gossip asks again
			}
			c.fail(err)
			return nil
		}
		c.unsynced = false
	}
	return out
}

// Events returns the fetches to be carried out.
func (c *core) Events() []replicate.Fetch { return c.copying.Outgoing() }

// fail ends all changes: the disk can no longer be trusted to keep them.
func (c *core) fail(err error) {
	if c.err == nil {
		c.err = fmt.Errorf("node: this machine has stopped: %w", err)
		c.m.log.Error("the machine has stopped", "error", err)
		c.m.alarm(AlarmStopped, "", c.err.Error())
	}
}

// peerUp and peerDown say that a machine can be talked to, or no more.
func (c *core) peerUp(id store.MachineID) {
	_ = c.call(context.Background(), func() {
		now := c.m.now()
		c.peers++
		c.m.census.touch()
		c.gossip.PeerUp(now, id)
		c.copying.PeerUp(now, id)
		c.absent.returned(id)
		c.wantBalance()
	})
	c.m.wantSecrets()
	c.m.wantRekey()
}

func (c *core) peerDown(id store.MachineID) {
	_ = c.call(context.Background(), func() {
		c.peers = max(0, c.peers-1)
		c.m.census.touch()
		c.gossip.PeerDown(c.m.now(), id)
		c.copying.PeerDown(c.m.now(), id)
		c.absent.left(c.m.now(), id)
	})
	select {
	case c.leaving <- struct{}{}:
	default:
	}
}

// allDown says that no machine can be talked to: the mesh is gone, and does not
// tell of its own end.
func (c *core) allDown() {
	_ = c.call(context.Background(), func() {
		c.peers = 0
		c.m.census.touch()
		for id := range c.members.byID {
			c.gossip.PeerDown(c.m.now(), id)
			c.copying.PeerDown(c.m.now(), id)
		}
		c.absent = absences{}
	})
}

// copies returns how many holders are known to keep e's bytes.
func (c *core) copies(e tree.Entry) int {
	return c.copying.Copies(assignmentOf(e))
}

// replicated reports whether as many holders as are wanted are known to keep e's bytes.
func (c *core) replicated(e tree.Entry) bool { return c.copies(e) >= c.m.copiesOf(e) }

// receive takes a gossip message of a peer.
func (c *core) receive(ctx context.Context, peer store.MachineID, message []byte) error {
	c.m.traffic.heard.add(c.m.now(), len(message))
	return c.wire.receive(ctx, gossip.Packet{Peer: peer, Message: message})
}
