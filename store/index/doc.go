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
// concurrent syncs share one fsync.
//
// Read memory.go first: it is the specification in a page.
package index
