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
//	Inventory  a machine's soft state, newest wins, signed by it; memory only.
//	Chain      a hash of an entry and all of its author before it.
//	Head       a place in a chain that the author has signed; the signature, with
//	           the author's key, is its Seal.
//	Claim      a peer's head of our own log.
//	Evidence   entries that are sent to be compared, not to be stored.
//	Fork       an author has signed two logs.
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
// Nobody can write under another's name: entries are taken only under a head, which
// the author signs when it first sends them, and relays pass on. Of two logs under
// one name the first that came stays, who has it takes no more of the author, and
// tells others, who see for themselves (Li et al., "Secure Untrusted Data Repository
// (SUNDR)", 2004, calls what cannot be seen by one machine alone fork consistency).
// A machine that has lost entries of its own hears so by the claims of others and
// appends none before they are back, else it would fork.
//
// Read engine.go first, then push.go and receive.go; chain.go and prove.go say who
// is believed, message.go has the codec.
package gossip
