package node

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/place"
	"github.com/aether-lan/aether/store/tree"
)

// balanceDelay is how long the list of members must stay as it is before files are
// given new holders.
const balanceDelay = time.Second

// balanceBatch is how many files change holders in one Txn.
const balanceBatch = 256

// balancing says how far a look at all files has come, for the status.
type balancing struct {
	running         atomic.Bool
	looked, changed atomic.Int64
}

// Balance says how far this machine has come with giving files other holders.
type Balance struct {
	// Running says that it is at it.
	Running bool `json:"running"`
	// Looked counts the files that were looked at, Files all that there are, Changed
	// those that were given other holders, since it last began.
	Looked  int64 `json:"looked"`
	Files   int64 `json:"files"`
	Changed int64 `json:"changed"`
}

func (m *Machine) balanceState(files int64) Balance {
	b := &m.balancing
	return Balance{Running: b.running.Load(), Looked: b.looked.Load(), Files: files, Changed: b.changed.Load()}
}

// run does what a serving machine does besides answering: it gives files the holders
// that they shall have when machines have come or gone, or other numbers of copies are
// wanted, and keeps room for new copies.
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
		if err := c.m.reassign(ctx, nil); err != nil && ctx.Err() == nil {
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

// reassign looks at all files and gives those other holders that have too few or too
// many, or one that is lost: no member any more, or for which lost, which may be nil,
// says so. Of the holders that can be
// reached now the one with the lowest ID does it, so that it is done once; done twice
// it does no harm.
func (m *Machine) reassign(ctx context.Context, lost func(store.MachineID) bool) error {
	m.balanceOne.Lock()
	defer m.balanceOne.Unlock()
	b := &m.balancing
	b.looked.Store(0)
	b.changed.Store(0)
	b.running.Store(true)
	defer b.running.Store(false)
	pass := &balance{m: m, ctx: ctx, here: append(m.sources(nil), m.ID()), wanted: map[store.FileID]int{}}
	if err := m.core.call(ctx, func() { pass.begin(lost) }); err != nil {
		return err
	}
	err := m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		if e.Dir {
			return true
		}
		b.looked.Add(1)
		if pass.needs(e) {
			pass.batch = append(pass.batch, drive.Kept{File: e.ID, Placed: e.Version.Placed})
		}
		if len(pass.batch) == balanceBatch {
			pass.flush()
		}
		return pass.err == nil && ctx.Err() == nil
	})
	pass.flush()
	if err == nil {
		err = pass.err
	}
	return err
}

// balance is one look at all files.
type balance struct {
	m      *Machine
	ctx    context.Context
	here   []store.MachineID // that can be reached
	wanted map[store.FileID]int
	lost   map[store.MachineID]bool // for this pass, members or not
	heavy  map[store.MachineID]bool // from which copies are better moved
	all    int                      // machines that can be holders
	marked bool                     // different numbers of copies are wanted
	batch  []drive.Kept
	err    error
}

// begin takes down who is there. It runs alone with the core.
func (b *balance) begin(lost func(store.MachineID) bool) {
	c := b.m.core
	b.all, b.marked = c.keepers(), len(c.choosing.marked) > 0
	b.lost, b.heavy = map[store.MachineID]bool{}, map[store.MachineID]bool{}
	now := c.m.now()
	for id := range c.members.byID {
		b.lost[id] = c.gone(id) || lost != nil && lost(id)
		for to := range c.members.byID {
			if !b.lost[id] && !c.gone(to) && c.lighter(now, id, to) {
				b.heavy[id] = true
			}
		}
	}
}

// gone reports whether a machine counts as lost in this pass.
func (b *balance) gone(id store.MachineID) bool {
	gone, member := b.lost[id]
	return gone || !member
}

// needs reports whether e may need other holders, and this machine has to see to it.
func (b *balance) needs(e tree.Entry) bool {
	holders := e.Version.Holders
	want := b.want(e)
	change := slices.ContainsFunc(holders, b.gone) || len(holders) != min(want, b.all) ||
		e.Version.Content.Size > 0 && slices.ContainsFunc(holders, func(id store.MachineID) bool { return b.heavy[id] })
	return change && b.turn(e)
}

// want returns how many copies e shall have.
func (b *balance) want(e tree.Entry) int {
	if !b.marked {
		return b.m.copiesWanted()
	}
	home, err := b.m.tree.Home(b.m.kv, e.ID)
	if err != nil {
		return b.m.copiesWanted()
	}
	n, ok := b.wanted[home]
	if !ok {
		if len(b.wanted) >= 1<<16 {
			clear(b.wanted)
		}
		b.err = b.m.core.call(b.ctx, func() {
			n = b.m.core.wanted(b.m.kv, func() (store.FileID, error) { return home, nil })
		})
		b.wanted[home] = n
	}
	return n
}

// turn reports whether this machine is the one to see to a file: of its holders that
// can be reached and stay it has the lowest ID. Where there is none whoever has the
// bytes does it.
func (b *balance) turn(e tree.Entry) bool {
	first := store.MachineID{}
	for _, h := range e.Version.Holders {
		if !b.gone(h) && slices.Contains(b.here, h) && (first.IsZero() || h.Compare(first) < 0) {
			first = h
		}
	}
	if !first.IsZero() {
		return first == b.m.ID()
	}
	if slices.ContainsFunc(e.Version.Holders, func(h store.MachineID) bool { return !b.gone(h) }) {
		return false // one that stays is away, and will do it
	}
	return b.m.has(e.Version.Content)
}

// flush gives the batch other holders.
func (b *balance) flush() {
	if len(b.batch) == 0 || b.err != nil {
		return
	}
	keys := make(map[drive.Kept][16]byte, len(b.batch))
	for _, k := range b.batch {
		if v, err := b.m.tree.Held(b.m.kv, k.File, k.Placed); err == nil {
			keys[k] = place.Key(b.m.drive.FirstChunks(v.Content, place.KeyRefs))
		}
	}
	more := map[store.MachineID]int64{} // by this batch, which is not promised yet
	n, err := b.m.drive.Assign(b.ctx, b.batch, func(tx store.Reader, k drive.Kept, v tree.Version) []store.MachineID {
		return b.m.core.revised(tx, keys[k], k, v, b.gone, more)
	})
	b.m.balancing.changed.Add(int64(n))
	b.batch, b.err = b.batch[:0], err
}

// revised returns the machines that shall keep a version from now on, nil where nothing
// is to change. more has what this change gives to machines besides.
func (c *core) revised(tx store.Reader, key [16]byte, k drive.Kept, v tree.Version, gone func(store.MachineID) bool, more map[store.MachineID]int64) []store.MachineID {
	now := c.m.now()
	size := v.Content.Size
	want := c.wantedOf(tx, k.File)
	room := func(id store.MachineID) bool { return size == 0 || c.roomOf(now, id)-more[id] >= size }
	got := c.mapOf(want).Revise(key, want, place.Terms{
		Now: v.Holders, Gone: gone, Room: room, Fewer: c.said(tx, k.File),
		Better: func(from, to store.MachineID) bool { return size > 0 && c.lighter(now, from, to) },
	})
	if len(got) == 0 || len(got) < len(v.Holders) && len(got) < want && !c.enough(got, v) {
		return nil // nowhere to go: whoever is gone may come back
	}
	for _, id := range got {
		if !slices.Contains(v.Holders, id) {
			more[id] += size
		}
	}
	for _, id := range v.Holders {
		if !slices.Contains(got, id) {
			more[id] -= size
		}
	}
	return got
}

// enough reports whether fewer holders than before are as many as there can be.
func (c *core) enough(got []store.MachineID, v tree.Version) bool {
	return !slices.ContainsFunc(v.Holders, func(id store.MachineID) bool {
		_, came := c.members.byID[id]
		return came && c.members.keeps(id) && !slices.Contains(got, id)
	})
}

// said reports whether it was said of a directory how many copies there shall be. The
// settings of machines may differ, and nobody takes away copies for those.
func (c *core) said(tx store.Reader, file store.FileID) bool {
	_, from := c.wantedFrom(tx, func() (store.FileID, error) { return c.m.tree.Home(tx, file) })
	return from != nil
}

// lighter reports whether a machine is so much fuller than another that a copy is
// better moved, if it is the other's by the order: by a tenth of its space while it has
// much, by less the fuller it is.
func (c *core) lighter(now time.Time, from, to store.MachineID) bool {
	full := func(id store.MachineID) (float64, bool) {
		u, known := c.usageOf(now, id)
		return float64(u.Replicas) / float64(max(u.Space, 1)), known
	}
	a, aok := full(from)
	b, bok := full(to)
	return aok && bok && a-b > .02+.1*max(0, 1-a)
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
