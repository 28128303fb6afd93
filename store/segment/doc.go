// Package segment keeps the bodies of chunks in append-only files, and knows how
// much of the space set aside is replicas, cache, dead and free.
//
// A segment is a file NNNNNNNN.seg of records, one behind the other:
//
//	offset size
//	0      4    "AEch"
//	4      4    length of the body
//	8      1    class when it was put: 0 replica, 1 cache, 2 log
//	9      1    version: 0, or 1 when a number follows the head
//	10     2    zero
//	12     4    CRC-32C of everything but itself
//	16     32   Ref
//	48     8    version 1 only: a number that grows from log record to log record
//	            body
//
// Integers are big endian. Replicas and cache go to segments of their own, so that
// evicting cache frees whole files; log records lie with the replicas. What
// compaction moves goes to other segments than what is put. The index is in a
// [store.KV], under [store.PrefixSegment]:
//
//	r Ref              → segment, offset, length of the body, class, number if any
//	o segment, offset  → Ref: what lies in a segment
//	l number, Ref      → nothing: the log in its order
//	g segment          → class, size up to which all is indexed, live bytes by class
//	n                  → greatest numbers given to a segment and to the log; an index
//	                     without it is lost
//	c                  → where a scrub stands
//	x Ref              → where a body was that Open found lost
//
// Put takes room on the disk and copies a record into memory, from where complete
// blocks of a segment are written behind its back. Sync writes the rest, makes the
// bodies durable and only then commits their index entries, so an entry never points to a body
// that a crash can take.
//
// The entries themselves are not synced, one fdatasync is enough: g says up to which
// size the index knows all that lives in a segment, and Open looks for records behind
// that, also behind gaps and torn ones, and takes them in. So what is deleted, or changes its class, does
// need a sync of the index before it counts as durable, and so does all that compaction and
// eviction did before the file goes that it was about. Commits of the index are
// durable in their order; a crash never leaves a later one without an earlier.
//
// Files NNNNNNNN.room have blocks and no length: room for a segment each, where it is
// to be had in advance.
//
// Bodies leave a reserve of the disk free, because the index needs room to take what
// removes something: see disk.go. Below it cache is given up, then nothing more is put.
//
// Dead bytes, of deleted and evicted records, come back when their segment is
// compacted: what lives is copied, synced, read back, the index switched, that synced, and only
// then the file removed, and its entry last.
//
// Read store.go first, then put.go, sync.go, behind.go, record.go, recover.go, space.go,
// compact.go and scrub.go.
package segment
