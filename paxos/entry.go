package paxos

import (
	"errors"
	"fmt"
)

// MaxValue is the length in bytes up to which a value can be proposed: 1 MiB, and what
// an application says about it.
const MaxValue = 1<<20 + 4<<10

// Kind says what a slot's value is for.
type Kind uint8

// The kinds of values.
const (
	// Command is a client's value: bytes that mean nothing here. It may be empty.
	Command Kind = iota
	// Noop fills a gap or begins a leader's ballot (PMS section 3); it is not applied.
	Noop
	// Change is an encoded Membership that takes effect in the next slot.
	Change
)

// String returns the kind in lower case: "noop".
func (k Kind) String() string {
	switch k {
	case Command:
		return "command"
	case Noop:
		return "noop"
	case Change:
		return "change"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Entry is a value with its place: proposed in Ballot for Slot. As part of an
// acceptor's state it is what was accepted there last.
type Entry struct {
	Slot   Slot
	Ballot Ballot
	Kind   Kind
	Value  []byte // nil and empty are the same; not to be changed
}

// size is what an entry counts for in limits of bytes.
func (e Entry) size() int { return len(e.Value) + entryOverhead }

// entryOverhead is what an entry costs beside its value, in messages and memory.
const entryOverhead = 32

// Errors of proposing and reading.
var (
	// ErrNotLeader: ask the node that Status names as leader.
	ErrNotLeader = errors.New("not the leader")
	// ErrBusy: too many bytes are proposed and not chosen, or reads not answered.
	// Try later.
	ErrBusy = errors.New("busy: too much is waiting to be chosen")
	// ErrTooLarge: the value is longer than MaxValue.
	ErrTooLarge = errors.New("value longer than 1 MiB")
	// ErrStopped: the node was removed, or its state diverged from the others'.
	ErrStopped = errors.New("this node takes no part any more")
)
