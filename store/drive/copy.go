package drive

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// ErrTooMany reports a change of more files and directories than fit into one.
var ErrTooMany = errors.New("too many files for one change")

// maxCopy bounds the files and directories of one copy: they are one transaction,
// which lies in memory until it is done.
const maxCopy = 1 << 17

// Transfer says how to copy or move.
type Transfer struct {
	// Alone copies a directory without what it holds.
	Alone bool
	// NoReplace fails with tree.ErrExist where something is at the target.
	NoReplace bool
	// If is asked whether to go on, within the change and so with what is there at
	// that moment: the entry that is copied or moved. Its error is the change's. It
	// must not call the Drive. Nil always goes on.
	If func(e tree.Entry) error
}

// allows asks how.If.
func (how Transfer) allows(e tree.Entry) error {
	if how.If == nil {
		return nil
	}
	return how.If(e)
}

// Copy makes to a copy of from, a directory with all that it shows, in one change:
// all of it is there or nothing. What is at to is replaced, a directory with all that
// it holds. No bytes move: the copies hold the same content and are kept by the same
// machines. Extended attributes are copied, the modification time is now.
//
// It fails with tree.ErrCycle when from lies in to, or is to, and with ErrTooMany.
// Copying a directory to a place inside itself copies what was in it before.
func (d *Drive) Copy(ctx context.Context, from, to string) error {
	return d.CopyAs(ctx, from, to, Transfer{})
}

// CopyAs is Copy, as how says.
func (d *Drive) CopyAs(ctx context.Context, from, to string, how Transfer) error {
	from, err := Clean(from)
	if err != nil {
		return err
	}
	if to, err = Clean(to); err != nil {
		return err
	}
	return d.do(ctx, "copy", from, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		c := &copying{ctx: ctx, t: t, tx: tx, now: now}
		if err := c.all(from, to, how); err != nil {
			return nil, nil, err
		}
		return c.ops, c.events, nil
	})
}

// below says that p is dir or lies in it. Both are clean.
func below(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// copying is one copy under way: what it has changed so far.
type copying struct {
	ctx    context.Context
	t      *tree.Tree
	tx     store.Txn
	now    time.Time
	ops    []tree.Op
	events []tree.Event
}

// made notes what a change of the tree brought.
func (c *copying) made(ops []tree.Op, events []tree.Event, err error) error {
	c.ops, c.events = append(c.ops, ops...), append(c.events, events...)
	return err
}

func (c *copying) all(from, to string, how Transfer) error {
	if below(from, to) {
		return tree.ErrCycle
	}
	root, err := c.t.Lookup(c.tx, from)
	if err == nil {
		err = how.allows(root)
	}
	if err != nil {
		return err
	}
	list := []tree.Entry{root}
	if root.Dir && !how.Alone {
		// Listed before anything is made, lest a copy inside itself never end.
		err = c.t.Walk(c.tx, from, func(e tree.Entry) bool {
			if e.Path != from {
				list = append(list, e)
			}
			return len(list) <= maxCopy && c.ctx.Err() == nil
		})
	}
	switch {
	case err != nil:
		return err
	case c.ctx.Err() != nil:
		return context.Cause(c.ctx)
	case len(list) > maxCopy:
		return fmt.Errorf("%w: more than %d", ErrTooMany, maxCopy)
	}
	old, err := c.t.Lookup(c.tx, to)
	if err == nil && how.NoReplace {
		return tree.ErrExist
	}
	if err == nil && !alike(old, root) {
		err = c.made(c.t.Remove(c.tx, to, true, c.now))
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for _, e := range list {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		if err := c.one(e, path.Join(to, strings.TrimPrefix(e.Path, from))); err != nil {
			return err
		}
	}
	return nil
}

// alike says that b can become a version of the file a: Put keeps what a file is, a
// symbolic link or not (the bits of inode(7)).
func alike(a, b tree.Entry) bool {
	const kind = 0o170000
	regular := func(e tree.Entry) uint32 {
		if k := e.Version.Mode & kind; k != 0 {
			return k
		}
		return 0o100000
	}
	return !a.Dir && !b.Dir && regular(a) == regular(b)
}

// one makes to a copy of e alone.
func (c *copying) one(e tree.Entry, to string) error {
	v := e.Version
	v.ModTime = c.now
	var err error
	if e.Dir {
		err = c.made(c.t.Mkdir(c.tx, to, v, c.now))
	} else {
		err = c.made(c.t.Put(c.tx, to, v, c.now))
	}
	if err != nil {
		return err
	}
	made, err := c.t.Lookup(c.tx, to)
	if err != nil {
		return err
	}
	return c.xattrs(e.ID, made.ID)
}

// xattrs gives the node to the extended attributes of from, and no others.
func (c *copying) xattrs(from, to store.FileID) error {
	old, err := c.t.Xattrs(c.tx, to)
	if err != nil {
		return err
	}
	for _, name := range old {
		if err := c.made(c.t.RemoveXattr(c.tx, to, name, c.now)); err != nil {
			return err
		}
	}
	names, err := c.t.Xattrs(c.tx, from)
	if err != nil {
		return err
	}
	for _, name := range names {
		value, err := c.t.Xattr(c.tx, from, name)
		if err != nil {
			return err
		}
		if err := c.made(c.t.SetXattr(c.tx, to, name, value, c.now)); err != nil {
			return err
		}
	}
	return nil
}

// Move is Rename, but replaces whatever is at to, a directory with all that it holds,
// in the same change.
func (d *Drive) Move(ctx context.Context, from, to string, how Transfer) error {
	from, err := Clean(from)
	if err != nil {
		return err
	}
	if to, err = Clean(to); err != nil {
		return err
	}
	return d.do(ctx, "move", from, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		src, err := t.Lookup(tx, from)
		switch {
		case err != nil:
			return nil, nil, err
		case below(from, to) || src.Dir && below(to, from):
			return nil, nil, tree.ErrCycle
		}
		if err := how.allows(src); err != nil {
			return nil, nil, err
		}
		var ops []tree.Op
		var events []tree.Event
		dst, err := t.Lookup(tx, to)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return nil, nil, err
		case how.NoReplace:
			return nil, nil, tree.ErrExist
		case dst.Dir || src.Dir:
			if ops, events, err = t.Remove(tx, to, true, now); err != nil {
				return nil, nil, err
			}
		}
		o, ev, err := t.Rename(tx, from, to, now)
		return append(ops, o...), append(events, ev...), err
	})
}

// XattrChange sets an extended attribute, or removes it.
type XattrChange struct {
	Name   string
	Value  []byte
	Remove bool // removing what is not there is no error
}

// ChangeXattrs changes extended attributes of the file or directory id, all or none.
// When it returns they are on the disk. It fails as [tree.Tree.SetXattr] does.
func (d *Drive) ChangeXattrs(ctx context.Context, id store.FileID, changes []XattrChange) error {
	return d.do(ctx, "set attributes of", id.String(), func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		c := &copying{ctx: ctx, t: t, tx: tx, now: now}
		for _, ch := range changes {
			var err error
			if ch.Remove {
				err = c.made(t.RemoveXattr(tx, id, ch.Name, now))
				if errors.Is(err, store.ErrNotFound) {
					err = nil
				}
			} else {
				err = c.made(t.SetXattr(tx, id, ch.Name, ch.Value, now))
			}
			if err != nil {
				return nil, nil, err
			}
		}
		return c.ops, c.events, nil
	})
}
