package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/tree"
)

// Stat returns the entry at p.
func (d *Drive) Stat(p string) (tree.Entry, error) {
	p, err := Clean(p)
	if err != nil {
		return tree.Entry{}, err
	}
	e, err := d.cfg.Tree.Lookup(d.cfg.KV, p)
	if err != nil {
		return tree.Entry{}, fmt.Errorf("drive: %s: %w", p, err)
	}
	return e, nil
}

// List calls f for the entries of the directory p in the order of their names
// until f returns false.
func (d *Drive) List(p string, f func(tree.Entry) bool) error { return d.ListAfter(p, "", f) }

// ListAfter is List from the first name behind after.
func (d *Drive) ListAfter(p, after string, f func(tree.Entry) bool) error {
	p, err := Clean(p)
	if err != nil {
		return err
	}
	if err := d.cfg.Tree.List(d.cfg.KV, p, after, f); err != nil {
		return fmt.Errorf("drive: list %s: %w", p, err)
	}
	return nil
}

// File is a file open for reading: the version that was there when it was
// opened, whatever happens to the name afterwards. It is not safe for concurrent
// use, but for ReadAt.
type File struct {
	*chunk.Reader
	entry tree.Entry
	err   *atomic.Pointer[error]
}

// Open opens the file at p. ctx bounds all reads.
func (d *Drive) Open(ctx context.Context, p string) (*File, error) {
	e, err := d.Stat(p)
	if err != nil {
		return nil, err
	}
	if e.Dir {
		return nil, fmt.Errorf("drive: open %s: %w", p, tree.ErrIsDir)
	}
	return d.OpenEntry(ctx, e), nil
}

// OpenEntry opens the version that e describes.
func (d *Drive) OpenEntry(ctx context.Context, e tree.Entry) *File {
	f := &File{entry: e, err: new(atomic.Pointer[error])}
	f.Reader = d.cfg.Keys.NewReader(ctx, e.Version.Content, func(ctx context.Context, ref store.Ref) ([]byte, error) {
		b, err := d.Body(ctx, ref, e.Version.Holders)
		if err != nil {
			f.err.CompareAndSwap(nil, &err)
		}
		return b, err
	}).TakeBodies()
	return f
}

// Body returns the sealed body of a chunk: from this disk, else from a machine
// that has it. Its memory is the caller's.
func (d *Drive) Body(ctx context.Context, ref store.Ref, holders []store.MachineID) ([]byte, error) {
	began := time.Now()
	b, err := d.body(ctx, ref)
	d.activity.read(b)
	if err == nil {
		d.activity.disk.since(began)
	}
	if err == nil || d.cfg.Fetch == nil {
		if errors.Is(err, store.ErrNotFound) {
			err = fmt.Errorf("drive: chunk %.8s: %w", ref, ErrUnreachable)
		}
		return b, err
	}
	if b, err = d.cfg.Fetch(ctx, ref, holders); err == nil {
		d.activity.network.since(began)
	}
	return bytes.Clone(b), err // ours alone: a Reader opens it where it lies
}

// body returns the body of a chunk from this disk.
func (d *Drive) body(ctx context.Context, ref store.Ref) ([]byte, error) {
	if chunk.ReadOnce(ctx) {
		return d.cfg.Bodies.GetOnce(ref)
	}
	return d.cfg.Bodies.Get(ref)
}

// Entry returns the entry that was opened.
func (f *File) Entry() tree.Entry { return f.entry }

// Err returns why a chunk could not be brought, nil while all could.
func (f *File) Err() error {
	if err := f.err.Load(); err != nil {
		return *err
	}
	return nil
}

// OpenVersion opens a version of a file.
func (d *Drive) OpenVersion(ctx context.Context, v tree.Version) *File {
	return d.OpenEntry(ctx, tree.Entry{Version: v})
}
