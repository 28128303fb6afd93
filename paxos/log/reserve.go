package log

import (
	"errors"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// makeRoom gives the reserve up when the disk is so full that opening, which writes
// what Pebble's log holds, could fail.
func (l *Log) makeRoom() {
	if u, err := l.fs.GetDiskUsage(l.cfg.Dir); err == nil && u.AvailBytes < uint64(max(l.cfg.Reserve, 0)) {
		_ = l.fs.Remove(l.path("reserve"))
	}
}

// reserve takes the room in advance where the disk has it twice.
func (l *Log) reserve() {
	if l.cfg.Reserve < 0 {
		return
	}
	if s, err := l.fs.Stat(l.path("reserve")); err == nil && s.Size() == l.cfg.Reserve {
		return
	}
	u, err := l.fs.GetDiskUsage(l.cfg.Dir)
	if err != nil || u.AvailBytes < 2*uint64(l.cfg.Reserve) {
		return
	}
	f, err := l.fs.Create(l.path("reserve"), vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	err = f.Preallocate(0, l.cfg.Reserve)
	if errors.Join(err, f.Sync(), f.Close()) != nil {
		_ = l.fs.Remove(l.path("reserve"))
	}
}

// Full reports whether the disk has less room than the reserve, beside it: a node then
// takes no new values, but can still say what it has, forget and be opened again. The
// reserve is for that: it is given up when next to nothing is left, not before, so that
// nobody else takes its room, and taken again when there is enough.
func (l *Log) Full() bool {
	if l.cfg.Reserve < 0 {
		return false
	}
	u, err := l.fs.GetDiskUsage(l.cfg.Dir)
	if err != nil {
		return false
	}
	switch want := uint64(l.cfg.Reserve); {
	case u.AvailBytes >= want:
		l.reserve()
		return false
	case u.AvailBytes < want/8:
		if _, err := l.fs.Stat(l.path("reserve")); !errors.Is(err, fs.ErrNotExist) {
			_ = l.fs.Remove(l.path("reserve"))
		}
	}
	return true
}
