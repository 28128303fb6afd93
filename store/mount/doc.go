// Package mount shows the drive as a directory of the local file system, by FUSE
// (Linux, go-fuse). It speaks the kernel's own protocol, where every file is a
// number, and the drive's access by file ID, so that nothing here deals in paths.
//
//	program ─► kernel (page cache, names, attributes) ─► kernelFS ─► drive.Inode, drive.*At
//	                   ▲                                               │
//	                   └── notify: what others changed ◄── drive.Watch ┘
//
// The kernel keeps names, attributes and pages for long, because the drive tells of
// every change that was not made through the mount. Writes are gathered in the
// kernel's page cache (write-back) and reach the drive in requests of up to a
// megabyte.
//
// What is durable when: close and fsync of a file that was written to, and fsync of
// a directory, return when the local disk has it. Names that were made, renamed or
// removed without that follow within a few seconds, in the order in which they were
// made, like on other file systems.
//
// Locks (flock, fcntl) are those of the local kernel: they hold between programs on
// this machine. Owner and group are kept as numbers. Access times are not kept.
// The time of a directory goes with its entries. Holes of sparse files are known by
// SEEK_DATA and SEEK_HOLE, and count as not taken where a file is of 16 MiB or more.
// Names must be UTF-8 (EILSEQ), of at most 255 bytes. Device nodes cannot be made.
//
// Read mount.go first, then kernel_linux.go.
package mount
