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
// Read machine.go first (what a directory holds), then core.go (how changes
// happen), then serve.go (the network).
package node
