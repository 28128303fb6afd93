package segment

import (
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// dropCache takes the first n bytes of a file out of the page cache where they are
// on the disk already.
func dropCache(fd uintptr, n int64) {
	if fd != vfs.InvalidFd && n > 0 {
		_ = unix.Fadvise(int(fd), 0, n, unix.FADV_DONTNEED) // advice: no harm if not taken
	}
}
