package index

import (
	"errors"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Commits that need not be on the disk yet are gathered in memory and brought to
// Pebble together. A key that is written again and again is written once then, and one
// that was made and removed meanwhile not at all. Together they are one batch, so that
// a crash finds all of them or none, and never one without those before it.
const (
	gatherTime = 20 * time.Millisecond // unless Config.Gather says otherwise
	gatherMax  = 256 << 10             // bytes from which on whoever commits brings them
)

// gathered is what was committed and is not in Pebble, or perhaps not yet.
//
//	Commit ─► fresh ─► leaving ─► Pebble
type gathered struct {
	mu      sync.RWMutex
	fresh   *node // committed since bringing last began
	leaving *node // being brought
	size    int   // bytes of fresh
	edition edition
	commits uint64 // so far
	begun   uint64 // times that bringing began
	below   below  // what is known of Pebble
}

// bringer lets one bring at a time what is gathered, for all that wait for it.
type bringer struct {
	mu      sync.Mutex
	ended   sync.Cond // signalled when running falls
	running bool
	written uint64 // of gathered.commits, those in Pebble
	synced  uint64 // of those, the ones on the disk

	wait time.Duration // for which commits may wait
	wake chan struct{} // something is gathered
	quit chan struct{}
	done chan struct{}
}

// startGathering begins to bring what is gathered from time to time.
func (p *Pebble) startGathering(wait time.Duration) {
	p.gathered.edition = shared + 1
	p.gathered.below.reset()
	// What lies there when it is opened counts as a commit of which nobody knows
	// whether it is on the disk.
	p.gathered.commits, p.bringer.written = 1, 1
	b := &p.bringer
	b.ended.L, b.wait = &b.mu, wait
	b.wake, b.quit, b.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(b.done)
		for {
			select {
			case <-b.quit:
				return
			case <-b.wake:
			}
			select {
			case <-b.quit:
				return
			case <-time.After(wait):
			}
			_ = p.bring(false) // whoever waits for the disk hears what is wrong
		}
	}()
}

// endGathering brings what is left.
func (p *Pebble) endGathering() error {
	close(p.bringer.quit)
	<-p.bringer.done
	return p.bring(false)
}

// gather makes the changes of a Txn seen by all.
func (p *Pebble) gather(changes *node) {
	g := &p.gathered
	g.mu.Lock()
	first := g.fresh == nil
	nodes, few := changes.collect(nil, nil, nil)
	for _, n := range nodes {
		if few { // nobody else holds them, and the Txn is over
			n.left, n.right, n.edition = nil, nil, g.edition
			g.enter(n)
		}
	}
	for c := seek(changes, nil); !few && c.valid(); c.next() {
		n := c.node()
		g.enter(&node{key: n.key, value: n.value, rank: n.rank, deleted: n.deleted, edition: g.edition})
	}
	g.commits++
	full := g.size > gatherMax || p.bringer.wait < 0
	g.mu.Unlock()
	switch {
	case full:
		_ = p.bring(false) // what is wrong keeps it here, and a sync will say so
	case first:
		select {
		case p.bringer.wake <- struct{}{}:
		default:
		}
	}
}

// enter makes a change seen by all. The caller holds mu.
func (g *gathered) enter(n *node) {
	g.fresh = g.fresh.with(n)
	g.size += len(n.key) + len(n.value)
}

// bring returns when all that was committed before is in Pebble, and with sync on the
// disk. Whoever comes while others bring waits for them, and then for one more at most,
// which is for all that came.
func (p *Pebble) bring(sync bool) error {
	p.gathered.mu.RLock()
	want := p.gathered.commits
	p.gathered.mu.RUnlock()
	b := &p.bringer
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.written < want || sync && b.synced < want {
		if b.running {
			b.ended.Wait()
			continue
		}
		b.running = true
		b.mu.Unlock()
		upTo, err := p.bringAll(sync)
		b.mu.Lock()
		b.running = false
		b.ended.Broadcast()
		if err != nil {
			return err
		}
		b.written = max(b.written, upTo)
		if sync {
			b.synced = max(b.synced, upTo)
		}
	}
	return nil
}

// bringAll brings what is gathered and returns the number of the last commit of it.
func (p *Pebble) bringAll(sync bool) (upTo uint64, err error) {
	g := &p.gathered
	g.mu.Lock()
	root, size, upTo := g.fresh, g.size, g.commits
	g.fresh, g.leaving, g.size = nil, root, 0
	g.edition++
	g.begun++
	g.mu.Unlock()
	if err = p.disk.Do(func() error { return p.write(root, size, sync) }); err == nil {
		p.remember(root)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leaving = nil
	if err == nil {
		return upTo, nil
	}
	// The write may still be under way, waiting for good, and has root: it stays as it is.
	back := root
	for c := seek(g.fresh, nil); c.valid(); c.next() {
		n := c.node()
		back = back.with(&node{key: n.key, value: n.value, rank: n.rank, deleted: n.deleted, edition: g.edition})
	}
	g.fresh, g.size = back, g.size+size
	return upTo, err
}

// remember enters what has been brought into what is known of Pebble, a little at a time
// so that nobody waits for long. Until leaving is emptied nobody asks for any of it.
func (p *Pebble) remember(changes *node) {
	const atOnce = 64
	g := &p.gathered
	for c := seek(changes, nil); c.valid(); {
		g.mu.Lock()
		for i := 0; i < atOnce && c.valid(); i++ {
			g.below.take(c.node())
			c.next()
		}
		g.mu.Unlock()
	}
}

// write makes one batch of changes.
func (p *Pebble) write(changes *node, size int, sync bool) (err error) {
	batch := p.db.NewBatchWithSize(size + size/4)
	defer func() { err = errors.Join(err, batch.Close()) }() // only gives memory back
	for c := seek(changes, nil); c.valid() && err == nil; c.next() {
		if n := c.node(); n.deleted {
			err = batch.Delete(n.key, nil)
		} else {
			err = batch.Set(n.key, n.value, nil)
		}
	}
	if err == nil && batch.Empty() {
		if !sync {
			return nil
		}
		// Pebble makes nothing of an empty batch; a note in the log makes it carry what
		// was written before to the disk.
		err = batch.LogData(nil, nil)
	}
	if err != nil {
		return err
	}
	opts := pebble.NoSync
	if sync {
		opts = pebble.Sync
	}
	return p.db.Apply(batch, opts)
}
