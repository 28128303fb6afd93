// Package index keeps ordered keys and values for the rooms of the store: on disk
// with Pebble, one database a machine, or in memory for tests. Both implement
// [store.KV] and pass the same tests.
//
// Pebble's write-ahead log gives what the rooms rely on: commits become durable in
// the order in which they were made, and one fsync serves all that wait for one.
package index
