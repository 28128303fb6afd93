// Package peer runs a node of a ring: the engines of package dht and its rooms with
// their network, their disk and their clients.
//
//	clients ────► serve ──┐                            ┌─► links ─► other nodes
//	other nodes ─► links ─┼─► loop: dht.Node, records, ┼─► saver: one sync for all there is
//	timers ───────────────┘   topics, tasks            └─► services, in workers
//	                             ▲                  │
//	                             └──── saved ───────┘
//
// The loop is the only goroutine that touches the engines. What they have to say goes
// out as parcels: those for one node together, and what answers a batch at once comes
// back in the answer, so that asking a node whether it lives costs two frames. The
// saver syncs what the records' engine wants saved; what depends on it leaves then.
//
// A node is an Ed25519 key in its directory, and its ID the hash of it: a connection
// (internal/link) proves the key, so nobody speaks for an ID not its own. Connections
// are opened when there is something to say and closed when there was nothing for a
// while. A connection that is refused or breaks is a hint for the engine, which asks
// before it believes in a death.
//
// Glossary: a parcel is a message of one engine on its way; a batch is the parcels that
// one node sends another at once; a contact is an address at which there may be a node;
// a service answers requests that are sent to an ID.
//
// [Client] talks to a node from outside, as the commands do.
//
// Read node.go first, then loop.go, links.go and client.go.
package peer
