// Package records keeps named records on the ring of package dht, with compare-and-set,
// leases and watches, so that of two successes none ever contradicts the other:
// whatever crashes, is cut off or is told wrong about the ring, while owners change and
// arcs are split.
//
// # How it works
//
// A name belongs to a point of the circle, and the circle is divided into arcs. The
// records of an arc are kept by a group: a few nodes, one of which leads, for one
// epoch. The leader alone evaluates requests; it numbers its writes 1, 2, 3 … and each
// member takes them in that order, on disk before it says so. A write is done when a
// majority has it. A read is answered when what it saw is done, and a majority has
// said, after the read came, that the epoch is still open; all reads that wait share
// one such round.
//
// When the ring changes (a node joined, died or began a new life) the owner of the
// arc's end proposes what follows the epoch, by Lamport's Paxos for one decree among
// the group's members ("Paxos Made Simple", section 2):
//
//	prepare    to promise is to seal: no member that promised takes a write of this
//	           epoch again
//	gather     of a majority that promised, the member with most writes hands out its
//	           records, unless the proposer is that member itself
//	install    the next groups are handed their records, on disk and marked with the
//	           proposer's ballot: a majority of each, and its leader. A member that has
//	           the same writes takes its own copy
//	accept     a majority accepts: one group, two when the arc is split at a node that
//	           joined, or none, when a lineage is dissolved into another
//	decided    is told to the old and the new; what was installed under that very
//	           ballot becomes the group's first records
//
// Arcs are split so that the owner of a point leads there; they are not joined again,
// and not split when a node knows 4,096 of them. The first request in a ring that keeps
// nothing makes its owner of point 0 found a lineage, when all that it sees have said
// that they know of none. Where two rings meet that each had one, the greater lineage
// number is dissolved: its groups are sealed, and their records put into the other,
// the higher version winning, then the greater value; each loss is an event.
//
// # Why it is right
//
// No two epochs both accept. For a next epoch to be decided, a majority of the members
// has promised. A write of the old one, and the confirmation of a read, needs a
// majority that has not, and every two majorities share a member. So of an arc's
// epochs only the last can have successes, and what follows an epoch is one decision
// by the argument for Paxos: a proposer whose promises tell of an acceptance proposes
// that and nothing else. Ballots carry the proposer and its life, so that none is used
// twice. A leader that starts anew has forgotten what it had evaluated; it does not
// lead in its new life.
//
// Nothing acknowledged is lost. A write that is done is on a majority of members that
// had the first records; the majority that promised shares a member with it. Members
// have the leader's writes in order, without gaps, so of those that promised, the one
// with most has everything that any of them has. What it has beyond that was never
// done, and may be kept or not: it is kept or not by all, because records are
// installed whole, under one ballot, and the decision names the ballot. Were copies
// of two attempts mixed, a write could vanish and come back later. Promises count of
// members without first records too: the majority that was handed them meets every
// majority that promises.
//
// What a member promised is never forgotten while it counts. A replica is dropped when
// the groups that follow are known to majorities of their own members, who can be asked
// then; until then its members tell them. And each node keeps floors: the highest epoch
// it took part in, by arc. It does not become a member of an epoch at or below its
// floor, so that no late message makes it promise anew what it promised before.
//
// Repeated requests are done once. A record remembers the IDs of its last eight
// writes, and with it all that hold it do. A request that comes again later than that
// is answered Unknown when it says that it comes again, since nobody can tell.
//
// Clocks are not compared. A record's TTL is what is left of it, counted by whoever
// leads from when it got the record; its end is a write like any other. A lease is
// counted in full by a new leader, and by its holder from before it asked, so the
// holder is the first to think it over.
//
// # What it does not do
//
// Without a majority of an arc's group nothing is read or written there: requests end
// with NoMajority and the names of who is missing, for as long as they are. Two of two,
// two of three, three of five must live. If a majority is lost for ever, the arc's
// records are; nothing replaces them silently. A node whose disk is wiped must come back
// under another ID: under its own it would be taken for the one that promised. Rings
// that were founded apart can contradict each other until they meet. A ring's view
// that is wrong costs time, and groups that change in vain, but no record.
//
// # Glossary
//
// An arc is the points from behind one to another. A group is who keeps an arc in one
// epoch: members and leader. A lineage is all groups that come of one founding. To seal
// is to promise. A staged group is proposed and has records here; an active one was
// decided; a past one was followed by others. A tiding is what a node tells of a group.
//
//	            Install                Decided                 Decided (of the next)
//	(nothing) ───────────► staged ────────────────► active ───────────────► past ──► (nothing)
//	                          │ another was decided    ▲  │ Prepare            the next are known
//	                          ▼                        │  ▼                    to majorities
//	                      (nothing)                    │ sealed
//	(nothing) ─────────────────────────────────────────┘
//	            Decided, without records: it counts in promises, not in writes
//
// Read record.go and request.go first, then lead.go for how requests are done,
// replica.go and acceptor.go for a member, change.go for a proposer, survey.go for when
// to change what, lineage.go for the beginning, and disk.go for what must be saved.
package records
