// Package peer carries the messages of Paxos nodes, their snapshots and the requests
// of clients, over the authenticated connections of internal/link.
//
//	Send ──► queue of a node ──► batch ──► TLS 1.3 ──► in order ──► Config.Receive
//
// A node is an address and, once it was heard, a key: messages that say they are from
// a node are taken only from the machine that said so first and is still connected.
// Who knows the cluster's secret belongs to it; without one everybody does who can
// connect, which is for loopback and closed networks.
//
// Messages may be lost: a queue that is full drops the newest, because Paxos asks
// again. What is under way to a node goes in as few batches as there is time for.
//
// Read mesh.go first.
package peer
