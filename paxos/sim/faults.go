package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/paxos"
)

// fault is a way in which the world fails. A seed enables a random subset of them
// (swarm testing): what is rare among all of them is common without some.
type fault int

const (
	loss fault = iota
	duplicate
	replay // messages come again after seconds
	slowNet
	partition
	oneWay
	omni // the partial partitions of the Omni-Paxos paper
	clog
	crash
	crashAll
	pause
	drift
	jump
	slowDisk
	hungDisk
	badSync // a sync fails: the process must die
	wipe
	membership
	transfer
	compaction
	lease
	multicast
	flexible
	bursts
	glances // reads at hosts that may not lead any more
	fullDisk
	faults
)

var faultNames = [...]string{
	"loss", "duplicate", "replay", "slow-net", "partition", "one-way", "omni", "clog", "crash", "crash-all", "pause",
	"drift", "jump", "slow-disk", "hung-disk", "bad-sync", "wipe", "membership", "transfer", "compaction", "lease",
	"multicast", "flexible", "bursts", "glances", "full-disk",
}

// FaultMask is a set of faults. A seed enables a random one (swarm testing: what is
// rare among all of them is common without some).
type FaultMask uint32

// ParseFaults reads what FaultMask.String writes: names joined by commas.
func ParseFaults(names string) (m FaultMask, err error) {
	for name := range strings.SplitSeq(names, ",") {
		i := slices.Index(faultNames[:], strings.TrimSpace(name))
		switch {
		case i >= 0:
			m |= 1 << i
		case strings.TrimSpace(name) != "":
			return 0, fmt.Errorf("sim: no fault is called %q; there are %s", name, strings.Join(faultNames[:], ", "))
		}
	}
	return m, nil
}

func (s FaultMask) has(f fault) bool { return s&(1<<f) != 0 }

// String returns the names, joined by commas.
func (s FaultMask) String() string {
	var names []string
	for f := range faults {
		if s.has(f) {
			names = append(names, faultNames[f])
		}
	}
	return strings.Join(names, ",")
}

// knobs are what a seed draws before it runs.
type knobs struct {
	faults  FaultMask
	nodes   int // hosts
	members int // of them, the first
	clients int
	ops     int // a client
	lossP   float64
	dupP    float64
	delay   time.Duration // mean, one way
	sync    time.Duration // mean
	lose    float64       // of unsynced sectors at a crash
	every   paxos.Slot    // snapshot distance, 0: none
	trail   paxos.Slot    // kept after a snapshot
	lease   time.Duration
	quorum  int
}

// drawKnobs draws from rng, and what came later than the seeds that once failed from
// late: they stay what they were.
func drawKnobs(rng, late *rand.Rand) knobs {
	k := knobs{nodes: 3 + rng.IntN(3), clients: 2 + rng.IntN(4), ops: 20 + rng.IntN(40)}
	for f := range fullDisk {
		if rng.IntN(2) == 0 {
			k.faults |= 1 << f
		}
	}
	if late.IntN(4) == 0 {
		k.faults |= 1 << fullDisk
	}
	k.members = k.nodes
	if k.faults.has(membership) && k.nodes > 3 {
		k.members = 3
	}
	k.delay, k.sync = time.Duration(1+rng.IntN(10))*time.Millisecond, time.Duration(1+rng.IntN(5))*time.Millisecond
	if k.faults.has(slowNet) {
		k.delay = time.Duration(20+rng.IntN(80)) * time.Millisecond
	}
	if k.faults.has(slowDisk) {
		k.sync = time.Duration(10+rng.IntN(90)) * time.Millisecond
	}
	if k.faults.has(loss) {
		k.lossP = rng.Float64() * .3
	}
	if k.faults.has(duplicate) {
		k.dupP = rng.Float64() * .3
	}
	k.lose = rng.Float64()
	if k.faults.has(compaction) {
		k.every = paxos.Slot(5 + rng.IntN(30))
		k.trail = paxos.Slot(rng.IntN(10))
	}
	if k.faults.has(lease) {
		k.lease = 600 * time.Millisecond
		k.faults &^= 1 << jump // monotonic clocks do not jump
	}
	if k.faults.has(flexible) && k.members >= 4 {
		k.quorum = 2
	}
	return k
}

// limit turns off what is not in only.
func (k *knobs) limit(only FaultMask) {
	was := k.faults
	k.faults &= only
	zero := func(f fault, off func()) {
		if was.has(f) && !only.has(f) {
			off()
		}
	}
	zero(loss, func() { k.lossP = 0 })
	zero(duplicate, func() { k.dupP = 0 })
	zero(slowNet, func() { k.delay = 2 * time.Millisecond })
	zero(slowDisk, func() { k.sync = 2 * time.Millisecond })
	zero(compaction, func() { k.every = 0 })
	zero(lease, func() { k.lease = 0 })
	zero(flexible, func() { k.quorum = 0 })
	zero(membership, func() { k.members = k.nodes })
}

// Mutations are the names of the planted mistakes that Run can make, in a fixed
// order. Those of the driver and the application are this package's, the others
// those of paxos.NewBroken.
func Mutations() []string {
	return []string{
		"skip-sync", "ack-before-save", "promise-without-watermark", "no-gap-fill", "reuse-read", "no-noop",
		"lease-over-pause", "ack-over-gap", "applied-apart", "wiped-votes", "config-from-snapshot", "double-apply",
	}
}

// mutation tells a node's mistakes from those of its driver.
type mutation struct {
	node   paxos.Mutation
	driver string
}

func mutationOf(name string) (mutation, bool) {
	switch name {
	case "":
		return mutation{}, true
	case "skip-sync", "applied-apart", "double-apply":
		return mutation{driver: name}, true
	}
	for m := paxos.AckBeforeSave; m <= paxos.ConfigFromSnapshot; m++ {
		if m.String() == name {
			return mutation{node: m}, true
		}
	}
	return mutation{}, false
}
