package node

import (
	"context"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// balanceDelay is how long the list of members must stay as it is before files are
// given new holders.
const balanceDelay = time.Second

// balanceBatch is how many files change holders in one Txn.
const balanceBatch = 256

// run does what a serving machine does besides answering: it gives files that have
// too few holders new ones when machines have joined.
func (c *core) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.balanceWanted:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(balanceDelay):
		}
		if err := c.m.balance(ctx); err != nil && ctx.Err() == nil {
			c.m.log.Warn("files cannot be given new holders", "error", err)
		}
	}
}

// wantBalance asks run to look at all files.
func (c *core) wantBalance() {
	select {
	case c.balanceWanted <- struct{}{}:
	default:
	}
}

// balance gives each file that has fewer holders than it could have the holders of
// today. Of the holders that can be reached now the one with the lowest ID does it,
// so that it is done once; done twice it does no harm.
func (m *Machine) balance(ctx context.Context) error {
	var members []store.Machine
	err := m.core.call(ctx, func() { members = m.core.members.list() })
	if err != nil {
		return err
	}
	want := min(m.copiesWanted(), len(members))
	keep := func(holders []store.MachineID) (n int) {
		for _, x := range members {
			if slices.Contains(holders, x.ID) {
				n++
			}
		}
		return n
	}
	var batch []tree.Entry
	var inner error
	flush := func() {
		if len(batch) > 0 && inner == nil {
			inner = m.drive.Reassign(ctx, batch)
			batch = batch[:0]
		}
	}
	here := append(m.sources(nil), m.ID())
	err = m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		if !e.Dir && !e.Conflict && keep(e.Version.Holders) < want && m.firstOf(e.Version.Holders, here) {
			batch = append(batch, e)
		}
		if len(batch) == balanceBatch {
			flush()
		}
		return inner == nil && ctx.Err() == nil
	})
	flush()
	if err != nil {
		return err
	}
	return inner
}

// firstOf reports whether this machine has the lowest ID of the holders that are
// among here.
func (m *Machine) firstOf(holders, here []store.MachineID) bool {
	for _, h := range holders {
		if h.Compare(m.ID()) < 0 && slices.Contains(here, h) {
			return false
		}
	}
	return slices.Contains(holders, m.ID())
}
