package topics

import (
	"errors"
	"time"

	"github.com/aether-lan/aether/dht"
)

// Errors of [Failed].
var (
	// ErrDeadline: no answer came in time. The request may have been handled or not.
	ErrDeadline = errors.New("no answer before the deadline")
	// ErrTooLarge: the payload is larger than [MaxPayload].
	ErrTooLarge = errors.New("payload over 64 KiB")
	// ErrName: the name of the topic or service is empty or longer than [MaxName].
	ErrName = errors.New("name empty or over 255 bytes")
	// ErrBusy: a bound of this node is reached, or, at the deadline, of the other.
	ErrBusy = errors.New("too many requests")
	// ErrRefused: whoever was asked refused, for the reason in the text around it; an
	// anycast was refused by all subscribers.
	ErrRefused = errors.New("refused")
	// ErrNobody: the topic has no subscriber.
	ErrNobody = errors.New("no subscribers")
	// ErrCanceled: Cancel was called, or the node leaves.
	ErrCanceled = errors.New("canceled")
)

// Event is what the user, or the driver, should hear: one of the types below.
type Event interface{ event() }

// Resolve asks the driver who owns Key; it answers by [Engine.Resolved].
type Resolve struct {
	Token uint64
	Key   dht.ID
}

// Asked is a request for this node: of the service Service of the owner of Key, or,
// when Topic is not empty, an anycast. [Engine.Answer] answers it. The same ID is
// asked once, as long as this node remembers it; see the package's comment.
type Asked struct {
	ID      RequestID
	From    dht.ID // who asks
	Key     dht.ID
	Service string
	Topic   string
	Payload []byte
	// Wait is how long who asks goes on waiting.
	Wait time.Duration
}

// Answered is the outcome of Send and Anycast: By answered Payload.
type Answered struct {
	Number  uint64
	By      dht.ID
	Payload []byte
}

// Published is the outcome of Publish: the root has given the message its position,
// and Copies nodes hold it. It will reach everybody who is subscribed.
type Published struct {
	Number uint64
	Topic  string
	At     Position
	Copies int
}

// Failed is the outcome of Send, Publish or Anycast that did not succeed.
type Failed struct {
	Number uint64
	Err    error
}

// Subscribed tells that the subscription has a place in the tree: what is published
// from now on will be delivered. It comes again after a parent died.
type Subscribed struct {
	Topic  string
	Parent dht.ID // this node's, when it is the root
	Depth  int    // 0 at the root
}

// Unattached tells that the subscription has lost its place and seeks another.
// What is published meanwhile is delivered afterwards.
type Unattached struct {
	Topic string
	Why   string
}

// Delivered is a message of a topic that this node has subscribed to.
type Delivered struct {
	Topic   string
	ID      RequestID // its publisher is ID.From
	At      Position
	Payload []byte
}

// Gap tells that messages of a topic were missed: this node was away for, or slower
// than, what its parents keep. From and To are the positions around the hole.
type Gap struct {
	Topic    string
	From, To Position
	// Missed is how many, when both positions are of one epoch; else 0: unknown.
	Missed uint64
}

func (Resolve) event()    {}
func (Asked) event()      {}
func (Answered) event()   {}
func (Published) event()  {}
func (Failed) event()     {}
func (Subscribed) event() {}
func (Unattached) event() {}
func (Delivered) event()  {}
func (Gap) event()        {}
