package index

import (
	"errors"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// orderedFS sees to it that a crash leaves a directory that can be told from a
// damaged one. Pebble is content with the order in which most file systems make
// the entries of a directory durable; POSIX promises none. Here
//
//   - a manifest is in the directory before the marker that names it, and that
//     before the marker of the manifest before it is removed;
//   - there is a log at any time, so that one that is gone is missed.
type orderedFS struct{ vfs.FS }

// Create implements vfs.FS.
func (o orderedFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := o.FS.Create(name, category)
	if err != nil {
		return nil, err
	}
	if base := o.PathBase(name); isManifest(base) || isMarker(base) {
		dir, err := o.OpenDir(o.PathDir(name))
		if err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// Remove implements vfs.FS. It leaves the last log where it is: while it opens,
// Pebble can be done with the old log before it makes the new one. The next Open
// knows that it is of no use any more, and removes it.
func (o orderedFS) Remove(name string) error {
	if isLog(name) {
		names, err := o.List(o.PathDir(name))
		if err != nil {
			return err
		}
		logs := 0
		for _, n := range names {
			if isLog(n) {
				logs++
			}
		}
		if logs == 1 {
			return nil
		}
	}
	return o.FS.Remove(name)
}

// Unwrap implements vfs.FS.
func (o orderedFS) Unwrap() vfs.FS { return o.FS }

func isManifest(name string) bool { return strings.HasPrefix(name, "MANIFEST-") }
func isMarker(name string) bool   { return strings.HasPrefix(name, "marker.") }
func isLog(name string) bool      { return strings.HasSuffix(name, ".log") }
