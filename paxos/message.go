package paxos

import "time"

// Message is what nodes send each other.
type Message struct {
	From, To NodeID // To may be Everyone
	Cluster  ClusterID
	// Incarnation is that of From; Confirmed that its votes count in the first
	// membership (see hello.go).
	Incarnation Incarnation
	Confirmed   bool
	Body        Body
}

// Body is what a message says: one of the types below.
type Body interface{ body() kind }

// Hello asks the other members of the first membership whether they know the
// sender's ID by another incarnation, and tells a leader who is there.
type Hello struct {
	Chosen Slot
	Asking bool // the sender wants a HelloReply
}

// HelloReply answers Hello.
type HelloReply struct {
	// Known is the incarnation that the answering node has bound to the ID that asks,
	// durably: the asking one unless an earlier disk said Hello before.
	Known Incarnation
	// Formed: the cluster has left its first membership, so that only a change of
	// membership lets the asking incarnation count.
	Formed bool
}

// Poll asks "would you promise Ballot?", without raising anything (pre-phase-1).
type Poll struct {
	Ballot Ballot
	Chosen Slot
}

// PollReply answers Poll.
type PollReply struct {
	Ballot  Ballot // of the poll
	Granted bool
	Highest Ballot // the highest that the answering node has promised
	Chosen  Slot
	Leader  NodeID // the live leader because of which it was not granted, or 0
}

// Prepare is phase 1a for all slots from First on (PMS section 3).
type Prepare struct {
	Ballot Ballot
	First  Slot
	// TakeOver is the ballot of the leader that asked the sender to take over; it
	// makes acceptors give up the lease that this leader holds. Zero: none.
	TakeOver Ballot
}

// Promise is phase 1b: nothing below Ballot will be accepted.
type Promise struct {
	Ballot Ballot
	// Chosen is the watermark: all slots to it are chosen, and the proposer must not
	// lead before it knows their values.
	Chosen Slot
	// Snapshot is the slot to which the log was forgotten.
	Snapshot Slot
	// Accepted are the acceptances after Chosen, without a gap.
	Accepted []Entry
}

// Accept is phase 2a for the slots of Entries, and the leader's heartbeat when there
// are none.
type Accept struct {
	Ballot Ballot
	// First is the slot of the first of Entries; the others follow without a gap. A
	// heartbeat names the slot after those it believes the receiver to hold.
	First   Slot
	Entries []Entry // their Slot and Ballot follow from First and Ballot
	Chosen  Slot    // the leader's watermark
	// Round is the leader's count of confirmations; it is echoed, and so confirms
	// reads and leases that began before this message was sent.
	Round uint64
	// Lease is for how long the receiver promises to promise nobody else, 0 for none.
	Lease time.Duration
	// HashSlot and Hash are the leader's state hash, to be compared. 0: none.
	HashSlot Slot
	Hash     uint64
}

// Accepted is phase 2b, cumulative: the sender holds, durably and accepted in
// Ballot, or chosen, every slot to Through.
type Accepted struct {
	Ballot  Ballot
	Through Slot
	Chosen  Slot
	Round   uint64 // of the Accept
	// Applied is how far the sender's application is, for the leader's status.
	Applied Slot
	// Want is the slot to send from, if the Accept did not follow on what the sender
	// holds; else 0.
	Want Slot
}

// Nack refuses a Prepare or Accept because a higher ballot was promised (PMS
// section 2.5).
type Nack struct {
	Ballot   Ballot // that was refused
	Promised Ballot
}

// CatchUp asks for chosen values from First on.
type CatchUp struct{ First Slot }

// CaughtUp answers CatchUp with chosen values, as many as fit.
type CaughtUp struct {
	Entries []Entry // without gaps; their ballots mean nothing
	Chosen  Slot
}

// Offer says that the sender has forgotten the slots asked for and has a snapshot.
// The receiver fetches it by its own means: see EventFetch.
type Offer struct{ Snapshot Snapshot }

// TakeOver asks the receiver to become leader at once (leader transfer). The sender
// has given up its lease.
type TakeOver struct{ Ballot Ballot }

// Removed tells the receiver that it is not a member: it was removed at Slot.
type Removed struct{ Slot Slot }

// Snapshot describes an application's state after a slot.
type Snapshot struct {
	Slot Slot
	// Members is the membership after Slot. It is part of the snapshot; never make one
	// up from Slot.
	Members Membership
	// Size in bytes and Sum, a hash of the bytes, are the application's.
	Size uint64
	Sum  [32]byte
}

// kind is the byte that stands for a message's type on the wire.
type kind uint8

const (
	kindHello kind = iota + 1
	kindHelloReply
	kindPoll
	kindPollReply
	kindPrepare
	kindPromise
	kindAccept
	kindAccepted
	kindNack
	kindCatchUp
	kindCaughtUp
	kindOffer
	kindTakeOver
	kindRemoved
)

func (Hello) body() kind      { return kindHello }
func (HelloReply) body() kind { return kindHelloReply }
func (Poll) body() kind       { return kindPoll }
func (PollReply) body() kind  { return kindPollReply }
func (Prepare) body() kind    { return kindPrepare }
func (Promise) body() kind    { return kindPromise }
func (Accept) body() kind     { return kindAccept }
func (Accepted) body() kind   { return kindAccepted }
func (Nack) body() kind       { return kindNack }
func (CatchUp) body() kind    { return kindCatchUp }
func (CaughtUp) body() kind   { return kindCaughtUp }
func (Offer) body() kind      { return kindOffer }
func (TakeOver) body() kind   { return kindTakeOver }
func (Removed) body() kind    { return kindRemoved }
