package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache makes the system forget what it remembers of the file p.
func dropCache(p string) error {
	f, err := os.Open(p)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
}

// spreadOut lets the file system lay directories below dir apart (chattr +T), so that
// files made here do not meet inodes that were just deleted, which some file systems
// avoid at great cost. It is a hint.
func spreadOut(dir string) {
	f, err := os.Open(dir)
	if err != nil {
		return
	}
	defer f.Close()
	const top = 0x00020000 // FS_TOPDIR_FL
	if flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|top)
	}
}
