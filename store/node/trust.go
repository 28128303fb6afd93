package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/gossip"
	"github.com/aether-lan/aether/store/tree"
)

// A machine that has lost operations of its own must not use their numbers again: the
// others have them, and would see a log that forks. It learns of the loss by what the
// others say (gossip.ErrRelapsed), or because its index is gone.

// The kinds of alarms that concern the log of operations.
const (
	// AlarmForged: a machine sent something in the name of another that the other has not
	// signed.
	AlarmForged = AlarmFault
	// AlarmForked: a machine has written two logs under one identity.
	AlarmForked = "forked"
	// AlarmRelapsed: this machine lacks changes of its own that others have.
	AlarmRelapsed = "relapsed"
)

// errIndexLost reports a machine that cannot tell whether it has all of its own changes.
var errIndexLost = errors.New("the index of this machine was lost: it must meet another machine of the pool before it changes anything")

// begunName is a file that says that the machine has written operations: without any in
// the index, the index was lost.
const begunName = "begun"

// doubtKey is there while the machine does not know whether it has all of its own
// operations.
func doubtKey() []byte { return []byte{store.PrefixNode, 'd'} }

// loadDoubt says whether a doubt remained when the machine was closed.
func (c *core) loadDoubt() error {
	_, err := c.m.kv.Get(doubtKey())
	c.doubt = err == nil
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// suspect looks whether the index was lost, before anything is written. Rebuilt is how
// many operations were found in the segments; other machines are among them if there
// are any.
func (c *core) suspect(rebuilt int) error {
	_, err := c.m.fs.Stat(filepath.Join(c.m.cfg.Dir, begunName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	begun, here := err == nil, c.gossip.Vector()[c.m.ID()] > 0
	if rebuilt == 0 && (here || !begun) {
		return nil
	}
	if len(c.members.byID) == 1 && here {
		return nil // nobody else can have anything
	}
	c.doubt = true
	return c.commit(func(tx store.Txn) error { return tx.Set(doubtKey(), nil) })
}

// markBegun notes in the directory that the machine has written operations. They are on
// the disk by then.
func (c *core) markBegun() error {
	disk, name := c.m.fs, filepath.Join(c.m.cfg.Dir, begunName)
	if _, err := disk.Stat(name); err == nil || c.gossip.Vector()[c.m.ID()] == 0 {
		return nil
	}
	if err := c.sync(); err != nil {
		return err
	}
	f, err := disk.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	dir, err := disk.OpenDir(c.m.cfg.Dir) // a crash must not take the name
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// mayWrite returns nil when operations of this machine can be appended.
func (c *core) mayWrite() error {
	if err := c.gossip.Ready(); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	if c.doubt {
		return fmt.Errorf("node: %w", errIndexLost)
	}
	return nil
}

// doubtWait is how long a machine that lost its index waits for members that it has not
// met, once it has met some.
const doubtWait = 30 * time.Second

// settleDoubt ends a doubt once others have said what they have, and all of ours is here.
// Then the machine makes itself known, which it could not before.
func (c *core) settleDoubt(now time.Time) {
	if !c.doubt && !c.unknown || c.gossip.Ready() != nil || !c.metEnough(now) {
		return
	}
	if c.doubt {
		if err := c.commit(func(tx store.Txn) error { return tx.Delete(doubtKey()) }); err != nil {
			c.m.log.Warn("a doubt about the index stays", "error", err)
			return
		}
		c.doubt = false
	}
	c.m.clear(AlarmRelapsed, c.m.ID().String())
	c.unknown = false
	if err := errors.Join(c.introduce(now), c.announceGenerations(now)); err != nil {
		c.unknown = true
		c.m.log.Warn("this machine cannot make itself known", "error", err)
	}
}

// metEnough reports whether nobody who can be asked is likely to have operations of this
// machine that are not here: while there is a doubt it takes all members, or all who can
// be reached, for a while, and what they have must be here. Who is away and has more
// makes the log fork, which is noticed.
func (c *core) metEnough(now time.Time) bool {
	ids := map[store.MachineID]bool{}
	for _, m := range c.members.all() {
		ids[m.ID] = c.members.within(m.ID)
	}
	for id := range c.absent.here {
		ids[id] = true
	}
	delete(ids, c.m.ID())
	ours, met, away, waiting := c.gossip.Vector(), 0, 0, 0
	for id, within := range ids {
		theirs, ok := c.gossip.Known(id)
		switch {
		case ok && c.doubt && !ours.Covers(theirs):
			waiting++
		case ok:
			met++
		case c.absent.here[id]:
			waiting++
		case within:
			away++
		}
	}
	if met == 0 || !c.doubt {
		return met > 0
	}
	if c.metSome.IsZero() {
		c.metSome = now
	}
	return waiting == 0 && (away == 0 || now.Sub(c.metSome) >= doubtWait)
}

// present makes the machine known at the start, or later where it may not write yet.
func (c *core) present(now time.Time) error {
	err := errors.Join(c.introduce(now), c.announceGenerations(now))
	if writable(err) {
		return err
	}
	c.unknown = true
	c.m.alarm(alarmOf(err), c.m.ID().String(), err.Error())
	return nil
}

func alarmOf(err error) string {
	if errors.Is(err, gossip.ErrForked) {
		return AlarmForked
	}
	return AlarmRelapsed
}

// writable reports whether err, of a change, is none of those that say that this
// machine may not write.
func writable(err error) bool {
	return !errors.Is(err, errIndexLost) && !errors.Is(err, gossip.ErrRelapsed) && !errors.Is(err, gossip.ErrForked)
}

// regainWait is how long a change waits for operations of this machine to come back,
// and regainLook how often it looks.
const (
	regainWait = 10 * time.Second
	regainLook = 50 * time.Millisecond
)

// patiently makes a change, and again while operations of this machine are coming back.
func (c *core) patiently(ctx context.Context, change func() error) error {
	err := change()
	if c.quit == nil {
		return err // nothing can come
	}
	for end := time.Now().Add(regainWait); errors.Is(err, gossip.ErrRelapsed) && time.Now().Before(end); err = change() {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(regainLook):
		}
	}
	return err
}

// distrust raises the alarm about what the gossip found.
func (c *core) distrust(ev gossip.Event) {
	switch ev := ev.(type) {
	case gossip.Forged:
		c.m.alarm(AlarmForged, ev.Peer.String(), "it sent what is forged in the name of "+c.nameOf(ev.Author))
	case gossip.Garbled:
		c.m.alarm(AlarmFault, ev.Peer.String(), fmt.Sprintf("it sends gossip that cannot be read: %d messages", ev.Count))
	case gossip.Flooded:
		c.m.alarm(AlarmFlood, ev.Author.String(), fmt.Sprintf("it says its state anew all the time: %d times too often", ev.Count))
	case gossip.Forked:
		text := fmt.Sprintf("it has written two logs under one identity, different at %d or before; no more is taken from it until it joins as a new machine", ev.Seq)
		c.m.alarm(AlarmForked, ev.Author.String(), text)
		c.abandon(ev.Author)
	case gossip.Relapsed:
		c.m.alarm(AlarmRelapsed, c.m.ID().String(), fmt.Sprintf("this machine lacks %d changes of its own, which %s has; it changes nothing before they are back",
			ev.Theirs-ev.Ours, c.nameOf(ev.Peer)))
		c.unknown = true
	case gossip.Diverged:
		c.m.alarm(AlarmDiverged, ev.Peer.String(), "it has the same changes and does not show the same drive")
		c.m.compareWith(ev.Peer)
	case gossip.Agreed:
		c.m.clear(AlarmDiverged, ev.Peer.String())
	}
}

// abandon has what others made after operations of a machine whose log has forked wait
// for those no more.
func (c *core) abandon(id store.MachineID) {
	if id == c.m.ID() {
		return
	}
	now := c.m.now()
	var events []tree.Event
	err := c.commit(func(tx store.Txn) (err error) {
		if events, err = c.m.tree.Distrust(tx, id, c.m.clocks.stamp(now)); err != nil {
			return err
		}
		return c.follow(tx, now, events)
	})
	if err != nil {
		c.m.log.Error("what others made after operations of a forked log waits", "machine", id.String(), "error", err)
		return
	}
	c.m.drive.Announce(nil, events)
}

// nameOf returns what a machine is called, or the short form of its ID. The caller has
// the core.
func (c *core) nameOf(id store.MachineID) string {
	return cmp.Or(c.members.byID[id].Name, c.members.standings[id].Name, id.Short())
}
