package gossip

import (
	"fmt"

	"github.com/aether-lan/aether/store"
)

// Event is what the user of an engine should hear.
type Event interface {
	fmt.Stringer
	event()
}

// Inventory reports the newest soft state of another machine. Bytes is the
// receiver's to read, not to change.
type Inventory struct {
	Machine store.MachineID
	Bytes   []byte
}

// Diverged is an alarm: Peer has the same entries and another root, so one of
// the two has applied them wrongly. It comes once per peer until they agree.
type Diverged struct {
	Peer store.MachineID
}

// Relapsed is an alarm: Peer has entries of this machine up to Theirs, and here
// are only those up to Ours. The disk was lost or an old copy of it put back;
// the machine must not append before the missing entries have come back.
type Relapsed struct {
	Peer         store.MachineID
	Ours, Theirs uint64
}

func (Inventory) event() {}
func (Diverged) event()  {}
func (Relapsed) event()  {}

// String describes the event in a few words.
func (i Inventory) String() string {
	return fmt.Sprintf("inventory of %s: %d bytes", i.Machine.Short(), len(i.Bytes))
}

// String describes the event in a few words.
func (d Diverged) String() string { return "diverged from " + d.Peer.Short() }

// String describes the event in a few words.
func (r Relapsed) String() string {
	return fmt.Sprintf("relapsed: here %d, %s has %d", r.Ours, r.Peer.Short(), r.Theirs)
}

// Counters count what was dropped and why, since New.
type Counters struct {
	// Garbage is messages that could not be read.
	Garbage uint64
	// Stranger is messages from peers that are not up.
	Stranger uint64
	// Duplicate is entries that were here already.
	Duplicate uint64
	// Gap is entries that came before one they follow.
	Gap uint64
	// Overflow is entries dropped because the inbox was full.
	Overflow uint64
	// Refused is entries, or inventories, beyond the bounds of what is kept.
	Refused uint64
	// Unread is entries that should be on the disk and could not be read.
	Unread uint64
	// Events is events dropped because nobody took them.
	Events uint64
}
