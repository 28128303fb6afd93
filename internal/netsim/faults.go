package netsim

import (
	"math/rand/v2"
	"time"
)

// ID names a node of one Sim or Medium: 0 for the first attached, then 1, 2, …
type ID int

// Faults says what a segment does to the packets on it. Its zero value delivers
// each packet once, at once.
type Faults struct {
	// Delay is the time from sending to arrival.
	Delay time.Duration
	// Jitter adds up to this much to Delay, uniformly, for each receiver apart.
	// Packets may overtake each other.
	Jitter time.Duration
	// Loss is the probability, 0 to 1, that one receiver misses a packet.
	Loss float64
	// Duplicate is the probability that a receiver gets a packet twice.
	Duplicate float64
	// Reorder is the probability that a packet is held back by ReorderDelay.
	Reorder float64
	// ReorderDelay is how long such a packet waits in addition. Zero means
	// twice Delay+Jitter, and 1 ms when those are zero.
	ReorderDelay time.Duration
}

// individual reports whether receivers of one packet can hear it at different
// times.
func (f *Faults) individual() bool { return f.Jitter > 0 || f.Duplicate > 0 || f.Reorder > 0 }

// lost draws whether a receiver misses a packet.
func (f *Faults) lost(r *rand.Rand) bool { return f.Loss > 0 && r.Float64() < f.Loss }

// copies draws how many copies of a packet that is not lost arrive.
func (f *Faults) copies(r *rand.Rand) int {
	if f.Duplicate > 0 && r.Float64() < f.Duplicate {
		return 2
	}
	return 1
}

// latency draws the time that one copy travels.
func (f *Faults) latency(r *rand.Rand) time.Duration {
	d := f.Delay
	if f.Jitter > 0 {
		d += time.Duration(r.Int64N(int64(f.Jitter) + 1))
	}
	if f.Reorder > 0 && r.Float64() < f.Reorder {
		d += f.held()
	}
	return d
}

func (f *Faults) held() time.Duration {
	switch {
	case f.ReorderDelay > 0:
		return f.ReorderDelay
	case f.Delay+f.Jitter > 0:
		return 2 * (f.Delay + f.Jitter)
	}
	return time.Millisecond
}

// partition is the current division of a network. Nil lets all pass.
type partition map[ID]int

// newPartition gives each group of nodes a number. Nodes in no group stay
// together in one more group.
func newPartition(groups [][]ID) partition {
	p := make(partition)
	for i, g := range groups {
		for _, id := range g {
			p[id] = i + 1
		}
	}
	return p
}

func (p partition) cut(from, to ID) bool { return p != nil && p[from] != p[to] }
