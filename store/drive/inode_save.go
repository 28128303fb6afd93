package drive

import (
	"context"
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/tree"
)

// settle makes all that has been written part of base, as chunks on the disk. The
// caller holds the lock.
func (i *Inode) settle() error {
	if i.failed != nil {
		return i.failed
	}
	if i.stream != nil {
		if err := i.pour(); err != nil {
			return err
		}
		if err := i.closeStream(); err != nil {
			return err
		}
	}
	if i.over.empty() && i.size == i.base.Size && i.valid == i.size {
		return nil
	}
	if in, end := i.over.data.run(0, i.size); i.base.Size == 0 && in && end == i.size {
		return i.settleNew()
	}
	dirty, zero := i.over.dirty(), append(spans(nil), i.over.zero...)
	// What base has behind valid was cut off once: where the file is longer again it
	// is zero, but for what was written.
	for off := i.valid; off < min(i.size, i.base.Size); {
		in, end := dirty.run(off, min(i.size, i.base.Size))
		if !in {
			zero = zero.add(off, end)
		}
		off = end
	}
	dirty = dirty.add(i.valid, min(i.size, i.base.Size))
	// Behind base all that was not written is zero.
	for off := i.base.Size; off < i.size; {
		in, end := i.over.data.run(off, i.size)
		if !in {
			zero = zero.add(off, end)
		}
		off = end
	}
	c, err := i.d.cfg.Keys.Rewrite(i.d.cfg.Context, chunk.Change{
		Base: i.base, Size: i.size, Dirty: dirty, Zero: zero, ReadAt: i.read,
	}, i.get, i.session.put, i.session.have)
	if err != nil {
		return err
	}
	i.over.reset()
	i.look(c)
	return nil
}

// settleNew is settle for a file that is all in the overlay.
func (i *Inode) settleNew() error {
	w := i.d.cfg.Keys.NewWriter(i.session.put, i.session.have)
	err := i.over.each(i.size, func(p []byte) error {
		_, err := w.Write(p)
		return err
	})
	if err != nil {
		w.Abort()
		return err
	}
	c, err := w.Close()
	if err != nil {
		return err
	}
	i.over.reset()
	i.look(c)
	return nil
}

// Save makes what has been written a new version of the file, which all see. It is
// on the disk after the next Sync of anything. A file without a name keeps its bytes
// and gets no version.
func (i *Inode) Save(ctx context.Context) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.save(ctx)
}

func (i *Inode) save(ctx context.Context) error {
	if i.failed != nil {
		return i.failed
	}
	if !i.changed {
		return nil
	}
	defer i.account()
	if err := i.settle(); err != nil {
		return fmt.Errorf("drive: save: %w", err)
	}
	if err := i.d.cfg.Bodies.Sync(); err != nil {
		return fmt.Errorf("drive: save: %w", err)
	}
	var now tree.Version
	gone := false
	err := i.d.cfg.Journal.Do(ctx, func(t *tree.Tree, tx store.Txn, at time.Time) ([]tree.Op, []tree.Event, error) {
		n, err := t.Node(tx, i.id)
		if err != nil {
			return nil, nil, err
		}
		if gone = n.Links == 0; gone {
			return nil, nil, nil
		}
		v := tree.Version{Content: i.base, ModTime: i.modTime}
		if v.Holders, err = i.d.chosen(tx, n.Version, i.base, func() (store.FileID, error) { return t.Home(tx, i.id) }); err != nil {
			return nil, nil, err
		}
		if v.ModTime.IsZero() {
			v.ModTime = at
		}
		ops, events, err := t.WriteNode(tx, i.id, i.dot, v, at)
		if err != nil {
			return nil, nil, err
		}
		if n, err = t.Node(tx, i.id); err == nil {
			now = n.Version
		}
		return ops, events, err
	})
	if err != nil {
		return fmt.Errorf("drive: save: %w", err)
	}
	if gone {
		return nil
	}
	i.session.forget()
	if now.Content == i.base {
		i.dot, i.holders = now.Dot, now.Holders
	} else { // somebody else's version won: ours is a conflict copy now
		i.rest(now)
	}
	i.changed, i.modTime, i.behind = false, time.Time{}, true
	return nil
}

// Unsaved reports whether something was written that Sync has not brought to the
// disk.
func (i *Inode) Unsaved() bool {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.changed || i.behind || i.failed != nil
}

// Sync is Save, and returns when the version is on the disk.
func (i *Inode) Sync(ctx context.Context) error {
	i.mu.Lock()
	err := i.save(ctx)
	i.behind = false // whoever saves meanwhile sets it again
	i.mu.Unlock()
	if err == nil {
		err = i.d.Sync(ctx)
	}
	if err != nil {
		i.mu.Lock()
		i.behind = true
		i.mu.Unlock()
	}
	return err
}

// refresh takes in a version that came from elsewhere, unless something was written
// here. It reports whether the bytes are others now.
func (i *Inode) refresh() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.changed || i.failed != nil {
		return false
	}
	n, err := i.d.cfg.Tree.Node(i.d.cfg.KV, i.id)
	if err != nil || n.Links == 0 || n.Version.Dot == i.dot {
		return false
	}
	i.rest(n.Version)
	return true
}
