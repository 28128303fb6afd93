package segment

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// reserve keeps room on the disk for segments that are still to come: files NNNNNNNN.room
// without length that have blocks all the same, one for each segment. The owner holds
// Store.mu.
type reserve struct {
	files *handles
	size  int64 // bytes of each
	count int
}

func (r *reserve) path(i int) string {
	return r.files.fs.PathJoin(r.files.dir, fmt.Sprintf("%08d.room", i))
}

// load counts the files that an earlier process has left.
func (r *reserve) load() error {
	names, err := r.files.fs.List(r.files.dir)
	if err != nil {
		return err
	}
	found := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".room") {
			continue
		}
		if r.path(r.count) == r.files.fs.PathJoin(r.files.dir, name) {
			r.count++ // names come in no order, but numbers without gaps
		}
		found++
	}
	if found == r.count {
		return nil
	}
	r.count = 0
	for _, name := range names {
		if strings.HasSuffix(name, ".room") {
			err = errors.Join(err, r.files.fs.Remove(r.files.fs.PathJoin(r.files.dir, name)))
		}
	}
	return err
}

// adjust gives up files, or takes more, until there are as many as wanted. That the
// disk has no room for more is no error.
func (r *reserve) adjust(want int) error {
	for r.count > max(want, 0) {
		if err := r.files.fs.Remove(r.path(r.count - 1)); err != nil {
			return err
		}
		r.count--
	}
	for r.count < want {
		err := r.take()
		if vfs.IsNoSpaceError(err) || unsupported(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take takes one more.
func (r *reserve) take() error {
	name := r.path(r.count)
	f, err := r.files.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if !preallocation && f.Fd() != vfs.InvalidFd {
		err = errors.ErrUnsupported
	} else {
		err = f.Preallocate(0, r.size)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, r.files.fs.Remove(name))
	}
	r.count++
	return nil
}

// Reserved returns the bytes that are taken from the disk for segments to come. It is
// less than [Usage].Free by what does not fill a segment, and by what the disk did not
// have.
func (s *Store) Reserved() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.space.reserve.count) * s.space.reserve.size
}

// keepRoom adjusts the reserve to what the segments leave of Space, where more is
// about to be used. The caller holds mu.
func (s *Store) keepRoom(more int64) error {
	want := 0
	if s.cfg.Preallocate {
		left := s.cfg.Space - s.space.used - more
		for _, f := range s.space.files {
			if *s.space.grows(f) == f {
				left -= max(0, s.cfg.SegmentSize-f.size)
			}
		}
		want = int(left / s.cfg.SegmentSize)
	}
	return s.space.reserve.adjust(want)
}
