// Package replica runs a node of a replicated map: the engine of package paxos with
// its disk (paxos/log), its network (paxos/peer) and its state (paxos/kv).
//
//	clients ─► propose ─┐                          ┌─► mesh ─► other nodes
//	other nodes ─► mesh ─┼─► loop: paxos.Node ─────┼─► saver: one sync for all there is
//	timers ─────────────┘        ▲     ▲          └─► applier: map, answers, snapshots
//	                             │     └── applied, restored ──┘
//	                             └──────── saved ─────── saver
//
// The loop is the only goroutine that touches the node. The saver syncs what the loop
// gives it while the messages to other nodes are on their way; what depends on it
// leaves when it is done. While a sync runs, what comes meanwhile gathers for the next
// one. The applier applies what was chosen, in order, and answers whoever waits. The
// state goes to disk many slots at a time (kv.Buffer): a node that was killed applies
// what its log has since then again.
//
// [Client] talks to a cluster from outside: it finds the leader, tries again over all
// endpoints, and its commands are made once.
//
// Read replica.go first, then loop.go, apply.go, serve.go and client.go.
package replica
