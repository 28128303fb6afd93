package drive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// Put stores what r holds as the file p, a new one or a new version. The parent
// directory must exist. When Put returns without an error, the version is on the
// disk and visible; otherwise p is what it was. It returns the new entry.
func (d *Drive) Put(ctx context.Context, p string, r io.Reader, a Attributes) (tree.Entry, error) {
	p, err := Clean(p)
	if err != nil {
		return tree.Entry{}, err
	}
	s := d.begin()
	defer s.end()
	content, err := s.write(ctx, r)
	if err != nil {
		return tree.Entry{}, fmt.Errorf("drive: put %s: %w", p, err)
	}
	v := tree.Version{Content: content, Mode: a.Mode, ModTime: a.ModTime}
	if v.Mode == 0 {
		v.Mode = 0o644
	}
	var e tree.Entry
	err = d.cfg.Journal.Do(ctx, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		if a.If != nil {
			old, err := t.Lookup(tx, p)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, nil, err
			}
			if err := a.If(old, err == nil); err != nil {
				return nil, nil, err
			}
		}
		if v.ModTime.IsZero() {
			v.ModTime = now
		}
		if v.Holders, err = d.keepers(t, tx, p, content); err != nil {
			return nil, nil, err
		}
		ops, events, err := t.Put(tx, p, v, now)
		if err != nil {
			return nil, nil, err
		}
		e, err = t.Lookup(tx, p)
		return ops, events, err
	})
	if err == nil {
		err = d.Sync(ctx)
	}
	if err != nil {
		return tree.Entry{}, fmt.Errorf("drive: put %s: %w", p, err)
	}
	return e, nil
}

// write brings the bytes of r to the disk as chunks.
func (s *session) write(ctx context.Context, r io.Reader) (store.Content, error) {
	w := s.d.cfg.Keys.NewWriter(s.put, s.have)
	if _, err := w.ReadFrom(&contextReader{ctx, r}); err != nil {
		w.Abort()
		return store.Content{}, err
	}
	c, err := w.Close()
	if err != nil {
		return store.Content{}, err
	}
	return c, s.d.cfg.Bodies.Sync()
}

// contextReader fails with the context's cause once the context has ended.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(b []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(b)
}

// Mkdir makes the directory p, whose parent must exist.
func (d *Drive) Mkdir(ctx context.Context, p string) error {
	p, err := Clean(p)
	if err != nil {
		return err
	}
	return d.do(ctx, "mkdir", p, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.Mkdir(tx, p, tree.Version{Mode: 0o755, ModTime: now}, now)
	})
}

// MkdirAll makes the directory p and those above it that are missing. A
// directory that exists is no error.
func (d *Drive) MkdirAll(ctx context.Context, p string) error {
	p, err := Clean(p)
	if err != nil {
		return err
	}
	if e, err := d.Stat(p); err == nil {
		if e.Dir {
			return nil
		}
		return fmt.Errorf("drive: mkdir %s: %w", p, tree.ErrNotDir)
	}
	if parent := path.Dir(p); parent != p {
		if err := d.MkdirAll(ctx, parent); err != nil {
			return err
		}
	}
	err = d.Mkdir(ctx, p)
	if errors.Is(err, tree.ErrExist) { // somebody else has made it meanwhile
		if e, serr := d.Stat(p); serr == nil && e.Dir {
			return nil
		}
	}
	return err
}

// Remove removes p. A directory that is not empty needs recursive.
func (d *Drive) Remove(ctx context.Context, p string, recursive bool) error {
	return d.RemoveIf(ctx, p, recursive, nil)
}

// RemoveIf is Remove, if may has no error when it is asked, within the change and so
// with what is there at that moment. It must not call the Drive. Nil always goes on.
func (d *Drive) RemoveIf(ctx context.Context, p string, recursive bool, may func(tree.Entry) error) error {
	p, err := Clean(p)
	if err != nil {
		return err
	}
	return d.do(ctx, "remove", p, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		store.Freeing(tx)
		if may != nil {
			e, err := t.Lookup(tx, p)
			if err == nil {
				err = may(e)
			}
			if err != nil {
				return nil, nil, err
			}
		}
		return t.Remove(tx, p, recursive, now)
	})
}

// Rename moves what is at from to the path to. A file that is there is replaced;
// a directory is not.
func (d *Drive) Rename(ctx context.Context, from, to string) error {
	from, err := Clean(from)
	if err != nil {
		return err
	}
	if to, err = Clean(to); err != nil {
		return err
	}
	return d.do(ctx, "rename", from, func(t *tree.Tree, tx store.Txn, now time.Time) ([]tree.Op, []tree.Event, error) {
		return t.Rename(tx, from, to, now)
	})
}

// do makes a change and waits for the disk.
func (d *Drive) do(ctx context.Context, verb, p string, c Change) error {
	defer d.garbage.changes.Add(1)
	err := d.cfg.Journal.Do(ctx, c)
	if err == nil {
		err = d.Sync(ctx)
	}
	if err != nil {
		return fmt.Errorf("drive: %s %s: %w", verb, p, err)
	}
	return nil
}

// Sync returns once everything that was saved or changed before is on the disk.
func (d *Drive) Sync(ctx context.Context) error {
	d.activity.syncs.Add(1)
	return d.cfg.Journal.Sync(ctx)
}
