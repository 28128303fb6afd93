package paxos

import (
	"fmt"
	"time"
)

// Mutation is a planted mistake. Only NewBroken takes one; it is how the simulator
// is shown to find mistakes. A node of New has none.
type Mutation int

// The mistakes, each of which some published system once had.
const (
	// Sound: no mistake.
	Sound Mutation = iota
	// AckBeforeSave: messages leave before what they promise is on disk.
	AckBeforeSave
	// PromiseWithoutWatermark: promises do not say what is known to be chosen.
	PromiseWithoutWatermark
	// NoGapFill: a new leader does not propose again what it found in phase 1, and
	// goes on after it.
	NoGapFill
	// ReuseRead: a read counts confirmations that were asked for before it began.
	ReuseRead
	// NoNoop: a new leader serves reads before a value was chosen in its ballot.
	NoNoop
	// LeaseOverPause: a lease is believed without looking at how long ago that was.
	LeaseOverPause
	// AckOverGap: an acceptor takes batches that do not follow on what it holds, and
	// says that it holds everything before them.
	AckOverGap
	// WipedVotes: a disk without a state votes as if it were the old one.
	WipedVotes
	// ConfigFromSnapshot: a restored snapshot's slot is put on the membership that the
	// node had, instead of taking the snapshot's.
	ConfigFromSnapshot
)

var mutationNames = [...]string{
	"sound", "ack-before-save", "promise-without-watermark", "no-gap-fill", "reuse-read", "no-noop",
	"lease-over-pause", "ack-over-gap", "wiped-votes", "config-from-snapshot",
}

// String returns the name that commands know it by: "no-gap-fill".
func (m Mutation) String() string {
	if m < 0 || int(m) >= len(mutationNames) {
		return fmt.Sprintf("mutation %d", int(m))
	}
	return mutationNames[m]
}

// NewBroken is New for simulations that must fail: the node makes the mistake m.
func NewBroken(now time.Time, cfg Config, st State, storage Storage, m Mutation) (*Node, error) {
	return newNode(now, cfg, st, storage, m)
}
