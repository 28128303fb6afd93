package records

import (
	"time"

	"github.com/aether-lan/aether/dht"
)

// Packet is a message on its way.
type Packet struct {
	To      dht.Peer
	Message Message
}

// Message is what engines tell each other. The names of phase 1 and 2 are Lamport's
// ("Paxos Made Simple", section 2.2); the rest are this package's.
type Message interface{ kind() kind }

type kind uint8

const (
	kindArcs kind = 1 + iota
	kindPrepare
	kindPromise
	kindNack
	kindGather
	kindPiece
	kindInstall
	kindInstalled
	kindAccept
	kindAccepted
	kindDecided
	kindActive
	kindWrite
	kindWrote
	kindUnheard
	kindConfirm
	kindConfirmed
	kindAbandon
	kindAsk
	kindReply
)

// Tiding is a group that was decided, as a node knows it.
type Tiding struct {
	Group Group
	// Established: a majority of its members keep its records, by the word of its
	// leader.
	Established bool
	// Sealed: the sender is a member and accepts no more writes of this epoch, and
	// does not know what follows.
	Sealed bool
	// Over: the sender was a member, and has forgotten the group because all that
	// follows it is kept by majorities that know it.
	Over bool
	// Staged: the group is only proposed. The sender holds its first records and asks
	// what became of it.
	Staged bool
}

// Arcs tells what the sender knows of lineages and groups.
type Arcs struct {
	Lineage   uint64 // the least that it has heard of; 0 none
	Candidate uint64 // the lineage that it would found; 0 none
	Ask       bool   // please answer with yours
	Leaving   bool   // the sender wants to be a member no more
	Hops      uint8  // how often it was passed on towards the owner of its arc
	List      []Tiding
}

// Prepare is phase 1a: seal the epoch, and promise. It carries the group, because a
// member may not have heard that it is one.
type Prepare struct {
	Group  Group
	Ballot Ballot
}

// Promise is phase 1b. Seq is the last write that the member has; none will follow.
type Promise struct {
	Of        Ref
	Ballot    Ballot
	Accepted  Ballot // of Decision; zero when none was accepted
	Decision  Decision
	Installed bool // it had the group's first records
	Leaving   bool // it wants to be a member no more
	Seq       uint64
}

// Nack refuses a ballot: a higher one was promised.
type Nack struct {
	Of               Ref
	Ballot, Promised Ballot
}

// Gather asks a sealed member for its records, by name, from behind After.
type Gather struct {
	Of     Ref
	Ballot Ballot
	After  string
}

// Entry is a record on its way: its fields as AppendRecord writes them, never taken
// apart in between.
type Entry struct {
	Name string
	// Left is the rest of the record's TTL; 0: none, or all of it.
	Left   time.Duration
	Record []byte // empty: the name is forgotten
}

// Piece answers a Gather.
type Piece struct {
	Of      Ref
	Ballot  Ballot
	After   string
	Last    bool
	Entries []Entry
}

// Install hands the first records of a proposed group to a member of it, in parts
// from 0. Own: take them from the sealed group Of, which you have up to Seq.
type Install struct {
	Of      Ref
	Group   Group
	Own     bool
	Seq     uint64
	Part    uint64
	Last    bool
	Entries []Entry
}

// Installed says that Part is on disk: of Last, that all is.
type Installed struct {
	Of   Ref // the group that is proposed
	Part uint64
	Last bool
	// Refused: the member will not have it: it knows better, or it is full.
	Refused bool
}

// Accept is phase 2a.
type Accept struct {
	Of       Ref
	Ballot   Ballot
	Decision Decision
}

// Accepted is phase 2b.
type Accepted struct {
	Of     Ref
	Ballot Ballot
}

// Decided tells what follows the group Of. With a zero Of, its Groups just are.
type Decided struct {
	Of       Ref
	Decision Decision
}

// Active answers Decided: the sender is an active member of the groups, or knows
// later ones.
type Active struct{ Of []Ref }

// Write carries the writes of a group from number First on, without a gap. Without
// entries it asks how far the member is.
type Write struct {
	Of          Ref
	First       uint64
	Established bool
	Entries     []Entry
}

// Wrote says that the member has all writes up to Seq on disk.
type Wrote struct {
	Of        Ref
	Seq       uint64
	Installed bool // else it lacks the first records and counts for nothing
	Full      bool // it has no more room
}

// Unheard says that the sender knows of no such group.
type Unheard struct{ Of Ref }

// Confirm asks whether the epoch is still open. Rounds rise.
type Confirm struct {
	Of    Ref
	Round uint64
}

// Confirmed says that it was, when the Confirm came.
type Confirmed struct {
	Of    Ref
	Round uint64
}

// Abandon says that a proposed group will never be decided: its first records may go.
type Abandon struct{ Of Ref }

// Ask brings a request, Reply its outcome.
type Ask struct{ Request Request }

// Reply is the outcome of a request that came in Ask.
type Reply struct{ Response Response }

func (Arcs) kind() kind      { return kindArcs }
func (Prepare) kind() kind   { return kindPrepare }
func (Promise) kind() kind   { return kindPromise }
func (Nack) kind() kind      { return kindNack }
func (Gather) kind() kind    { return kindGather }
func (Piece) kind() kind     { return kindPiece }
func (Install) kind() kind   { return kindInstall }
func (Installed) kind() kind { return kindInstalled }
func (Accept) kind() kind    { return kindAccept }
func (Accepted) kind() kind  { return kindAccepted }
func (Decided) kind() kind   { return kindDecided }
func (Active) kind() kind    { return kindActive }
func (Write) kind() kind     { return kindWrite }
func (Wrote) kind() kind     { return kindWrote }
func (Unheard) kind() kind   { return kindUnheard }
func (Confirm) kind() kind   { return kindConfirm }
func (Confirmed) kind() kind { return kindConfirmed }
func (Abandon) kind() kind   { return kindAbandon }
func (Ask) kind() kind       { return kindAsk }
func (Reply) kind() kind     { return kindReply }
