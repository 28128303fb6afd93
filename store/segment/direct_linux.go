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
// It says yes where it cannot tell (Linux before 6.5).
func (h *handle) remembered(offset, length int64) bool {
	if h.Fd() == vfs.InvalidFd {
		return true
	}
	var st unix.Cachestat_t
	err := unix.Cachestat(uint(h.Fd()), &unix.CachestatRange{Off: uint64(offset), Len: uint64(length)}, &st, 0)
	return err != nil || int64(st.Cache)*int64(os.Getpagesize()) >= length
}

// unordered tells the system not to read ahead in the file: records are read whole, and
// who reads a file that lies in several of them knows better what comes next.
func (h *handle) unordered() {
	if h.Fd() != vfs.InvalidFd {
		_ = unix.Fadvise(int(h.Fd()), 0, 0, unix.FADV_RANDOM) // a hint
	}
}
