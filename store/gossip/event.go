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

// Agreed takes Diverged back: the roots are equal again.
type Agreed struct {
	Peer store.MachineID
}

// Relapsed is an alarm: Peer has proof of entries of this machine up to Theirs, and
// here are only those up to Ours. The disk was lost or an old copy of it put back;
// Append fails with ErrRelapsed until the missing entries have come back.
type Relapsed struct {
	Peer         store.MachineID
	Ours, Theirs uint64
}

// Forged is an alarm: Peer sent something as Author's that Author has not signed. It
// comes once for a connection and author.
type Forged struct {
	Peer, Author store.MachineID
}

// Forked is an alarm: Author has signed two logs that differ at Seq or before, one
// of which is here and the other came from Peer. Its disk was put back, or it lies,
// or somebody has a copy of its key. No more of its entries are taken, from anybody:
// it must take a new identity. If Author is this machine, Append fails with
// ErrForked from now on.
type Forked struct {
	Author store.MachineID
	Seq    uint64
	Peer   store.MachineID
}

// Garbled is an alarm: Peer has sent Count messages over its connection that cannot be
// read. It comes with the first of a connection and each hundredth.
type Garbled struct {
	Peer  store.MachineID
	Count int
}

// Flooded is an alarm: Author has signed new inventories at a higher rate than any
// machine needs; Count of them were dropped. It comes with the first and each hundredth.
type Flooded struct {
	Author store.MachineID
	Count  int
}

func (Inventory) event() {}
func (Garbled) event()   {}
func (Flooded) event()   {}
func (Diverged) event()  {}
func (Agreed) event()    {}
func (Relapsed) event()  {}
func (Forged) event()    {}
func (Forked) event()    {}

// String describes the event in a few words.
func (i Inventory) String() string {
	return fmt.Sprintf("inventory of %s: %d bytes", i.Machine.Short(), len(i.Bytes))
}

// String describes the event in a few words.
func (d Diverged) String() string { return "diverged from " + d.Peer.Short() }

// String describes the event in a few words.
func (a Agreed) String() string { return "agrees again: " + a.Peer.Short() }

// String describes the event in a few words.
func (r Relapsed) String() string {
	return fmt.Sprintf("relapsed: here %d, %s has %d", r.Ours, r.Peer.Short(), r.Theirs)
}

// String describes the event in a few words.
func (f Forged) String() string {
	return fmt.Sprintf("%s sent what is forged in the name of %s", f.Peer.Short(), f.Author.Short())
}

// String describes the event in a few words.
func (f Forked) String() string {
	return fmt.Sprintf("the log of %s has forked at %d, says %s", f.Author.Short(), f.Seq, f.Peer.Short())
}

// String describes the event in a few words.
func (g Garbled) String() string {
	return fmt.Sprintf("%s sent %d messages that cannot be read", g.Peer.Short(), g.Count)
}

// String describes the event in a few words.
func (f Flooded) String() string {
	return fmt.Sprintf("%s floods: %d inventories dropped", f.Author.Short(), f.Count)
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
	// Refused is entries, or inventories, beyond the bounds of what is kept, of
	// machines that are no members, and of machines whose logs have forked.
	Refused uint64
	// Forged is entries, inventories and heads that their author has not signed.
	Forged uint64
	// Flooded is inventories that came too soon after others of the same machine.
	Flooded uint64
	// Unread is entries that should be on the disk and could not be read.
	Unread uint64
	// Events is events dropped because nobody took them.
	Events uint64
}
