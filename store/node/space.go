package node

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/place"
	"github.com/aether-lan/aether/store/replicate"
	"github.com/aether-lan/aether/store/tree"
)

// roomDelay is how long what was removed waits to be looked at, so that much is looked
// at together.
const roomDelay = 200 * time.Millisecond

// wantRoom has upkeep look whether there is room to be had.
func (c *core) wantRoom() {
	select {
	case c.roomWanted <- struct{}{}:
	default:
	}
}

// roomLeft returns what of the space is not taken by copies.
func (m *Machine) roomLeft() int64 {
	u := m.bodies.Usage()
	return u.Space - u.Replicas
}

// keepRoom sees to it that this machine can take new copies, and tells others: what
// others keep becomes cache, garbage goes, and then the past yields, the oldest first.
// Those who write elsewhere go by what this machine says of itself, and do not ask it
// to tidy up.
func (m *Machine) keepRoom(ctx context.Context) {
	var foreign, want int64
	_ = m.core.call(ctx, func() { foreign, want = m.core.foreign, m.core.wantedRoom() })
	space, removed := m.space(), m.core.removals.Load()
	enough := func() bool { return m.roomLeft() >= space/8+want }
	var err error
	switch {
	case m.roomLeft() < space/16 && (foreign > 0 || removed != m.core.tidied.Load()), want > 0 && !enough():
		err = m.drive.MakeRoom(ctx, enough)
	case foreign >= space/100 && foreign > 0:
		_, err = m.drive.Collect(ctx)
	default:
		return
	}
	if err != nil && ctx.Err() == nil {
		m.log.Warn("no room is made for copies", "error", err)
	}
	m.core.tidied.Store(removed)
	_ = m.core.call(ctx, func() {
		m.core.foreign = max(0, m.core.foreign-foreign)
		m.core.noteInventory(m.now())
	})
}

// wantedRoom returns for how many bytes some machine found no room of late.
func (c *core) wantedRoom() int64 {
	want := c.choosing.wants
	for _, s := range c.soft.of {
		want = max(want, s.Wants)
	}
	return want
}

// noRoom is called after copies could not be stored here: what can be given up is, and
// where that is not enough other machines are to keep them.
func (m *Machine) noRoom(ctx context.Context, versions []replicate.Assignment) {
	var need int64
	for _, a := range versions {
		need += a.Content.Size
	}
	m.core.wantRoom()
	if err := m.drive.MakeRoom(ctx, func() bool { return m.roomLeft() >= need }); err != nil {
		m.log.Warn("no room is made for copies", "error", err)
	}
	_ = m.core.call(ctx, func() { m.core.noteInventory(m.now()) })
	if m.roomLeft() >= need {
		return // they are fetched again
	}
	if n, _, err := m.handBack(ctx, versions, false); err != nil {
		m.log.Warn("copies for which there is no room stay assigned to this machine", "error", err)
	} else if n > 0 {
		m.log.Info("other machines keep what there is no room for here", "files", n)
	}
}

// cedeAgain is how long a machine that is full and could give nothing away, or has done
// so, waits before it looks again.
const cedeAgain = 10 * time.Second

// ceding says whether copies are being given away, since when, and whether any were.
type ceding struct {
	mu      sync.Mutex
	running bool
	ended   time.Time
	gave    bool
}

// cedeSoon has others that have room take over copies from this machine, whose space is
// full, and reports whether a writer may hope for room.
func (m *Machine) cedeSoon() bool {
	c := &m.ceding
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running || !c.ended.IsZero() && time.Since(c.ended) < cedeAgain {
		return c.running || c.gave
	}
	c.running = true
	m.jobs.Go(func() {
		files, bytes, err := m.cede(m.background, max(m.space()/16, 16<<20))
		if err != nil && m.background.Err() == nil {
			m.log.Warn("copies cannot be given to machines that have room", "error", err)
		} else if files > 0 {
			m.log.Info("this machine is full: others that have room keep copies in its place", "files", files, "bytes", bytes)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.running, c.ended, c.gave = false, time.Now(), files > 0
	})
	return true
}

// cede gives away copies of at least so many bytes, as far as others have room for them.
// They stay here until others have them.
func (m *Machine) cede(ctx context.Context, wanted int64) (files int, bytes int64, err error) {
	var batch []replicate.Assignment
	var size int64
	flush := func() {
		var n int
		var gave int64
		n, gave, err = m.handBack(ctx, batch, true)
		files, bytes = files+n, bytes+gave
		batch, size = batch[:0], 0
	}
	werr := m.tree.Walk(m.kv, "/", func(e tree.Entry) bool {
		if e.Dir || e.Version.Content.Size == 0 || !slices.Contains(e.Version.Holders, m.ID()) {
			return ctx.Err() == nil
		}
		batch = append(batch, assignmentOf(e))
		if size += e.Version.Content.Size; size >= wanted-bytes || len(batch) == balanceBatch {
			flush()
		}
		return err == nil && bytes < wanted && ctx.Err() == nil
	})
	if len(batch) > 0 && err == nil && bytes < wanted {
		flush()
	}
	return files, bytes, errors.Join(err, werr)
}

// handBack has the next machines of the order that have room keep versions instead of
// this one: those that are here, or those that are not. Where there are none they stay. It
// returns how many files change holders, and their bytes.
func (m *Machine) handBack(ctx context.Context, versions []replicate.Assignment, here bool) (files int, bytes int64, err error) {
	var batch []drive.Kept
	keys := map[drive.Kept][16]byte{}
	for _, a := range versions {
		k := drive.Kept{File: a.File, Placed: a.Dot}
		batch = append(batch, k)
		keys[k] = place.Key(m.drive.FirstChunks(a.Content, place.KeyRefs))
	}
	c := m.core
	more := map[store.MachineID]int64{}
	files, err = m.drive.Assign(ctx, batch, func(tx store.Reader, k drive.Kept, v tree.Version) []store.MachineID {
		now, size := m.now(), v.Content.Size
		if c.copying.Holds(c.m.kv, k.Placed) != here {
			return nil // it is here after all, or has gone meanwhile
		}
		got := c.mapOf(c.wantedOf(tx, k.File)).Revise(keys[k], len(v.Holders), place.Terms{
			Now:  v.Holders,
			Gone: func(id store.MachineID) bool { return id == m.ID() || c.gone(id) },
			Room: func(id store.MachineID) bool { return c.roomOf(now, id)-more[id] >= size },
		})
		if len(got) < len(v.Holders) {
			return nil
		}
		for _, id := range got {
			more[id] += size
		}
		bytes += size
		return got
	})
	return files, bytes, err
}

// PoolSpace returns how many bytes the drive can hold in the number of copies that is
// wanted for its root, and how many more can be written: by what the machines have set
// aside and say of its use, those that are away included. The past counts as free, for
// it yields.
func (m *Machine) PoolSpace() (total, free int64) {
	_ = m.core.call(m.background, func() { total, free = m.core.poolSpace(m.now()) })
	now, err := m.tree.Totals(m.kv)
	_, past, _, perr := m.drive.PastTotals()
	if err == nil && perr == nil {
		free = max(free, min(total-now.Bytes, free+past))
	}
	return total, free
}

func (c *core) poolSpace(now time.Time) (total, free int64) {
	var spaces, rooms []int64
	for id := range c.members.byID {
		if c.gone(id) {
			continue
		}
		u, _ := c.usageOf(now, id)
		spaces = append(spaces, u.Space-reserve(u.Space))
		rooms = append(rooms, max(0, c.roomOf(now, id)))
	}
	n := c.wanted(c.m.kv, func() (store.FileID, error) { return tree.Root, nil })
	n = min(n, len(spaces))
	free = place.Capacity(rooms, n)
	if count(rooms) < n {
		free = 0
	}
	return place.Capacity(spaces, n), free
}

// count counts the machines that have room.
func count(rooms []int64) (n int) {
	for _, r := range rooms {
		if r > 0 {
			n++
		}
	}
	return n
}
