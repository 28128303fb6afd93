// Package gossip spreads numbered entries among the machines of a pool: each
// machine writes a log of its own, every machine keeps the logs of all, and
// whoever meets hands the other what it lacks. It is anti-entropy by vectors
// (Demers et al., "Epidemic Algorithms for Replicated Database Maintenance",
// 1987; Petersen et al., "Flexible Update Propagation for Weakly Consistent
// Replication", 1997), with pushes so that news need not wait for a round.
//
// Entries are opaque bytes. The engine is pure: packets and instants in, packets
// and events out; what must outlive memory goes into a [store.KV].
//
//	Dot        (machine, number): the name of an entry, counted from 1.
//	Vector     for each machine the last entry that is here, without gaps.
//	Lag        what a peer's vector lacks of ours.
//	Push       sending a peer its lag; it goes on until the peer has caught up.
//	Flight     an Entries message that the peer has not acknowledged.
//	Window     how many flights one peer may have.
//	Exchange   a vector sent to one random peer every Interval.
//	Inventory  a machine's soft state, newest wins; memory only.
//
// The life of an entry that arrives, and of one written here:
//
//	HandlePacket ─► Received ─► Store(tx) ─┐
//	                Append(tx) ────────────┴─► tx.Commit ─► Committed ─► Outgoing
//	                                       └─► tx.Discard ─► Rollback
//
// Nothing that Outgoing returns depends on more than what [Engine.Committed] has
// confirmed; neither a vector nor an acknowledgement speaks of entries that wait.
// After Rollback the entries that came are handed over again by Received.
//
// A conversation between A, which has news, and B:
//
//	A ─ Vector ─► B      on connection both say what they have
//	A ◄─ Vector ─ B
//	A ─ Entries ─► B     up to Window messages
//	A ◄─ Ack ─ B         once they are committed; opens the window
//
// An Entries message names the other machines that were sent the same, so that
// B does not send it to them again; where the guess was wrong, the next exchange
// says so. A message that leaves a gap is not applied: B answers with its vector.
//
// Read engine.go first, then push.go and receive.go; message.go has the codec.
package gossip
