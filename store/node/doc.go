// Package node is a machine of a pool: the directory it keeps everything in, and
// the node that serves it on a network. It alone wires the rooms of the store to
// each other and to the rooms of the network.
//
//	commands ─► Client ─► control socket ─► Machine.drive ─► Journal.Do ┐
//	                                                                    ▼
//	discovery ─► link.Mesh ─► methodGossip ─► core (gossip, tree, replicate) ─► events
//	   linklocal, mdns, dnssd    methodBodies ◄─► segment                        │
//	                                  ▲──────────── fetches of replicate ◄───────┘
//
// core is an engine like any other: everything that changes the tree, the log and
// the list of copies still to be made happens alone with it, under its lock, in
// one Txn each. Nothing leaves core before what it depends on is on the disk.
//
// What keeps itself in order: upkeep.go forgets old versions, collects garbage, gives
// its room back and reads the disk for rot; namelog.go writes the operations to the
// segments, from which a lost index is made anew.
//
// What people are told: status.go, whose first question is whether the data is safe;
// census.go counts copies in the background for it, alarm.go keeps what is wrong, state.go
// has the six words for it all. metrics.go says the same to Prometheus, happenings.go
// tells who follows what happens, conflicts.go lists and settles conflict copies.
//
// Who asks too much: flood.go has each machine wait for itself.
//
// What cannot be trusted: trust.go keeps a machine that lost operations of its own from
// using their numbers again and says who forged or forked; clock.go stamps changes by the
// median of all clocks; roots.go compares drives that should be the same and mends them;
// lease.go retires the long absent and has what was removed forgotten; comeback.go does
// again what a machine did in such an absence.
//
// Who belongs: members.go has what machines say of themselves, standing.go what is said
// of them (left, forgotten, revoked), both in the log, so that all know it. admit.go
// decides who may connect; refusals.go keeps who might not. A machine comes in with the
// pool's secret in a file, or by an invitation:
//
//	invite.go (a member)                               join.go, joinwire.go (the new machine)
//	  shows a code of six words, announces itself  ◄──── looks for _aether-join._tcp
//	             ◄──── TLS 1.3 under ALPN aether-join/1, both keys ────►
//	             ◄──── HMAC under Argon2id(code, keying material) ────── proves first
//	  proves the same ────►
//	             ◄──── name
//	  says in the log that it is a member
//	  secrets, certificate, addresses of members ────►  all on the disk
//	             ◄──── joined
//
// leave.go is the way out: others take over what the machine keeps, it says goodbye, and
// its directory is emptied.
//
// Who may read: generations.go begins new keys, secrets.go brings them to members,
// rekey.go seals anew what is under older ones.
//
// How copies come about and stay: replicate orders fetches, fetch.go carries them out,
// small files in batches, and large ones (swarm.go, window.go) piece by piece from all
// machines that have some, those that are fetching themselves among them. read.go brings
// what somebody waits for from whoever is likely to be quickest, and asks a second one
// when that takes long. fault.go keeps who sent something wrong; it is asked last for a
// while. heal.go counts who has been away for longer than the grace as lost, and has its
// copies made anew. prove.go looks whether all is here after an end that was not clean;
// until then nothing that is here counts. challenge.go asks others for proofs of what they
// say they have. pin.go keeps what is pinned, warm.go fills the cache, limits.go bounds
// what is sent and received.
//
// Read machine.go first (what a directory holds), then core.go (how changes
// happen), then serve.go (the network).
package node
