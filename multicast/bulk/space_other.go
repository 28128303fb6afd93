//go:build !linux

package bulk

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// freeSpace is not known here: a full disk is noticed when it is full.
func freeSpace(string) (uint64, bool) { return 0, false }

func allocated(fs.FileInfo) uint64 { return 0 }

// errorDiskFull is what Windows says (ERROR_DISK_FULL).
const errorDiskFull = syscall.Errno(112)

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, errorDiskFull) }

func syncDir(*os.Root) {}
