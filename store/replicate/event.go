package replicate

import (
	"fmt"
	"time"

	"github.com/aether-lan/aether/store"
)

// Event is what the user of an [Engine] should hear: Held, PeerFailed, Unavailable
// or Broken.
type Event interface {
	fmt.Stringer
	event()
}

// Held says that a version that was queued is now durable here.
type Held struct {
	Assignment Assignment
}

// PeerFailed says that a fetch failed and that the peer is left alone for a while.
type PeerFailed struct {
	Peer  store.MachineID
	Until time.Time
	Err   error
}

// Unavailable says that a peer which was asked for a version does not have it.
type Unavailable struct {
	Peer store.MachineID
	Dot  store.Dot
}

// Broken says that the queue could not be read. The Engine tries again.
type Broken struct {
	Err error
}

func (Held) event()        {}
func (PeerFailed) event()  {}
func (Unavailable) event() {}
func (Broken) event()      {}

// String describes the event in one line.
func (e Held) String() string { return fmt.Sprintf("held %v", e.Assignment.Dot) }

// String describes the event in one line.
func (e PeerFailed) String() string {
	return fmt.Sprintf("peer %s failed: %v", e.Peer.Short(), e.Err)
}

// String describes the event in one line.
func (e Unavailable) String() string { return fmt.Sprintf("peer %s lacks %v", e.Peer.Short(), e.Dot) }

// String describes the event in one line.
func (e Broken) String() string { return fmt.Sprintf("queue cannot be read: %v", e.Err) }
