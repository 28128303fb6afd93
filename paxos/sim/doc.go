// Package sim runs a cluster of package paxos in a made-up world: virtual time, a
// network, disks, processes and clocks that fail, all drawn from one seed. A run is
// the same whenever it is repeated, so that any failure can be looked at again.
//
// A seed draws the size of the cluster, its clients and a random subset of the
// faults (swarm testing; faults.go has the list). A run has a safety phase, in which
// those happen, and a liveness phase, in which nothing does and the cluster must
// become whole. These are the checks; a failure begins with the letter:
//
//	(a) the clients' history of every key is linearizable (porcupine)
//	(b) one value a slot, at every node and in every quorum of acceptors
//	(c) promises only rise, and nothing is said that is not on disk before
//	(d) after equal slots all nodes have equal state, membership included
//	(e) every command is applied once, however often it was chosen
//	(f) what a client was told is done is not lost, though all nodes crash at once
//	(g) log and memory stay bounded
//	(h) after all is well, every operation is answered and every member is whole
//	(i) no two nodes hold a lease at the same time
//	(j) a snapshot and the values after it make the state that the log makes
//
// (d), (e) and (j) are one comparison: with a reference that applies what is chosen
// in order, each command once.
//
// Whether the checks would notice anything is tested with twelve planted mistakes
// (Mutations), each of which must be caught. Read world.go first, then host.go, which
// drives a node as a real program would.
package sim
