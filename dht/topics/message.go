package topics

import (
	"fmt"
	"time"

	"github.com/aether-lan/aether/dht"
)

// Bounds of what is sent.
const (
	// MaxPayload bounds the bytes of one message, request or answer.
	MaxPayload = 64 << 10
	// MaxName bounds the bytes of the name of a topic or service.
	MaxName = 255
	// MaxText bounds the bytes of the text of an error that is sent.
	MaxText = 1 << 10
	// MaxMessage bounds the bytes of an encoded message.
	MaxMessage = MaxPayload + 4<<10
	// MaxPath bounds how deep a tree may be.
	MaxPath = 32
)

// RequestID names a request for ever: who asked, in which life, and its number
// there. A message that is published bears the ID of the request that published it.
type RequestID struct {
	From        dht.ID
	Incarnation uint64
	Number      uint64
}

// Position orders the messages of a topic: by the root's epoch, then by the number
// it gave. The zero Position is before all.
type Position struct{ Epoch, Seq uint64 }

// maxEpoch bounds epochs that others name, so that there is always a higher one.
const maxEpoch = 1 << 62

// Before reports whether p comes before q.
func (p Position) Before(q Position) bool {
	return p.Epoch < q.Epoch || p.Epoch == q.Epoch && p.Seq < q.Seq
}

// String returns epoch and number, as in 3.17.
func (p Position) String() string { return fmt.Sprintf("%d.%d", p.Epoch, p.Seq) }

// Packet is a message and the node that it is for.
type Packet struct {
	To      dht.Peer
	Message Message
}

// Message is what nodes send each other: one of the types below.
type Message interface {
	kind() kind
	write(w *writer)
}

// Kind says what a request asks for.
type Kind uint8

// Kinds of requests.
const (
	// Ask is for the service at the node that owns the key.
	Ask Kind = iota
	// ToAll publishes to the topic named by Service.
	ToAll
	// ToOne is an anycast to the topic named by Service.
	ToOne
)

// String returns what a user calls it: send, publish, anycast.
func (k Kind) String() string {
	switch k {
	case Ask:
		return "send"
	case ToAll:
		return "publish"
	case ToOne:
		return "anycast"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Request asks the owner of Key.
type Request struct {
	Kind    Kind
	Number  uint64
	Oldest  uint64 // the lowest number the sender still waits for; at most Number
	Key     dht.ID
	Service string // of Ask; for the other kinds the topic
	Payload []byte
	Wait    time.Duration // how long the sender goes on waiting
}

// Status says what became of a request.
type Status uint8

// Statuses of a Reply and of an Outcome.
const (
	// Done: Payload is the answer.
	Done Status = iota
	// Working: it was received and is being handled.
	Working
	// Elsewhere: the node does not own the key.
	Elsewhere
	// Busy: a bound of the node is reached; later, perhaps.
	Busy
	// Refused: whoever handled it says why, in Text.
	Refused
	// Nobody: the topic has no subscriber.
	Nobody
)

// String returns the status in a word.
func (s Status) String() string {
	names := [...]string{"done", "working", "elsewhere", "busy", "refused", "nobody"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Reply answers a Request.
type Reply struct {
	Number  uint64
	Status  Status
	Text    string // the error, when Refused
	Payload []byte
	By      dht.ID   // who answered, when that is not the sender; else zero
	At      Position // of a message that was published
	Copies  uint64   // how many nodes held it then
	Asked   uint64   // how many subscribers refused an anycast
}

// Attach asks for a place in the tree of a topic, and keeps the one it has.
type Attach struct {
	Topic string
	// At is what the child has had, so that it is sent the rest. Fresh: it wants only
	// what comes from now on.
	At    Position
	Fresh bool
	// Seen is the highest position that a node of the subtree has had. One that the
	// root does not know is of a root beside it.
	Seen Position
	// Nodes is how many nodes stand below the child, itself counted.
	Nodes uint64
	// Moved is set on the way down from the root: Redirect sent the child here.
	Moved bool
	// Try tells one search for a place from the next.
	Try uint64
	// Without is a node that did not answer the child: not there again.
	Without dht.ID
}

// Attached gives or confirms a place.
type Attached struct {
	Topic string
	// At is where the child begins; if it asked for a fresh start, it has had all
	// before.
	At Position
	// Newest is what the parent holds.
	Newest Position
	// Path are the nodes from the root to the parent. A child that finds itself there
	// hangs in a loop.
	Path []dht.ID
	// Wanted: the root lacks what the child has had after WantAfter, and takes it as
	// its heir.
	Wanted    bool
	WantAfter Position
	// Total is how many nodes the tree has, as far as known here.
	Total uint64
}

// Redirect sends a newcomer on: to To, or, when To is the zero Peer, back to look for
// the root.
type Redirect struct {
	Topic string
	To    dht.Peer
}

// Detach ends a place: the child goes, or the parent does (and the child is to look
// for the root, with Move set while the parent still serves it).
type Detach struct {
	Topic string
	Move  bool
}

// Role says what the receiver of a Forward is to its sender.
type Role uint8

// Roles of a Forward and of the Ack that answers it.
const (
	// Child: the receiver stands below the sender in the tree.
	Child Role = iota
	// Mirror: the sender is the root and the receiver a successor of it.
	Mirror
	// Heir: the receiver is the root, which may lack the message. The sender was the
	// root before, or has seen more.
	Heir
)

// Forward carries one message of a topic.
type Forward struct {
	Topic string
	Role  Role
	At    Position
	// After is the position before At in the sender's window. A receiver that is not
	// so far has missed something and says where it is.
	After Position
	// Missed: what lies between the receiver's position and After is gone.
	Missed  bool
	ID      RequestID
	Payload []byte
	// Age is how long ago the root published it, time on the wire left out.
	Age time.Duration
}

// Ack tells how far the receiver of a Forward is: it has had all to At, and, as an
// heir, the message of At.
type Ack struct {
	Topic string
	Role  Role
	At    Position
	Try   uint64 // of a child: that of the Attach that put it where it is
}

// Offer is an anycast on its way down the tree.
type Offer struct {
	Topic   string
	ID      RequestID
	Payload []byte
	Wait    time.Duration
	// Again asks how an Offer stands that was received; it has no payload.
	Again bool
}

// Outcome answers an Offer: Done, Working, Refused (by all of Asked subscribers in
// the subtree), Nobody, or Elsewhere when an Offer is asked for again that the node
// does not know.
type Outcome struct {
	Topic   string
	ID      RequestID
	Status  Status
	Payload []byte
	Text    string
	By      dht.ID
	Asked   uint64
}
