package drive

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// garbage says which chunks a collection must not take. Mark and sweep, with a Bloom
// filter for the marks: it has two bytes a chunk, and its mistakes only keep a chunk
// until the next collection, which asks other bits.
type garbage struct {
	one   sync.Mutex // held by the collection under way
	kept  bool       // nothing is to be collected; under one
	sweep sync.RWMutex
	marks *marks // what leads somewhere; nil between collections
	stays *marks // and what of it this machine must keep

	runs    atomic.Int64 // collections that came to their end
	changes atomic.Int64 // changes after which there may be garbage
	empty   int64        // changes when a collection for want of room found nothing; under one
}

// spare runs have, which asks whether the chunk ref is here, so that no collection
// can take the chunk after it was found.
func (g *garbage) spare(ref store.Ref, have func() bool) bool {
	g.sweep.RLock()
	defer g.sweep.RUnlock()
	if g.marks != nil {
		g.marks.add(ref)
		g.stays.add(ref)
	}
	return have()
}

// Has reports whether a chunk is here. A collection under way leaves it here.
func (d *Drive) Has(ref store.Ref) bool {
	return d.garbage.spare(ref, func() bool { return d.cfg.Bodies.Has(ref) })
}

// Hold reports whether a chunk is here, and sees to it that it stays: what is cache
// becomes a replica.
func (d *Drive) Hold(ref store.Ref) bool {
	return d.garbage.spare(ref, func() bool { return d.cfg.Bodies.Promote(ref) })
}

// Keep keeps the body of a chunk that came from elsewhere.
func (d *Drive) Keep(ref store.Ref, body []byte, class segment.Class) (err error) {
	d.garbage.spare(ref, func() bool {
		err = d.cfg.Bodies.Put(ref, body, class)
		return err == nil
	})
	return err
}

// marks is a Bloom filter of 16 bits a chunk with 6 hashes: about one chunk in a
// thousand is taken for marked. Refs are uniform hashes already; seed chooses their
// bits anew for each collection.
type marks struct {
	bits []atomic.Uint64
	seed [4]uint64
}

const hashes = 6

func newMarks(chunks int64) (*marks, error) {
	words := max(1024, chunks/4)
	m := &marks{bits: make([]atomic.Uint64, words)}
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, err
	}
	for i := range m.seed {
		m.seed[i] = binary.LittleEndian.Uint64(seed[8*i:])
	}
	return m, nil
}

// each calls f with the word and bit of each hash until f returns false.
func (m *marks) each(ref store.Ref, f func(w *atomic.Uint64, bit uint64) bool) bool {
	a := (binary.LittleEndian.Uint64(ref[:]) ^ m.seed[0]) * (m.seed[1] | 1)
	b := (binary.LittleEndian.Uint64(ref[8:]) ^ m.seed[2]) * (m.seed[3] | 1)
	for range hashes {
		h := a >> 3
		if !f(&m.bits[(h>>6)%uint64(len(m.bits))], 1<<(h&63)) {
			return false
		}
		a += b
	}
	return true
}

func (m *marks) add(ref store.Ref) {
	m.each(ref, func(w *atomic.Uint64, bit uint64) bool { w.Or(bit); return true })
}

func (m *marks) has(ref store.Ref) bool {
	return m.each(ref, func(w *atomic.Uint64, bit uint64) bool { return w.Load()&bit != 0 })
}

// Collected says what a collection did.
type Collected struct {
	// Kept and Removed count chunks, Bytes those of the removed ones.
	Kept, Removed, Bytes int64
	// Cached counts chunks that others keep and that may be evicted from now on.
	Cached int64
}

// sweepSlice is how many chunks a collection removes at a time, while writers wait.
const sweepSlice = 256

// Collect removes the chunks to which nothing leads: no version that the drive shows,
// none of the past that is kept, no open file and nothing that is being written. It
// may run at any time; one that is ended by ctx has done a part of its work. What is
// left and is not this machine's to keep becomes cache.
func (d *Drive) Collect(ctx context.Context) (Collected, error) {
	d.garbage.one.Lock()
	defer d.garbage.one.Unlock()
	return d.collect(ctx)
}

// KeepGarbage has collections do nothing from now on, until [Drive.DropGarbage]: the
// tree is about to forget versions that will come back. It fails while a collection is
// under way.
func (d *Drive) KeepGarbage() bool {
	if !d.garbage.one.TryLock() {
		return false
	}
	defer d.garbage.one.Unlock()
	d.garbage.kept = true
	return true
}

// DropGarbage takes KeepGarbage back.
func (d *Drive) DropGarbage() {
	d.garbage.one.Lock()
	defer d.garbage.one.Unlock()
	d.garbage.kept = false
}

// collect is Collect; the caller holds garbage.one.
func (d *Drive) collect(ctx context.Context) (Collected, error) {
	var c Collected
	if d.garbage.kept {
		return c, nil
	}
	var chunks int64
	if err := d.cfg.Bodies.Sync(); err != nil && !errors.Is(err, store.ErrFull) { // lest what was just put is overlooked
		return c, fmt.Errorf("drive: collect: %w", err)
	}
	err := d.cfg.Bodies.Each(store.Ref{}, func(store.Ref, int64, segment.Class) bool { chunks++; return ctx.Err() == nil })
	if err != nil {
		return c, fmt.Errorf("drive: collect: %w", err)
	}
	m, err := newMarks(chunks + chunks/4 + 1<<16)
	if err != nil {
		return c, fmt.Errorf("drive: collect: %w", err)
	}
	stays, err := newMarks(chunks + chunks/4 + 1<<16)
	if err != nil {
		return c, fmt.Errorf("drive: collect: %w", err)
	}
	// From here on whatever a writer finds or puts is marked.
	d.garbage.sweep.Lock()
	d.garbage.marks, d.garbage.stays = m, stays
	d.garbage.sweep.Unlock()
	defer func() {
		d.garbage.sweep.Lock()
		d.garbage.marks, d.garbage.stays = nil, nil
		d.garbage.sweep.Unlock()
	}()
	if err := d.mark(ctx, m, stays); err != nil {
		return c, fmt.Errorf("drive: collect: %w", err)
	}
	if err := d.sweep(ctx, m, stays, &c); err != nil {
		return c, fmt.Errorf("drive: collect: %w", err)
	}
	d.garbage.runs.Add(1)
	return c, nil
}

// Released says that other machines have taken what is theirs to keep, so that a
// collection may find more.
func (d *Drive) Released() { d.garbage.changes.Add(1) }

// reclaim collects garbage for want of room, unless that was done since the caller saw
// runs. It reports whether trying again makes sense.
func (d *Drive) reclaim(runs int64) bool {
	d.garbage.one.Lock()
	defer d.garbage.one.Unlock()
	if d.garbage.runs.Load() != runs {
		return true
	}
	changes := d.garbage.changes.Load() + 1
	if d.garbage.empty == changes {
		return false // nothing has become garbage since nothing was found
	}
	if ok, err := d.makeRoom(d.cfg.Context); err != nil || !ok {
		d.garbage.empty = changes
		return false
	}
	return true
}

// mark marks all that must stay. What is written meanwhile is first in a session and
// then in the tree: sessions are looked at before.
func (d *Drive) mark(ctx context.Context, m, stays *marks) error {
	for _, refs := range d.underway() {
		for _, ref := range refs {
			m.add(ref)
			stays.add(ref)
		}
	}
	for _, c := range d.bases() {
		if err := d.markContent(ctx, c, m, stays); err != nil {
			return err
		}
	}
	var bad error
	visit := func(v tree.Version) bool {
		if d.cfg.Mine == nil || d.cfg.Mine(v) {
			bad = d.markContent(ctx, v.Content, m, stays)
		} else {
			bad = d.markContent(ctx, v.Content, m)
		}
		return bad == nil
	}
	// The present before the past: what moves from one to the other meanwhile is met.
	err := d.cfg.Tree.Shown(d.cfg.KV, visit)
	if err == nil && bad == nil {
		err = d.cfg.Tree.PastVersions(d.cfg.KV, visit)
	}
	if err == nil && bad == nil && d.cfg.Keys.Generations() > 1 {
		err = d.cfg.Tree.Superseded(d.cfg.KV, func(now, before store.Content) bool {
			if !d.whole(now) {
				bad = d.markContent(ctx, before, m, stays)
			}
			return bad == nil
		})
	}
	return errors.Join(err, bad)
}

// underway returns the chunks of all sessions.
func (d *Drive) underway() (all [][]store.Ref) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.sessions {
		s.mu.Lock()
		all = append(all, append([]store.Ref(nil), s.refs...))
		s.mu.Unlock()
	}
	return all
}

// bases returns what open files are made of. It takes no file's lock: who writes holds
// that while it waits for room.
func (d *Drive) bases() (all []store.Content) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.inodes {
		if c := i.made.Load(); c != nil {
			all = append(all, *c)
		}
	}
	return all
}

// markContent marks the chunks of c. A list that is not here has nothing below it
// here that this file needs.
func (d *Drive) markContent(ctx context.Context, c store.Content, in ...*marks) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return d.cfg.Keys.Walk(c, d.cfg.Bodies.Get, func(p chunk.Part) error {
		for _, m := range in {
			m.add(p.Ref)
		}
		return nil
	})
}

// sweep removes what is not marked in m, and makes cache of what is not in stays.
func (d *Drive) sweep(ctx context.Context, m, stays *marks, c *Collected) error {
	var after store.Ref
	for more := true; more; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var doomed, cached []store.Ref
		var sizes []int64
		more = false
		err := d.cfg.Bodies.Each(after, func(ref store.Ref, size int64, class segment.Class) bool {
			if len(doomed)+len(cached) == sweepSlice {
				more = true
				return false
			}
			after = ref
			if m.has(ref) || class == segment.Log { // nothing leads to the log of names
				c.Kept++
				if class == segment.Replica && !stays.has(ref) {
					cached = append(cached, ref)
				}
				return true
			}
			doomed, sizes = append(doomed, ref), append(sizes, size)
			return true
		})
		if err != nil {
			return err
		}
		if err := errors.Join(d.remove(m, doomed, sizes, c), d.release(stays, cached, c)); err != nil {
			return err
		}
	}
	return d.cfg.Bodies.Sync()
}

// release makes cache of chunks that others keep.
func (d *Drive) release(stays *marks, refs []store.Ref, c *Collected) error {
	d.garbage.sweep.Lock()
	defer d.garbage.sweep.Unlock()
	for _, ref := range refs {
		if stays.has(ref) { // a writer has found it since
			continue
		}
		if err := d.cfg.Bodies.SetClass(ref, segment.Cache); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		c.Cached++
	}
	return nil
}

func (d *Drive) remove(m *marks, doomed []store.Ref, sizes []int64, c *Collected) error {
	d.garbage.sweep.Lock()
	defer d.garbage.sweep.Unlock()
	for i, ref := range doomed {
		if m.has(ref) { // a writer has found it since
			c.Kept++
			continue
		}
		if err := d.cfg.Bodies.Delete(ref); err != nil {
			return err
		}
		c.Removed++
		c.Bytes += sizes[i]
	}
	return nil
}
