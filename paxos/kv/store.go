package kv

import (
	"iter"

	"github.com/aether-lan/aether/paxos"
)

// Store is where a Machine keeps its state: ordered keys and values. It is a
// [Buffer] before a [paxos/log.Log] in life and a [Memory] in tests.
type Store interface {
	// Applied returns the slot after which the state is right, and the membership then.
	Applied() (paxos.Slot, paxos.Membership)
	// Get returns a value, which is not to be changed, nil when there is none.
	Get(key []byte) ([]byte, error)
	// Scan calls f with keys from from up to but not to, nil being no end, in order,
	// until f returns false. f keeps neither.
	Scan(from, to []byte, f func(key, value []byte) bool) error
	// Apply makes the writes, a nil value deleting its key, and notes the slot and
	// membership: both or neither, also after a crash. The values are not changed
	// afterwards, keys may be.
	Apply(slot paxos.Slot, members paxos.Membership, writes iter.Seq2[[]byte, []byte]) error
}
