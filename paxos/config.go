package paxos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Config says who a node is and how it behaves. ID, Cluster and Rand must be given;
// of the rest the zero value works. Timeouts should be the same on all nodes.
type Config struct {
	ID      NodeID
	Cluster ClusterID
	// Rand draws election delays and, for a new disk, the incarnation. For the latter
	// it must be seeded with what no other run had.
	Rand *rand.Rand
	// Members is the first membership, the same on all its nodes: their IDs and
	// addresses. Empty: this node joins a cluster that a change adds it to.
	// Once a Membership was saved, that one counts.
	Members []Member
	// AcceptQuorum is Membership.AcceptQuorum of the first membership; 0: a majority.
	AcceptQuorum int
	// Contacts are nodes to say Hello to when there is no membership to go by.
	Contacts []NodeID
	// Vouched: the operator says that a disk without a state is new and was not
	// wiped, so that the others need not confirm it. A wrong word loses values.
	Vouched bool

	Timing Timing
	Limits Limits
	// HashEvery is the distance in slots of the state hashes that nodes compare: 0 is
	// 1024.
	HashEvery Slot
	// Multicast addresses an Accept to Everyone when all followers are at one slot.
	Multicast bool
	// KeepWiped leaves a member that came back with another disk as it is, instead of
	// making it a learner and, when it has caught up, a voter again.
	KeepWiped bool
}

// Timing are a Config's times. Zero fields take the default in brackets.
type Timing struct {
	// Heartbeat is how often a leader is heard at least (100 ms).
	Heartbeat time.Duration
	// Election is how long a leader may be silent. A node waits one to two of it
	// before it polls (1 s).
	Election time.Duration
	// Batch is how long a batch waits for company while another one, more than twice as
	// large, is on its way (200 µs).
	Batch time.Duration
	// Lease is for how long a quorum's word not to follow anybody else lets the leader
	// read without asking. 0: no leases. At most Election.
	Lease time.Duration
	// LeaseDrift is the part of a lease given up because clocks run at different
	// speeds, in percent (20).
	LeaseDrift int
	// Disk is how long one write may take before the leader gives up leading
	// (Election).
	Disk time.Duration
}

// Limits are a Config's bounds. Zero fields take the default in brackets.
type Limits struct {
	// Unchosen bounds the bytes proposed and not chosen; then ErrBusy (16 MiB, at most
	// 32 MiB: a Promise must carry them).
	Unchosen int
	// Batch bounds the bytes of the values in one message (1 MiB; one value may be more).
	Batch int
	// InFlight is the number of batches on their way to a follower (4).
	InFlight int
	// InFlightBytes bounds their bytes, beyond one batch (4 MiB).
	InFlightBytes int
	// Cache bounds the bytes of chosen entries kept in memory for followers that lag.
	// What is older is read from Storage (8 MiB). With a Storage, an application that
	// does not fetch what is chosen stops the node at Cache and twice Unchosen.
	Cache int
	// Reads bounds the reads that wait for a quorum (65536).
	Reads int
	// Promote is the lag in slots at which a learner is made a voter (256).
	Promote Slot
}

var errConfig = errors.New("bad configuration")

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.ID == Everyone:
		return c, fmt.Errorf("paxos: %w: node id 0", errConfig)
	case c.Rand == nil:
		return c, fmt.Errorf("paxos: %w: no source of randomness", errConfig)
	}
	c.Timing = c.Timing.withDefaults()
	if c.Timing.Lease > c.Timing.Election {
		return c, fmt.Errorf("paxos: %w: a lease of %v is longer than the election time of %v", errConfig, c.Timing.Lease, c.Timing.Election)
	}
	if c.Timing.LeaseDrift < 0 || c.Timing.LeaseDrift > 90 {
		return c, fmt.Errorf("paxos: %w: lease drift of %d %%", errConfig, c.Timing.LeaseDrift)
	}
	c.Limits = c.Limits.withDefaults()
	if c.Limits.Unchosen > MaxMessage/2 {
		return c, fmt.Errorf("paxos: %w: %d bytes unchosen, at most %d", errConfig, c.Limits.Unchosen, MaxMessage/2)
	}
	orDefault(&c.HashEvery, 1024)
	return c, nil
}

func (t Timing) withDefaults() Timing {
	orDefault(&t.Heartbeat, 100*time.Millisecond)
	orDefault(&t.Election, time.Second)
	orDefault(&t.Batch, 200*time.Microsecond)
	orDefault(&t.LeaseDrift, 20)
	orDefault(&t.Disk, t.Election)
	return t
}

func (l Limits) withDefaults() Limits {
	orDefault(&l.Unchosen, 16<<20)
	orDefault(&l.Batch, 1<<20)
	orDefault(&l.InFlight, 4)
	orDefault(&l.InFlightBytes, 4<<20)
	orDefault(&l.Cache, 8<<20)
	orDefault(&l.Reads, 1<<16)
	orDefault(&l.Promote, 256)
	return l
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
