// Package replicate makes the copies that the drive has promised: it knows which
// versions of files belong on this machine and are not here yet, and says which of
// them to fetch from whom. It is an engine: no goroutine, clock, socket or file of
// its own; what must outlive memory lies in a [store.KV].
//
// Copies are pulled. The writer of a version records in it the machines that shall
// keep it, its holders; the version reaches every machine as part of the tree, and
// each holder fetches what it lacks from whoever has it: the author first, then
// holders that say they have it, then anybody.
//
//	            Assign                 HandleTimeout             Done
//	version ─────────────► queued ───────────────────► fetching ───────► held
//	                         ▲     a source is free        │
//	                         └──────── Done: missing, failed; PeerDown
//	            Hold (written here, or found here): held at once
//	            Forget (superseded, deleted): out of the queue
//
// Glossary:
//
//	Assignment  a version and the machines that shall keep it
//	Fetch       an order to the driver: get these versions from this peer
//	Inventory   for each author, which of its versions a machine has made sure of
//	Watermark   every version of the author up to this number that is assigned to
//	            the machine and still wanted is durable there
//	Author      the machine that made the version (Dot.Machine)
//	Piece       one chunk of data of a version, by its number
//	Fresh       of a piece: not yet given to anybody who still asks
//	Doubt       a machine could not prove that it has what it told; see [Engine.Doubt]
//
// The driver calls HandleTimeout when NextTimeout says, carries out what Outgoing
// hands over, makes the chunks durable, and only then calls Done. It commits the
// transaction it gave to a method before it calls HandleTimeout again; should it
// discard one, nothing is lost, the work is done again.
//
// Two further engines stand beside it. A [Swarm] fetches the pieces of one large version
// from all machines that have some of them, and [Share] is its giving side: whoever has
// everything gives each piece to one machine first, so that the writer sends about one
// copy however many receive it. [Sources] says whom to ask for a chunk that somebody
// waits for, and when to ask a second machine besides.
//
// Read engine.go first, then plan.go (who is asked for what) and inventory.go; then
// swarm.go and share.go, and sources.go.
package replicate
