// Package index holds ordered keys and values for the rooms of the drive. It has
// the two implementations of [store.KV]:
//
//	Memory   a sorted tree in memory, for tests and simulations.
//	Pebble   a log-structured merge tree in a directory; one a machine.
//
// Both pass the same conformance tests. What a Txn has not committed is seen by
// that Txn alone; what it has committed is seen by all. A Scan sees the keys as
// they were when it began, whatever its callback changes.
//
// Durability is that of [store.Txn.Commit]: commits without sync reach the disk
// in the order in which they were made, a later sync carries all of them, and
// concurrent syncs share one fsync. A Pebble gathers what need not be on the disk yet
// for some milliseconds and writes it as one batch (gather.go), and it remembers what
// was read and written last (below.go): records that are changed again and again, as the
// totals of a tree are, are then neither written nor looked for each time.
//
// With [Config.Key] the files of a Pebble are encrypted: AES-256-CTR under a key
// for each file, derived with HKDF-SHA-256 (RFC 5869) from Config.Key and the salt
// in the file's header. A disk that is stolen shows how many files there are and
// how large they are, and nothing of keys and values. A log that takes the place
// of an old one gets a new header, so that no keystream is used for two texts. The
// checksums of Pebble cover the text: they find what a disk has damaged. They are
// no defence against somebody who changes the files on purpose and gives the disk
// back; what must withstand that is signed or sealed before it comes here.
//
// A directory that is damaged is not opened, and a value that is damaged is not
// returned: the error is [ErrDamaged] and names the file. In particular, files
// that are missing never make an empty index.
//
// Read memory.go first: it is the specification in a page. Then pebble.go, txn.go,
// gather.go, read.go, damage.go, and the file systems that Pebble is given: ordered.go and sealed.go.
package index
