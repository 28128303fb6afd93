package segment

import (
	"errors"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// preallocation says that Preallocate takes room from the disk here, so that what is
// written later finds it.
const preallocation = true

// openDirect opens the file at path for reads and writes that go past the page cache. It
// returns nil where f is not a file of the kernel, or its file system cannot.
func openDirect(f vfs.File, path string) *os.File {
	if f.Fd() == vfs.InvalidFd {
		return nil
	}
	direct, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return direct
}

// refusesDirect reports that a direct write failed because of its form, not of the
// disk: the file system wants another alignment, or copies to another one.
func refusesDirect(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}

// uncache makes the system forget what it remembers of a part of the file, as far as
// that is on the disk, so that what is read next comes from there.
func (h *handle) uncache(offset, length int64) {
	if h.Fd() != vfs.InvalidFd {
		_ = unix.Fadvise(int(h.Fd()), offset, length, unix.FADV_DONTNEED) // a hint
	}
}

// remembered reports whether the system has a part of the file, all of it, in its cache.
// It says yes where it cannot tell.
func (h *handle) remembered(offset, length int64) bool {
	pages, ok := h.cached(offset, length)
	return !ok || pages*int64(os.Getpagesize()) >= length
}

// cached returns how many pages of a part of the file the system has in its cache, if it
// can tell: Linux can since 6.5.
func (h *handle) cached(offset, length int64) (pages int64, ok bool) {
	if h.Fd() == vfs.InvalidFd {
		return 0, false
	}
	var st unix.Cachestat_t
	err := unix.Cachestat(uint(h.Fd()), &unix.CachestatRange{Off: uint64(offset), Len: uint64(length)}, &st, 0)
	return int64(st.Cache), err == nil
}

// readAhead says whether the system shall read ahead in the file. It need not where
// records are read past its cache: who reads a file that lies in several of them knows
// better what comes next, and what is read ahead would be in the cache.
func (h *handle) readAhead(on bool) {
	if _, ok := h.cached(0, 1); !ok {
		return // nothing will be read past the cache
	}
	advice := unix.FADV_RANDOM
	if on {
		advice = unix.FADV_NORMAL
	}
	_ = unix.Fadvise(int(h.Fd()), 0, 0, advice) // a hint
}
