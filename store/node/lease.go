package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/gossip"
	"github.com/aether-lan/aether/store/tree"
)

// What was removed is remembered until nobody is left who has not heard of it: see
// tree/lapse.go. Here it is decided when to make the operations that it takes. All
// machines answer; the one with the lowest ID of those that are heard of leads.

// kindAnswer is the operation of a machine that has nothing to say but that it is there,
// and what it has seen. Its body is empty.
const kindAnswer = tree.KindForeign + 16

const (
	// minLease is the shortest lease.
	minLease = 24 * time.Hour
	// A machine that has nothing else to say answers leaseSigns times in a lease, so that
	// it does not seem to be away.
	leaseSigns = 8
	// horizonEvery is how often old removals are looked for.
	horizonEvery = 24 * time.Hour
	// maxPurges is how many purges are made at a time.
	maxPurges = 32
)

// lapsing is what the core remembers of it.
type lapsing struct {
	done     uint64 // the number of our horizon for which all has been purged
	renewing bool   // operations applied here are void: the tree is to be made anew
	again    bool   // void operations of our own are to be done again
}

// lease is how long a machine may be silent.
func (m *Machine) lease() time.Duration {
	if m.settings.Lease == 0 {
		return DefaultLease
	}
	return max(minLease, time.Duration(m.settings.Lease)*time.Second)
}

// tend makes the operations by which old removals are forgotten, as far as they are
// due. Looking for what to forget takes a while and is done outside the core.
func (m *Machine) tend(ctx context.Context, now time.Time) {
	var look bool
	var err error
	cerr := m.core.call(ctx, func() { look, err = m.core.tend(now) })
	for n := 0; look && n < maxPurges && errors.Join(err, cerr) == nil && ctx.Err() == nil; n++ {
		var ids []store.FileID
		if ids, err = m.tree.Purgeable(m.kv, tree.MaxPurge); err == nil {
			cerr = m.core.call(ctx, func() { look, err = m.core.purge(now, ids) })
		}
	}
	if err = errors.Join(err, cerr); err != nil && ctx.Err() == nil && writable(err) {
		m.log.Warn("what was removed long ago is not forgotten", "error", err)
	}
}

// lapse makes one of the tree's operations about what is forgotten, as change does for
// those of the drive.
func (c *core) lapse(now time.Time, make func(tx store.Txn, stamp time.Time) ([]tree.Op, []tree.Event, error)) error {
	return c.change(now, nil, func(_ *tree.Tree, tx store.Txn, stamp time.Time) ([]tree.Op, []tree.Event, error) {
		return make(tx, stamp)
	})
}

// tend answers, retires and closes, and moves the horizon. It reports whether there may
// be something to purge.
func (c *core) tend(now time.Time) (look bool, err error) {
	if c.err != nil || c.mayWrite() != nil {
		return false, c.err
	}
	if err := c.doAgain(now); err != nil {
		return false, err
	}
	if err := c.answer(now); err != nil {
		return false, err
	}
	lead, err := c.leads(now)
	if err != nil || !lead {
		return false, err
	}
	if err := c.retireSilent(now); err != nil {
		return false, err
	}
	return c.moveHorizon(now)
}

// answer says that this machine is there, when others wait for it or it has long said
// nothing.
func (c *core) answer(now time.Time) error {
	must, err := c.m.tree.MustAnswer(c.m.kv)
	if err != nil {
		return err
	}
	if !must {
		last, err := c.m.tree.LastOwn(c.m.kv)
		if err != nil || now.Sub(last.Wall()) < c.m.lease()/leaseSigns || len(c.gossip.Vector()) < 2 {
			return err
		}
	}
	return c.lapse(now, func(tx store.Txn, stamp time.Time) ([]tree.Op, []tree.Event, error) {
		op, err := c.m.tree.Record(tx, kindAnswer, nil, stamp)
		return []tree.Op{op}, nil, err
	})
}

// heardLately reports whether a machine has made an operation within the lease, and
// belongs to the pool.
func (c *core) heardLately(now time.Time, id store.MachineID) bool {
	if !c.members.within(id) {
		return false
	}
	last := c.gossip.Vector()[id]
	if last == 0 {
		return false
	}
	recent := false
	_ = gossip.Entries(c.m.kv, id, last-1, func(e gossip.Entry) bool {
		op, err := tree.ParseOp(e.Payload)
		recent = err != nil || now.Sub(op.Time.Wall()) < c.m.lease()
		return false
	})
	return recent
}

// leads reports whether this machine is the one that shall retire others and purge:
// it has the lowest ID of those heard of, and they are enough.
func (c *core) leads(now time.Time) (bool, error) {
	v := c.gossip.Vector()
	for _, id := range v.Machines() {
		if id.Compare(c.m.ID()) >= 0 || !c.heardLately(now, id) {
			continue
		}
		s, err := c.m.tree.Standing(c.m.kv, id)
		if err != nil || !s.Retired && !s.Closed {
			return false, err
		}
	}
	return c.m.tree.Quorum(c.m.kv, func(id store.MachineID) bool { return c.heardLately(now, id) })
}

// retireSilent retires the machines that were silent for the lease, and closes those
// retired when all others have answered.
func (c *core) retireSilent(now time.Time) error {
	v := c.gossip.Vector()
	for _, id := range v.Machines() {
		if id == c.m.ID() {
			continue
		}
		s, err := c.m.tree.Standing(c.m.kv, id)
		if err != nil {
			return err
		}
		switch {
		case s.Retired:
			err = c.lapse(now, func(tx store.Txn, stamp time.Time) ([]tree.Op, []tree.Event, error) {
				return c.m.tree.Close(tx, id, stamp)
			})
			if errors.Is(err, tree.ErrWaiting) {
				err = nil
			}
		case !s.Closed && !c.heardLately(now, id):
			c.m.log.Info("a machine was silent for so long that it is retired", "machine", id.String())
			err = c.lapse(now, func(tx store.Txn, stamp time.Time) ([]tree.Op, []tree.Event, error) {
				return c.m.tree.Retire(tx, id, stamp)
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moveHorizon makes a new horizon when the last one is old and has been dealt with. It
// reports whether all have answered the last one, and it has not been dealt with.
func (c *core) moveHorizon(now time.Time) (look bool, err error) {
	last, before, err := c.m.tree.LastHorizon(c.m.kv)
	if err != nil {
		return false, err
	}
	if before != 0 && c.lapsing.done != last.Seq {
		waiting, err := c.m.tree.Unanswered(c.m.kv, last)
		return len(waiting) == 0, err
	}
	next := now.Add(-c.m.retention())
	if before != 0 && next.Sub(before.Wall()) < horizonEvery {
		return false, nil
	}
	if before == 0 { // a young drive has nothing that is old
		first, err := c.firstChange()
		if err != nil || first == 0 || next.Before(first.Wall()) {
			return false, err
		}
	}
	return false, c.lapse(now, func(tx store.Txn, stamp time.Time) ([]tree.Op, []tree.Event, error) {
		return c.m.tree.Horizon(tx, next, stamp)
	})
}

// firstChange returns the time of this machine's first operation.
func (c *core) firstChange() (t store.Time, err error) {
	err = gossip.Entries(c.m.kv, c.m.ID(), 0, func(e gossip.Entry) bool {
		if op, err := tree.ParseOp(e.Payload); err == nil {
			t = op.Time
		}
		return false
	})
	return t, err
}

// purge forgets nodes that Purgeable gave. It reports whether there may be more.
func (c *core) purge(now time.Time, ids []store.FileID) (more bool, err error) {
	if len(ids) > 0 {
		err = c.lapse(now, func(tx store.Txn, stamp time.Time) ([]tree.Op, []tree.Event, error) {
			return c.m.tree.Purge(tx, ids, stamp)
		})
	}
	if errors.Is(err, tree.ErrWaiting) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if len(ids) == tree.MaxPurge {
		return true, nil
	}
	last, _, err := c.m.tree.LastHorizon(c.m.kv)
	c.lapsing.done = last.Seq
	return false, err
}

// holdersAgain returns who shall keep a file that is put into the drive again: this
// machine, which has it, and those that should before.
func (c *core) holdersAgain(old []store.MachineID) []store.MachineID {
	holders := []store.MachineID{c.m.ID()}
	for _, id := range old {
		if !slices.Contains(holders, id) && c.members.keeps(id) {
			holders = append(holders, id)
		}
	}
	return holders
}
