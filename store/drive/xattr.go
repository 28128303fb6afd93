package drive

import (
	"context"
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// OwnAttributes begins the names of the extended attributes that are the store's own:
// faces of the drive do not show them.
const OwnAttributes = "aether."

// Xattr returns the value of the extended attribute name of the file or directory
// p, or store.ErrNotFound. A conflict copy has those of the file that it is a
// version of.
func (d *Drive) Xattr(p, name string) ([]byte, error) {
	e, err := d.Stat(p)
	if err != nil {
		return nil, err
	}
	value, err := d.cfg.Tree.Xattr(d.cfg.KV, e.ID, name)
	if err != nil {
		return nil, fmt.Errorf("drive: %s: %w", p, err)
	}
	return value, nil
}

// Xattrs returns the names of the extended attributes of p, sorted as bytes.
func (d *Drive) Xattrs(p string) ([]string, error) {
	e, err := d.Stat(p)
	if err != nil {
		return nil, err
	}
	names, err := d.cfg.Tree.Xattrs(d.cfg.KV, e.ID)
	if err != nil {
		return nil, fmt.Errorf("drive: %s: %w", p, err)
	}
	return names, nil
}

// SetXattr gives p the extended attribute name. Names have at most 255 bytes,
// values 62 KiB, and all names and values of one file 64 KiB: more is
// [tree.ErrTooLarge]. When it returns, the attribute is on the disk.
func (d *Drive) SetXattr(ctx context.Context, p, name string, value []byte) error {
	return d.onEntry(ctx, "set xattr", p, func(t *tree.Tree, tx store.Txn, e tree.Entry, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.SetXattr(tx, e.ID, name, value, now)
	})
}

// RemoveXattr takes the extended attribute name from p. It fails with
// store.ErrNotFound.
func (d *Drive) RemoveXattr(ctx context.Context, p, name string) error {
	return d.onEntry(ctx, "remove xattr", p, func(t *tree.Tree, tx store.Txn, e tree.Entry, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.RemoveXattr(tx, e.ID, name, now)
	})
}

// onEntry makes a change of what p leads to at that moment.
func (d *Drive) onEntry(ctx context.Context, verb, p string, f func(*tree.Tree, store.Txn, tree.Entry, time.Time) ([]tree.Op, []tree.Event, error)) error {
	p, err := Clean(p)
	if err != nil {
		return err
	}
	return d.do(ctx, verb, p, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		e, err := t.Lookup(tx, p)
		if err != nil {
			return nil, nil, err
		}
		return f(t, tx, e, now)
	})
}
