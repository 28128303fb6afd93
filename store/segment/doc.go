// Package segment keeps the bodies of chunks on disk: append-only files, each
// record with a checksum, and in the machine's index where each chunk lies.
//
//	Put ─► record appended to the open segment of its class ─► Sync: fsync ─► index
//
// What Put wrote is found at once by this process; after a crash it is there if a
// Sync came between. An index entry is made only after the body it points to is on
// the disk, so whatever the index names can be read.
//
// A record is, all integers big endian:
//
//	 0       4         5       6          8        12      44       48
//	+-------+---------+-------+----------+--------+-------+--------+------+
//	| aSEG  | version | class | reserved | length | ref   | CRC32C | body |
//	+-------+---------+-------+----------+--------+-------+--------+------+
//
// length is that of the body; the checksum covers the 44 bytes before it and the
// body.
//
// Space. A fixed number of bytes is set aside. Replicas are what the machine has
// promised to keep; everything else is cache. The two lie in files of their own, so
// that room for replicas is made by deleting whole files of cache, oldest first.
// Records that nothing points to any more are dead: they go with their file, once
// nothing in it is alive.
//
// Read store.go first, then put.go and sync.go; record.go is the format.
package segment
