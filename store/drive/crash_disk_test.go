package drive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
	"github.com/aether-lan/aether/store/tree"
)

// crashFS is a crashable file system that calls before ahead of what changes it,
// saying whether that is a sync.
type crashFS struct {
	*vfs.MemFS
	before func(sync bool)
}

func (c *crashFS) file(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &crashFile{f, c}, nil
}

func (c *crashFS) Create(name string, w vfs.DiskWriteCategory) (vfs.File, error) {
	c.before(false)
	return c.file(c.MemFS.Create(name, w))
}

func (c *crashFS) OpenReadWrite(name string, w vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	c.before(false)
	return c.file(c.MemFS.OpenReadWrite(name, w, o...))
}

func (c *crashFS) ReuseForWrite(from, to string, w vfs.DiskWriteCategory) (vfs.File, error) {
	c.before(false)
	return c.file(c.MemFS.ReuseForWrite(from, to, w))
}

func (c *crashFS) OpenDir(name string) (vfs.File, error) { return c.file(c.MemFS.OpenDir(name)) }

func (c *crashFS) Remove(name string) error {
	c.before(false)
	return c.MemFS.Remove(name)
}

func (c *crashFS) Rename(from, to string) error {
	c.before(false)
	return c.MemFS.Rename(from, to)
}

type crashFile struct {
	vfs.File
	c *crashFS
}

func (f *crashFile) Write(p []byte) (int, error) {
	f.c.before(false)
	return f.File.Write(p)
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	f.c.before(false)
	return f.File.WriteAt(p, off)
}

func (f *crashFile) Sync() error {
	f.c.before(true)
	return f.File.Sync()
}

func (f *crashFile) SyncData() error {
	f.c.before(true)
	return f.File.SyncData()
}

// disk is a drive on one disk, as a machine has it.
type disk struct {
	*rig
	fs   vfs.FS
	kv   *index.Pebble
	sync bool // whether Do waits for the disk
}

var (
	crashKeys = sync.OnceValues(func() (*chunk.Keys, error) { return chunk.NewKeys(make([]byte, chunk.SecretSize), 1) })
	crashKey  = bytes.Repeat([]byte{5}, index.KeySize)
)

func openDisk(fs vfs.FS) (d *disk, err error) {
	d = &disk{rig: &rig{now: time.Date(2025, 1, 31, 12, 0, 0, 0, time.UTC)}, fs: fs}
	if d.kv, err = index.Open(fs, "/m/index", index.Config{Cache: 1 << 20, Gather: -1, Key: crashKey}); err != nil {
		return nil, err
	}
	d.rig.kv = d.kv
	if d.bodies, err = segment.Open(fs, "/m/segments", d.kv, segment.Config{Space: 16 << 20}); err != nil {
		return nil, err
	}
	if d.tree, err = tree.Open(d.kv, self); err != nil {
		return nil, err
	}
	keys, err := crashKeys()
	if err != nil {
		return nil, err
	}
	d.Drive = New(Config{
		KV: d.kv, Tree: d.tree, Keys: keys, Bodies: d.bodies, Journal: d,
		Holders: func(Placing) ([]store.MachineID, error) { return []store.MachineID{self}, nil },
	})
	return d, nil
}

// Do is the Journal as a machine has it: what is committed is brought to the disk
// afterwards, by a commit of nothing.
func (d *disk) Do(_ context.Context, c Change) error {
	d.now = d.now.Add(time.Second)
	tx := d.kv.Begin()
	defer tx.Discard()
	if _, _, err := c(d.tree, tx, d.now); err != nil {
		return err
	}
	if err := tx.Commit(false); err != nil || !d.sync {
		return err
	}
	return d.kv.Begin().Commit(true)
}

// close closes the disk and returns all that it keeps: keys, values and the
// sizes of the files.
func (d *disk) close() (dump []string, err error) {
	if err := d.bodies.Close(); err != nil {
		return nil, err
	}
	if dump, err = d.dump(); err != nil {
		return nil, err
	}
	return dump, d.kv.Close()
}

func (d *disk) dump() (dump []string, err error) {
	err = d.kv.Scan(nil, nil, func(k, v []byte) bool {
		dump = append(dump, fmt.Sprintf("%q=%x", k, v))
		return true
	})
	if err != nil {
		return nil, err
	}
	names, err := d.fs.List("/m/segments")
	for _, name := range names {
		if st, err := d.fs.Stat(path.Join("/m/segments", name)); err == nil {
			dump = append(dump, fmt.Sprint(name, " ", st.Size()))
		}
	}
	slices.Sort(dump)
	return dump, err
}

// holds reads everything, and counts again what is counted on the way.
func (d *disk) holds(ctx context.Context) (held, error) {
	h, totals := held{}, tree.Totals{}
	var bad error
	err := d.tree.Walk(d.kv, "/", func(e tree.Entry) bool {
		if e.Dir {
			h[e.Path] = isDir
			return true
		}
		totals.Files++
		totals.Bytes += e.Version.Content.Size
		f := d.OpenEntry(ctx, e)
		defer f.Close()
		b, err := io.ReadAll(f)
		if h[e.Path] = string(b); err != nil {
			bad = fmt.Errorf("read %s: %w", e.Path, err)
		}
		return bad == nil
	})
	if err := errors.Join(err, bad); err != nil {
		return nil, err
	}
	switch got, err := d.tree.Totals(d.kv); {
	case err != nil:
		return nil, err
	case got != totals:
		return nil, fmt.Errorf("totals %+v, counted %+v", got, totals)
	}
	return h, d.recount()
}

// recount compares the space accounting with what lies there.
func (d *disk) recount() error {
	var records, files int64
	var bad error
	err := d.kv.Scan([]byte{store.PrefixSegment, 'r'}, []byte{store.PrefixSegment, 'r' + 1}, func(k, _ []byte) bool {
		b, err := d.bodies.Get(store.Ref(k[2:]))
		if err != nil {
			bad = fmt.Errorf("a chunk of the index cannot be read: %w", err)
		}
		records += 48 + int64(len(b))
		return bad == nil
	})
	names, lerr := d.fs.List("/m/segments")
	if err := errors.Join(err, lerr, bad); err != nil {
		return err
	}
	for _, name := range names {
		st, err := d.fs.Stat(path.Join("/m/segments", name))
		if err != nil {
			return err
		}
		files += st.Size()
	}
	u := d.bodies.Usage()
	if u.Replicas != records || u.Replicas+u.Cache+u.Dead != files || u.Space-u.Free != files {
		return fmt.Errorf("usage %+v; counted %d bytes of records in %d bytes of files", u, records, files)
	}
	return nil
}
