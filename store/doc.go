// Package store is the vocabulary that the rooms of the drive share: machines,
// stamps, chunk addresses, what a version of a file holds, and the small ordered
// key-value interface behind which every room keeps what must outlive memory.
// It does nothing by itself.
//
//	Machine    a member of the pool; its ID is the hash of its Ed25519 key.
//	Stamp      hybrid logical time and machine: the total order of changes.
//	Dot        (machine, sequence number): the name of one change.
//	Vector     for each machine the last of its changes that somebody has seen.
//	Ref        the address of a chunk: a keyed hash of what it holds.
//	Content    a file's bytes: how many, and the chunk or list of chunks that
//	           leads to them.
//	KV, Txn    ordered keys and values; package store/index keeps them on disk.
//
// The rooms, from the disk upwards: segment (chunk bodies), index (keys and
// values), chunk (cut, compress, seal, name), tree (names, versions, conflicts),
// gossip (who has heard what), place (which machines keep a file), replicate
// (copies), drive (files), pool (who belongs), mount and webdav (faces), node (all of
// it on a network).
package store
