// Package kv is a map that all nodes of a Paxos cluster keep alike: what every slot
// chose is applied to it, in order, on each node.
//
//	command ──► Node.Propose ──► chosen ──► [Machine.Apply] ──► [Result]
//	                                            │
//	                                         [Store], with the slot
//
// A command comes from a session: its client and a number that counts up. The last
// number and the answer to it are part of the state, so a command that is sent
// again, over another node perhaps, is answered again and not made again. A session
// that was forgotten answers ErrSession instead of guessing. A client has one command
// under way at a time in a session.
//
// Time is part of the state as well: each command carries the clock of the leader
// that proposed it, and the state's time is the highest so far. Leases end by it, on
// all nodes in the same slot.
//
// A machine keeps a hash of its whole state, which costs nothing to keep: the sum of
// the hashes of all pairs. Nodes whose hashes differ after the same slot stop.
//
// Applying never fails for what is in a command: that is an answer, the same on all
// nodes. It fails when the Store does, and then this node must stop.
//
// Keys of the Store are a letter and what follows:
//
//	k KEY          a [Value]
//	s CLIENT       a session: last number, answer, slot when last active
//	o SLOT CLIENT  the same sessions by that slot
//	l LEASE        a lease: its length and when it ends
//	x TIME LEASE   the same leases by when they end
//	a LEASE KEY    the keys of a lease
//	c              time, hash and how many sessions, leases and bytes there are
//
// Read command.go first, then machine.go.
package kv
