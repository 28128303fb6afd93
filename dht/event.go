package dht

import (
	"errors"
	"fmt"
	"time"
)

// Event is what a [Node] tells its driver.
type Event interface {
	fmt.Stringer
	event()
}

// Errors of lookups.
var (
	ErrNoRoute = errors.New("dht: nobody on the way answers")
	ErrTooLong = errors.New("dht: lookup took too long")
	ErrBusy    = errors.New("dht: too many lookups under way")
	ErrLeft    = errors.New("dht: this node has left")
)

// ViewChanged tells of a new predecessor or other successors.
type ViewChanged struct{ View View }

// MemberJoined tells of a node that has answered, for the first time or again.
type MemberJoined struct{ Peer Peer }

// MemberSuspected tells of a node that does not answer and that others are being
// asked about.
type MemberSuspected struct{ Peer Peer }

// MemberDied tells of a node that answers neither this one nor others, or, when Left
// is set, said farewell.
type MemberDied struct {
	Peer Peer
	Left bool
}

// LookupDone is the outcome of [Node.Lookup].
type LookupDone struct {
	ID    uint64 // as Lookup returned it
	Key   ID
	Owner Peer // it has said itself that it owns the key
	// Hops are the nodes that answered on the way, in order, without the owner. There
	// are none when the first node asked is the owner, as with full membership.
	Hops     []Peer
	Timeouts int           // nodes asked that did not answer
	Took     time.Duration // from the call of Lookup
	Err      error         // ErrNoRoute, ErrTooLong, ErrBusy, ErrLeft
}

// Refused tells of a message, or part of one, that was not believed.
type Refused struct {
	From   Peer
	Reason Reason
}

func (ViewChanged) event()     {}
func (MemberJoined) event()    {}
func (MemberSuspected) event() {}
func (MemberDied) event()      {}
func (LookupDone) event()      {}
func (Refused) event()         {}

// String describes the event.
func (e ViewChanged) String() string {
	return fmt.Sprintf("view: predecessor %x, successors %d", e.View.Predecessor.ID[:4], len(e.View.Successors))
}

// String describes the event.
func (e MemberJoined) String() string { return fmt.Sprintf("joined %x", e.Peer.ID[:4]) }

// String describes the event.
func (e MemberSuspected) String() string { return fmt.Sprintf("suspected %x", e.Peer.ID[:4]) }

// String describes the event.
func (e MemberDied) String() string {
	return fmt.Sprintf("died %x, left %t", e.Peer.ID[:4], e.Left)
}

// String describes the event.
func (e LookupDone) String() string {
	return fmt.Sprintf("lookup %d: owner %x, %d hops, %v", e.ID, e.Owner.ID[:4], len(e.Hops), e.Err)
}

// String describes the event.
func (e Refused) String() string { return fmt.Sprintf("refused of %x: %v", e.From.ID[:4], e.Reason) }

// Reason says why something was refused.
type Reason uint8

// The reasons.
const (
	NeverAsked   Reason = iota // an answer without its question
	EarlierLife                // a message of a life that is over
	NoPoint                    // an ID that is no point of the circle, or an incarnation beyond MaxIncarnation
	OutOfOrder                 // a list of successors that is not in order
	NoProgress                 // a lookup's answer that does not lead nearer
	FalseAccused               // accused of what this node never said
	Unanswered                 // a name that nobody answers to
	OwnName                    // a message that claims to come from this node
	TooMany                    // no room: see the bounds
	reasons      = int(iota)
)

// String says it in words.
func (r Reason) String() string {
	return [reasons]string{"never asked", "earlier life", "no point", "out of order", "no progress",
		"falsely accused", "unanswered name", "own name", "too many"}[min(int(r), reasons-1)]
}

// State is what a node believes of another.
type State uint8

// The states. Only who is alive or suspect counts as a member.
const (
	Unmet   State = iota // named by others or by the user, has not answered yet
	Alive                // has answered
	Suspect              // did not answer, others are asked
	Dead                 // answered nobody
	Left                 // said farewell
)

// String returns the state's name.
func (s State) String() string {
	return [...]string{"unmet", "alive", "suspect", "dead", "left"}[min(s, Left)]
}

// Member is a node that this one knows.
type Member struct {
	Peer  Peer
	State State
	Since time.Time // by the node's own clock
}

// Status is what a node is about, for people.
type Status struct {
	Members  int  // alive or suspect, with this node
	Suspects int  // of them
	Dead     int  // remembered and dialled again
	Full     bool // all members are known: lookups are one hop
	Size     int  // of the ring, as far as known or estimated
	Doubt    int  // in itself: time-outs are so many times longer
	Lookups  int  // under way
	Calls    int  // questions not answered yet
	Fingers  int  // known
	Counters Counters
}

// Counters count since the start.
type Counters struct {
	Sent, Received uint64 // messages
	Refused        [reasons]uint64
	Late           uint64 // answers after the time-out
	Suspected      uint64
	Died           uint64
	Refuted        uint64 // suspects and dead that answered after all
	Pauses         uint64 // times that this node was not running when it should
	LookupsDone    uint64
	LookupsFailed  uint64
	Dropped        uint64 // rumours and names for which there was no room
}
