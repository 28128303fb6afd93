package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/place"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

// choosing is what the core knows about where copies can go.
type choosing struct {
	maps     map[int]*place.Map           // by copies; empty: to be made
	promised map[store.MachineID]*promise // room that versions will take that were assigned since
	failed   int64                        // the length of the file for which there was no room last
	wants    int64                        // bytes that could not be written here of late
	marked   map[store.FileID]bool        // directories that ever had a number of copies
}

// promise is the bytes that were assigned to a machine and that its usage, as told,
// may not show.
type promise struct {
	untold int64 // since it last told
	fresh  []fresh
}

// fresh is what was assigned before a machine told its usage, but so shortly before
// that it may not have heard of it.
type fresh struct {
	told  time.Time
	bytes int64
}

// promiseTime is how long what was assigned to a machine takes to be among what it
// tells. Who chooses wrongly in that time has copies handed back.
const promiseTime = 500 * time.Millisecond

// bytes adds up what the machine's usage may not show.
func (p *promise) bytes(now time.Time) int64 {
	sum := p.untold
	for _, f := range p.fresh {
		if now.Sub(f.told) < promiseTime {
			sum += f.bytes
		}
	}
	return sum
}

// promise notes that bytes will be kept by a machine, or with a negative size that they
// need not be any more.
func (c *core) promise(id store.MachineID, bytes int64) {
	if id == c.m.ID() {
		return // its usage and its queue are known here
	}
	p := c.choosing.promised[id]
	if p == nil {
		p = &promise{}
		c.choosing.promised[id] = p
	}
	p.untold += bytes
}

// told notes that a machine has told its usage.
func (c *core) told(now time.Time, id store.MachineID) {
	p := c.choosing.promised[id]
	if p == nil {
		return
	}
	p.fresh = slices.DeleteFunc(p.fresh, func(f fresh) bool { return now.Sub(f.told) >= promiseTime })
	p.fresh, p.untold = append(p.fresh, fresh{now, p.untold}), 0
}

// reserve is what a machine does not fill with copies: what is written on it needs room
// until it is elsewhere.
func reserve(space int64) int64 { return space / 64 }

// usageOf returns what a machine's space is used for, with what is on its way there
// among the replicas; ok is unset where it has never told.
func (c *core) usageOf(now time.Time, id store.MachineID) (u softUsage, ok bool) {
	if id == c.m.ID() {
		u = c.m.usage()
		_, queued := c.copying.Pending()
		u.Replicas += queued
		return u, true
	}
	if s := c.soft.of[id]; s.Usage != nil {
		u, ok = *s.Usage, true
		u.Replicas += s.Queue.Bytes
	} else {
		u.Space = int64(min(c.members.byID[id].Space, maxSpace))
	}
	if p := c.choosing.promised[id]; p != nil {
		u.Replicas += p.bytes(now)
	}
	u.Replicas = max(0, u.Replicas)
	return u, ok
}

// roomOf returns how many bytes of copies a machine can take besides what it has and
// what is on its way there. Cache counts as room, for it yields.
func (c *core) roomOf(now time.Time, id store.MachineID) int64 {
	u, _ := c.usageOf(now, id)
	return u.Space - u.Replicas - reserve(u.Space)
}

// mapOf returns the order of machines for files of n copies.
func (c *core) mapOf(n int) *place.Map {
	if c.members.places == nil { // the members have changed
		clear(c.choosing.maps)
		c.members.places = place.New(c.members.list(), n)
		c.choosing.maps[n] = c.members.places
	}
	m := c.choosing.maps[n]
	if m == nil {
		m = place.New(c.members.list(), n)
		c.choosing.maps[n] = m
	}
	return m
}

// keepers counts the members that can be holders at all.
func (c *core) keepers() (n int) {
	for id := range c.members.byID {
		if !c.gone(id) {
			n++
		}
	}
	return n
}

// gone reports whether a machine does not keep copies any more: it is no member, or
// down for too long.
func (c *core) gone(id store.MachineID) bool {
	m, ok := c.members.byID[id]
	return !ok || m.Space == 0 || !c.members.keeps(id) || c.lost(id)
}

// holders returns the machines that shall keep a new version: those that keep the one
// before and have room for what it is longer, and then the first of the order that have
// room. It fails with store.ErrFull where there is no room for as many copies as are
// wanted, or as there are machines.
func (c *core) holders(p drive.Placing) ([]store.MachineID, error) {
	now := c.m.now()
	want := c.wanted(p.Tx, p.Dir)
	grows := max(0, p.Content.Size-p.Was)
	if len(p.Now) == want && !slices.ContainsFunc(p.Now, func(id store.MachineID) bool { return c.gone(id) || !c.fits(now, id, grows) }) {
		return p.Now, nil
	}
	all := c.keepers()
	key, order := place.Key(c.m.drive.FirstChunks(p.Content, place.KeyRefs)), c.mapOf(want)
	chosen := order.Revise(key, want, place.Terms{
		Now: p.Now,
		Gone: func(id store.MachineID) bool {
			return c.gone(id) || slices.Contains(p.Now, id) && !c.fits(now, id, grows)
		},
		Room:  func(id store.MachineID) bool { return c.fits(now, id, p.Content.Size) },
		Fewer: true,
	})
	if len(chosen) < min(want, all) {
		c.choosing.failed = p.Content.Size
		return nil, fmt.Errorf("node: %w: there is room for %d of %d copies of %d bytes", errPoolFull, len(chosen), want, p.Content.Size)
	}
	if len(chosen) < want { // better one that may come back than none
		away := func(id store.MachineID) bool { return c.members.keeps(id) && c.lost(id) }
		chosen = order.Revise(key, want, place.Terms{Now: chosen, Room: away})
	}
	return chosen, nil
}

// errPoolFull reports that too few machines have room.
var errPoolFull = fmt.Errorf("the pool: %w", store.ErrFull)

// How long a change waits for machines to say that they have room, and how often it is
// tried.
const (
	roomPatience = 5 * time.Second
	roomInterval = 50 * time.Millisecond
)

// waitForRoom runs f again for a while when the pool seems to be full, as long as it may
// only seem so: machines have not told yet what became of what they were last given, or
// of what was removed.
func (c *core) waitForRoom(ctx context.Context, f func() error) error {
	err := f()
	if !errors.Is(err, errPoolFull) {
		return err
	}
	defer c.want(0)
	hope := false
	for end := time.Now().Add(roomPatience); errors.Is(err, errPoolFull) && time.Now().Before(end); err = f() {
		if hope = hope || c.settling(); !hope { // what was asked of others takes its time
			break
		}

		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(roomInterval):
		}
	}
	return err
}

// want tells others that so many bytes find no room.
func (c *core) want(bytes int64) {
	_ = c.call(c.m.background, func() {
		c.choosing.wants = min(bytes, maxSpace)
		c.wantRoom()
		c.noteInventory(c.m.now())
	})
}

// othersTake is asked when there is no room here for what is written: it waits a
// moment and reports whether what others are to keep, and do not yet, is in the way. Where
// that is nothing, others that have room are given copies to keep that this machine has.
func (m *Machine) othersTake(ctx context.Context) (yes bool) {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(roomInterval):
	}
	if len(m.sources(nil)) == 0 {
		return false
	}
	_ = m.core.call(ctx, func() { yes = m.core.foreign > 0 })
	if yes || m.single {
		return yes
	}
	return m.cedeSoon()
}

// settling reports whether a machine that is connected may soon say that it has more
// room than is known.
func (c *core) settling() (yes bool) {
	var size int64
	here := c.m.sources(nil)
	rows, _, _, err := c.m.drive.PastTotals()
	past := err == nil && rows > 0
	_ = c.call(c.m.background, func() {
		now := c.m.now()
		for _, id := range here {
			if p := c.choosing.promised[id]; p != nil && p.bytes(now) > 0 {
				yes = true
			}
		}
		yes = yes || past
		size = c.choosing.failed
	})
	if past {
		c.want(size)
	}
	return yes
}

// fits reports whether a machine has room for so many more bytes. On this machine they
// have been written already, if they come from here.
func (c *core) fits(now time.Time, id store.MachineID, bytes int64) bool {
	if bytes == 0 {
		return true
	}
	if id == c.m.ID() {
		u, _ := c.usageOf(now, id)
		return u.Replicas <= u.Space
	}
	return c.roomOf(now, id) >= bytes
}

// assignment is a version as package replicate knows it.
func assignment(file store.FileID, v tree.Version) replicate.Assignment {
	return replicate.Assignment{Dot: v.Placed, File: file, Content: v.Content, Holders: v.Holders}
}

// mustKeep reports whether this machine must keep the bytes of a version: it is a holder,
// not all holders are known to have them yet, or they are pinned.
func (m *Machine) mustKeep(v tree.Version) bool {
	if len(v.Holders) == 0 || slices.Contains(v.Holders, m.ID()) {
		return true
	}
	keep := true
	_ = m.core.call(m.background, func() {
		keep = m.core.copying.Copies(assignment(store.FileID{}, v)) < len(v.Holders) || m.core.keptForPin(v.Placed)
	})
	return keep
}
