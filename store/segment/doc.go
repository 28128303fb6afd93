// Package segment keeps the bodies of chunks in append-only files, and knows how
// much of the space set aside is replicas, cache, dead and free.
//
// A segment is a file NNNNNNNN.seg of records, one behind the other:
//
//	offset size
//	0      4    "AEch"
//	4      4    length of the body
//	8      1    class when it was put: 0 replica, 1 cache
//	9      3    zero
//	12     4    CRC-32C of everything but itself
//	16     32   Ref
//	48          body
//
// Integers are big endian. Replicas and cache go to segments of their own, so that
// evicting cache frees whole files. The index is in a [store.KV], under
// [store.PrefixSegment]:
//
//	r Ref              → segment, offset, length of the body, class
//	o segment, offset  → Ref: what lies in a segment
//	g segment          → class, size up to which all is indexed, live bytes by class
//
// Put takes room on the disk and copies a record into memory, from where complete
// blocks of a segment are written behind its back. Sync writes the rest, makes the
// bodies durable and only then commits their index entries, so an entry never points to a body
// that a crash can take. Open looks at what was written behind the indexed part of
// each segment: whole records are taken in, a torn tail is left as dead bytes.
//
// Dead bytes, of deleted and evicted records, come back when their segment is
// compacted: what lives is copied, checked, synced, the index switched, and only
// then the file removed.
//
// Read store.go first, then behind.go, record.go and space.go.
package segment
