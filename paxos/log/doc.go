// Package log is the disk of a Paxos node: what its acceptor has promised and
// accepted, the state that is made of what was chosen, and the snapshots of it, in
// one directory.
//
//	DIR/db/        Pebble: acceptor and state
//	DIR/identity   whose directory this is
//	DIR/snapshot-SLOT, DIR/incoming-SLOT
//	DIR/reserve    room that is given up when the disk is full
//	DIR/closed     the number of the last record, while nobody has it open
//	DIR/damaged    what was found damaged; such a directory does not open again
//
// [Log.Save] makes a record durable with one synced batch, whatever it holds of how
// many slots. [Log.Apply] commits writes of the state together with the slot after
// which they are right, without a sync of its own: what is applied was saved before,
// and is applied again after a crash (etcd issue 13766 is what happens when state
// and slot are kept apart).
//
// A key is a letter and what follows; all values but those of the state end with a
// CRC-32C over key and value, beside the checksums that Pebble keeps of its blocks:
//
//	e SLOT         an accepted entry
//	h              what else the acceptor must not forget, with the number of the record
//	f              the slot to which entries are forgotten
//	g              the generation of the state in use
//	m GENERATION   the slot and the membership after which that state is right
//	s GENERATION … the state
//
// A torn end of Pebble's log is what a crash leaves, and is dropped. Any other
// damage is a [DamagedError]: the promises in it cannot be trusted, so the node must
// come back as another disk would, with a new directory and a new incarnation
// (palantir/atlasdb issues 1504 and 1508). A log that ends before the record that
// the closed file tells of is damaged too.
//
// Read log.go first, then state.go and snapshot.go.
package log
