package chat

import (
	"bytes"
	"cmp"
	"fmt"
	"time"
)

// Kind is how a message is meant.
type Kind uint8

// The kinds of messages.
const (
	// KindSay is something said.
	KindSay Kind = iota
	// KindAction is something done, in the third person: "waves".
	KindAction
)

// Event is what the user of a [Room] should hear: [Joined], [Returned], [Left],
// [Vanished], [Message], [Lost] or [Settled].
type Event interface {
	fmt.Stringer
	event()
}

// Member is somebody in the room.
type Member struct {
	ID MemberID
	// Name is what the member calls itself.
	Name string
	// Label is Name, with the beginning of the ID where others present have the
	// same name: "ana" or "ana#3f2a".
	Label string
}

// Joined says that a member was heard for the first time.
type Joined struct {
	Member Member
	// New says that the member has just come; it may have been here before us.
	New bool
}

// Returned says that a member that had vanished is heard again.
type Returned struct{ Member Member }

// Left says that a member said goodbye.
type Left struct{ Member Member }

// Vanished says that a member has missed so many hellos that it counts as gone; it
// did not say goodbye.
type Vanished struct{ Member Member }

// Message is something that was said. The messages of one author come in the order
// of their sequences, each once, but for late ones.
type Message struct {
	From Member
	// Sequence numbers the author's messages from 1.
	Sequence uint64
	Kind     Kind
	Text     string // valid UTF-8, may have several lines
	// Sent is when it was said, by the author's clock.
	Sent time.Time
	// Stamp orders the messages of a room so that an answer comes after what it
	// answers (Lamport's logical clock). Equal stamps: by author.
	Stamp uint64
	// Past says that it was said before this member came.
	Past bool
	// Late says that it came after a [Lost] that covered it.
	Late bool
	// Own says that this member said it.
	Own bool
}

// Lost says that messages of an author were given up, since nobody here has them.
// They may still come, marked as late.
type Lost struct {
	From        Member
	First, Last uint64
}

// Settled says that everybody present has what was said, after [Room.Flush].
type Settled struct{}

func (Joined) event()   {}
func (Returned) event() {}
func (Left) event()     {}
func (Vanished) event() {}
func (Message) event()  {}
func (Lost) event()     {}
func (Settled) event()  {}

// String returns the event in one line.
func (e Joined) String() string {
	if !e.New {
		return e.Member.Label + " is here"
	}
	return e.Member.Label + " joined"
}

// String returns the event in one line.
func (e Returned) String() string { return e.Member.Label + " is back" }

// String returns the event in one line.
func (e Left) String() string { return e.Member.Label + " left" }

// String returns the event in one line.
func (e Vanished) String() string { return e.Member.Label + " vanished" }

// String returns author, sequence and text.
func (e Message) String() string {
	return fmt.Sprintf("%s %d: %q", e.From.Label, e.Sequence, e.Text)
}

// String returns the event in one line.
func (e Lost) String() string {
	return fmt.Sprintf("%s: messages %d to %d are lost", e.From.Label, e.First, e.Last)
}

// String returns the event in one line.
func (Settled) String() string { return "everybody has it" }

// Stats counts what a [Room] did not take or could not keep, and what it did to
// repair.
type Stats struct {
	// Foreign datagrams were of other rooms or protocols, Own its own.
	Foreign, Own uint64
	// OtherKey datagrams were for a room of this name with another passphrase, or
	// were forged; Mark ones for one with a passphrase while this has none, or the
	// reverse; Replayed ones had been heard before; Garbage made no sense.
	OtherKey, Mark, Replayed, Garbage uint64
	// Unproven packets came from senders that have not shown to hear this member:
	// recordings, or members whose way back is blocked.
	Unproven uint64
	// OneWay is how many are heard now that do not seem to hear this member, as
	// behind a firewall. It is not a count of packets, and a hint only: in a sealed
	// room a recording of hellos looks the same.
	OneWay int
	// Rate packets were beyond what one sender may send.
	Rate uint64
	// Full counts members, authors, pieces and repairs for which there was no room.
	Full uint64
	// Evicted messages left the history for newer ones.
	Evicted uint64
	// Requests and Repairs are the packets sent to repair gaps, Suppressed those
	// not sent because somebody else did, Duplicate the pieces heard that were not
	// needed.
	Requests, Repairs, Suppressed, Duplicate uint64
}

// Compare orders messages by stamp, then author, then sequence: every member sorts
// the same way, and an answer comes after what it answers.
func (e Message) Compare(f Message) int {
	return cmp.Or(cmp.Compare(e.Stamp, f.Stamp), bytes.Compare(e.From.ID[:], f.From.ID[:]), cmp.Compare(e.Sequence, f.Sequence))
}
