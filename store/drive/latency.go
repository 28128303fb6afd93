package drive

import (
	"sync/atomic"
	"time"
)

// LatencyBounds are the upper bounds in seconds of the counts of a Latency.
var LatencyBounds = [...]float64{0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10}

// Latency says how long something took how often.
type Latency struct {
	// Counts has for each of LatencyBounds how many took at most that long and longer
	// than the bound before, and at its end those that took longer than all.
	Counts [len(LatencyBounds) + 1]int64 `json:"counts"`
	// Seconds is all the time together.
	Seconds float64 `json:"seconds"`
}

// latency is a Latency that grows.
type latency struct {
	counts [len(LatencyBounds) + 1]atomic.Int64
	nanos  atomic.Int64
}

// since notes that something took from began until now.
func (l *latency) since(began time.Time) {
	took := time.Since(began)
	i := 0
	for i < len(LatencyBounds) && took.Seconds() > LatencyBounds[i] {
		i++
	}
	l.counts[i].Add(1)
	l.nanos.Add(int64(took))
}

func (l *latency) load() (out Latency) {
	for i := range l.counts {
		out.Counts[i] = l.counts[i].Load()
	}
	out.Seconds = time.Duration(l.nanos.Load()).Seconds()
	return out
}
