package records

import (
	"fmt"
	"slices"

	"github.com/aether-lan/aether/dht"
)

// Arc is the points of the circle from behind From up to To. From a point to itself
// it is the whole circle.
type Arc struct{ From, To dht.ID }

// Contains reports whether k lies in the arc.
func (a Arc) Contains(k dht.ID) bool { return dht.Owns(a.From, a.To, k) }

// Overlaps reports whether the arcs have a point in common.
func (a Arc) Overlaps(b Arc) bool { return a.Contains(b.To) || b.Contains(a.To) }

// Ballot numbers the attempts to decide what follows a group. The life of the
// proposer is part of it: a node that forgot its attempts does not use their numbers
// again.
type Ballot struct {
	Round       uint64
	ID          dht.ID
	Incarnation uint64
}

// Less orders ballots.
func (b Ballot) Less(c Ballot) bool {
	if b.Round != c.Round {
		return b.Round < c.Round
	}
	if o := b.ID.Compare(c.ID); o != 0 {
		return o < 0
	}
	return b.Incarnation < c.Incarnation
}

// IsZero reports whether b is no ballot.
func (b Ballot) IsZero() bool { return b.Round == 0 }

// Ref names a group. Of all groups that were ever decided, Lineage, Epoch and To name
// one; Tag tells apart what was only proposed.
type Ref struct {
	Lineage, Epoch uint64
	To             dht.ID
	Tag            Ballot
}

// Group says who keeps the records of an arc in one epoch.
type Group struct {
	Lineage uint64 // of which genesis
	Epoch   uint64 // from 1
	Arc     Arc
	Tag     Ballot // under which its first records were handed out; zero for genesis
	Members []dht.Peer
	Leader  dht.Peer // one of the members, in one of its lives
}

// MaxMembers bounds a group.
const MaxMembers = 15

// Ref returns the name of the group.
func (g Group) Ref() Ref { return Ref{g.Lineage, g.Epoch, g.Arc.To, g.Tag} }

// Has reports whether the node id is a member.
func (g Group) Has(id dht.ID) bool {
	return slices.ContainsFunc(g.Members, func(p dht.Peer) bool { return p.ID == id })
}

// majority is how many members decide.
func (g Group) majority() int { return len(g.Members)/2 + 1 }

// supersedes reports whether g comes after h at some point of the circle: then h's
// leader does not lead there any more.
func (g Group) supersedes(h Group) bool {
	return g.Lineage == h.Lineage && g.Epoch > h.Epoch && g.Arc.Overlaps(h.Arc)
}

// String returns "epoch 3 of 7f…, (a, b], led by …" for people.
func (g Group) String() string {
	return fmt.Sprintf("epoch %d of %016x (%x, %x] led by %x", g.Epoch, g.Lineage, g.Arc.From[:4], g.Arc.To[:4], g.Leader.ID[:4])
}

// Decision is what follows a group: one group, two when its arc is split, or none
// when its lineage is dissolved into another.
type Decision struct {
	Groups []Group
	Into   uint64 // the lineage it was dissolved into
}

// isZero reports whether d is no decision.
func (d Decision) isZero() bool { return len(d.Groups) == 0 && d.Into == 0 }
