package paxos

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// NodeID names a node of a cluster; 0 names none. Two nodes never share an ID.
type NodeID uint64

// Everyone is the To of a message that every member shall have; a transport may
// send it once where the network can carry it to all.
const Everyone NodeID = 0

// String returns the number.
func (id NodeID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Slot numbers the instances of Paxos. The first is 1; 0 is before all.
type Slot uint64

// String returns the number.
func (s Slot) String() string { return strconv.FormatUint(uint64(s), 10) }

// Incarnation tells a node's disk from the one it had before; 0 is none. Promises
// bind an incarnation: a node whose disk was wiped has another and knows nothing of
// what the old one promised.
type Incarnation uint64

// String returns the number in hexadecimal.
func (i Incarnation) String() string { return strconv.FormatUint(uint64(i), 16) }

// ClusterID tells clusters apart. Messages of another cluster are dropped.
type ClusterID [16]byte

// String returns the ID in hexadecimal.
func (c ClusterID) String() string { return hex.EncodeToString(c[:]) }

// ParseClusterID reads what String writes.
func ParseClusterID(s string) (c ClusterID, err error) {
	b, err := hex.DecodeString(s)
	if err == nil && len(b) != len(c) {
		err = errors.New("not 16 bytes")
	}
	if err != nil {
		return c, fmt.Errorf("paxos: cluster id %q: %w", s, err)
	}
	return ClusterID(b), nil
}

// Ballot is the number of a proposal (PMS section 2.2: "different proposals have
// different numbers"). Rounds order ballots, the node makes them unique. The zero
// Ballot is below all.
type Ballot struct {
	Round uint64
	Node  NodeID
}

// maxRound bounds the rounds that are taken from others.
const maxRound = 1 << 62

// Compare returns -1, 0 or +1 as b is below, equal to or above c.
func (b Ballot) Compare(c Ballot) int {
	return cmp.Or(cmp.Compare(b.Round, c.Round), cmp.Compare(b.Node, c.Node))
}

// Less reports whether b is below c.
func (b Ballot) Less(c Ballot) bool { return b.Compare(c) < 0 }

// IsZero reports whether b is the zero Ballot.
func (b Ballot) IsZero() bool { return b == Ballot{} }

// String returns ROUND.NODE: "4.2".
func (b Ballot) String() string { return fmt.Sprintf("%d.%d", b.Round, b.Node) }
