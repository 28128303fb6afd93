package log

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ordered is the file system as Pebble sees it. Pebble moves a marker from one file to
// another by making a new marker, removing the old one and syncing the directory. A
// file system that does not keep the order of changes of a directory could lose in a
// power cut what the new marker names, or both markers: ordered syncs in between.
type ordered struct {
	vfs.FS
	ending *ending
}

// marker reports whether path is a marker of Pebble's, see vfs/atomicfs.
func (o ordered) marker(path string) bool { return strings.HasPrefix(o.PathBase(path), "marker.") }

// Create implements vfs.FS.
func (o ordered) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if o.marker(name) {
		if err := syncDir(o, o.PathDir(name)); err != nil {
			return nil, err
		}
	}
	return o.FS.Create(name, c)
}

// Remove implements vfs.FS.
func (o ordered) Remove(name string) error {
	if o.marker(name) {
		if err := syncDir(o, o.PathDir(name)); err != nil {
			return err
		}
	}
	return o.FS.Remove(name)
}

// OpenDir implements vfs.FS.
func (o ordered) OpenDir(name string) (vfs.File, error) {
	f, err := o.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return orderedDir{f, name, o.ending}, nil
}

// Unwrap implements vfs.FS.
func (o ordered) Unwrap() vfs.FS { return o.FS }

// orderedDir is a directory, to be synced. When that fails Pebble panics.
type orderedDir struct {
	vfs.File
	name   string
	ending *ending
}

// Sync implements vfs.File.
func (d orderedDir) Sync() error {
	err := d.File.Sync()
	if err != nil && !oursIsUnderWay() {
		d.ending.meets(fmt.Errorf("sync %s: %w", d.name, err))
	}
	return err
}
