package node

import (
	"math"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

// has reports whether all chunks of a content are here, and leaves them what they are.
func (m *Machine) has(c store.Content) bool {
	missing := false
	err := m.keys.Walk(c, m.bodies.Get, func(p chunk.Part) error {
		missing = missing || p.Absent || !m.bodies.Has(p.Ref)
		return nil
	})
	return err == nil && !missing
}

// surelyHere reports whether the bytes of a version that was made here are here for
// certain, by what costs nothing.
func (c *core) surelyHere(content store.Content) bool {
	switch {
	case content.Size == 0:
		return true
	case content.Depth == 0:
		return c.m.drive.Hold(content.Root)
	}
	return c.m.drive.Writing(content.Root)
}

// maxLooks bounds the versions that are looked through at a time.
const maxLooks = 2

// lookThrough finds out whether all bytes of a version that was made here are here, as
// after a copy of a file, and says that it is held then. Otherwise it is fetched like
// any other.
func (c *core) lookThrough(a replicate.Assignment) {
	c.m.jobs.Go(func() {
		select {
		case c.looks <- struct{}{}:
		case <-c.m.background.Done():
			return
		}
		defer func() { <-c.looks }()
		if c.m.whole(a.Content, math.MaxInt) && c.m.bodies.Sync() == nil {
			_ = c.landed(replicate.FetchResult{Fetched: []store.Dot{a.Dot}})
		}
	})
}

// versionAdded draws the conclusions from a version that is shown from now on, or that
// has other holders. was is the length of what it replaces.
func (c *core) versionAdded(tx store.Txn, now time.Time, ev tree.Event, was int64) error {
	c.lookAtKeys(ev)
	size := ev.Content.Size
	if ev.Was.Seq == 0 {
		size = max(0, size-was)
	}
	for _, id := range ev.Holders {
		if !slices.Contains(ev.Before, id) {
			c.promise(id, size)
		}
	}
	for _, id := range ev.Before {
		if !slices.Contains(ev.Holders, id) {
			c.promise(id, -size)
		}
	}
	self := c.m.ID()
	a := replicate.Assignment{Dot: ev.Dot, File: ev.File, Content: ev.Content, Holders: ev.Holders}
	if !slices.Contains(ev.Holders, self) {
		if ev.Dot.Machine == self || slices.Contains(ev.Before, self) {
			c.foreign += ev.Content.Size
		}
		return c.pinAdded(tx, now, ev)
	}
	hold := false
	switch {
	case ev.Was.Seq != 0:
		hold = slices.Contains(ev.Before, self) && c.copying.Holds(tx, ev.Was)
	case ev.Dot.Machine == self:
		if hold = c.surelyHere(ev.Content); !hold {
			c.lookThrough(a)
		}
	}
	if hold {
		c.noteInventory(now)
		return c.copying.Hold(tx, a)
	}
	return c.copying.Assign(tx, now, a)
}

// replacedSizes returns by file how long the versions were that are shown no more.
func replacedSizes(events []tree.Event) map[store.FileID]int64 {
	var sizes map[store.FileID]int64
	for _, ev := range events {
		if ev.Kind == tree.VersionRemoved {
			if sizes == nil {
				sizes = map[store.FileID]int64{}
			}
			sizes[ev.File] += ev.Content.Size
		}
	}
	return sizes
}
