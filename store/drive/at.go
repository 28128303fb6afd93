package drive

import (
	"context"
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// The methods of this file name files by their IDs, as a file system in the kernel
// does. What they change is seen by all when they return, and on the disk after the
// next [Drive.Sync].

// Node returns the file or directory id. What is being written to it counts.
func (d *Drive) Node(id store.FileID) (tree.Node, error) {
	before := d.inode(id)
	n, err := d.cfg.Tree.Node(d.cfg.KV, id)
	i := d.inode(id)
	if before != nil && i == nil { // saved and closed meanwhile
		n, err = d.cfg.Tree.Node(d.cfg.KV, id)
		i = d.inode(id)
	}
	if i == nil || err != nil {
		return n, err
	}
	size, modTime := i.Size()
	n.Version.Content.Size = size
	if !modTime.IsZero() {
		n.Version.ModTime = modTime
	}
	return n, nil
}

// inode returns what is open of a file, for a look at it.
func (d *Drive) inode(id store.FileID) *Inode {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inodes[id]
}

// Child returns what the directory dir shows under name.
func (d *Drive) Child(dir store.FileID, name string) (tree.Entry, error) {
	return d.cfg.Tree.Child(d.cfg.KV, dir, name)
}

// Children calls f for what lies in the directory dir, in the order of names and from
// the first behind after, until f returns false.
func (d *Drive) Children(dir store.FileID, after string, f func(tree.Entry) bool) error {
	return d.cfg.Tree.Children(d.cfg.KV, dir, after, f)
}

// Parent returns the directory that the directory id lies in.
func (d *Drive) Parent(id store.FileID) (store.FileID, error) {
	return d.cfg.Tree.Parent(d.cfg.KV, id)
}

// CreateAt makes an empty file, or a directory. It fails with tree.ErrExist.
func (d *Drive) CreateAt(ctx context.Context, at tree.Place, dir bool, v tree.Version) (n tree.Node, err error) {
	err = d.cfg.Journal.Do(ctx, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		if v.ModTime.IsZero() {
			v.ModTime = now
		}
		if !dir {
			if v.Holders, err = d.chosen(tx, tree.Version{}, v.Content, func() (store.FileID, error) { return at.Dir, nil }); err != nil {
				return nil, nil, err
			}
		}
		id, ops, events, err := t.CreateAt(tx, at, dir, v, now)
		if err != nil {
			return nil, nil, err
		}
		n, err = t.Node(tx, id)
		return ops, events, err
	})
	if err != nil {
		return n, fmt.Errorf("drive: create %q: %w", at.Name, err)
	}
	return n, nil
}

// SymlinkAt makes a symbolic link to target, any text.
func (d *Drive) SymlinkAt(ctx context.Context, at tree.Place, target string, v tree.Version) (tree.Node, error) {
	s := d.begin()
	defer s.end()
	sealed := d.cfg.Keys.Seal([]byte(target))
	err := s.put(sealed)
	if err == nil {
		err = d.cfg.Bodies.Sync()
	}
	if err != nil {
		return tree.Node{}, fmt.Errorf("drive: symlink %q: %w", at.Name, err)
	}
	v.Content = store.Content{Size: int64(len(target)), Root: sealed.Ref, Oldest: sealed.Generation}
	return d.CreateAt(ctx, at, false, v)
}

// RemoveAt removes a file, or a directory with nothing in it.
func (d *Drive) RemoveAt(ctx context.Context, at tree.Place) error {
	return d.at(ctx, "remove", at, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		store.Freeing(tx)
		return t.RemoveAt(tx, at, false, now)
	})
}

// RenameAt moves what is at from to the place to.
func (d *Drive) RenameAt(ctx context.Context, from, to tree.Place, how tree.Renaming) error {
	return d.at(ctx, "rename", from, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.RenameAt(tx, from, to, how, now)
	})
}

// LinkAt gives the file id another name.
func (d *Drive) LinkAt(ctx context.Context, id store.FileID, at tree.Place) error {
	return d.at(ctx, "link", at, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.LinkAt(tx, id, at, now)
	})
}

// SetNode changes attributes.
func (d *Drive) SetNode(ctx context.Context, id store.FileID, a tree.AttributeChange) error {
	return d.at(ctx, "set attributes", tree.Place{}, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.SetNode(tx, id, a, now)
	})
}

// NodeXattr returns an extended attribute, or store.ErrNotFound.
func (d *Drive) NodeXattr(id store.FileID, name string) ([]byte, error) {
	return d.cfg.Tree.Xattr(d.cfg.KV, id, name)
}

// NodeXattrs returns the names of the extended attributes.
func (d *Drive) NodeXattrs(id store.FileID) ([]string, error) {
	return d.cfg.Tree.Xattrs(d.cfg.KV, id)
}

// SetNodeXattr sets an extended attribute.
func (d *Drive) SetNodeXattr(ctx context.Context, id store.FileID, name string, value []byte) error {
	return d.at(ctx, "set attribute", tree.Place{Name: name}, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.SetXattr(tx, id, name, value, now)
	})
}

// RemoveNodeXattr removes an extended attribute.
func (d *Drive) RemoveNodeXattr(ctx context.Context, id store.FileID, name string) error {
	return d.at(ctx, "remove attribute", tree.Place{Name: name}, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.RemoveXattr(tx, id, name, now)
	})
}

// at makes a change without waiting for the disk.
func (d *Drive) at(ctx context.Context, verb string, at tree.Place, c Change) error {
	defer d.garbage.changes.Add(1)
	if err := d.cfg.Journal.Do(ctx, c); err != nil {
		return fmt.Errorf("drive: %s %q: %w", verb, at.Name, err)
	}
	return nil
}

// Usage is what the drive's space is used for, in bytes.
type Usage struct {
	// Space is what the drive can hold, Free what of it can be written.
	Space, Free int64
	// Files is how many files the drive holds.
	Files int64
}

// Usage returns what the drive's space is used for: that of the whole pool where
// Config.Space is set, else that of this machine.
func (d *Drive) Usage() (Usage, error) {
	if d.cfg.Space != nil {
		t, err := d.cfg.Tree.Totals(d.cfg.KV)
		space, free := d.cfg.Space()
		return Usage{Space: space, Free: free, Files: t.Files}, err
	}
	u := d.cfg.Bodies.Usage()
	t, err := d.cfg.Tree.Totals(d.cfg.KV)
	return Usage{Space: u.Space, Free: max(0, u.Free+u.Cache+u.Dead), Files: t.Files}, err
}
