package probe

import (
	"math"
	"time"
)

// windowBits is how many numbers back a duplicate is told from a reordered datagram.
const windowBits = 1024

// window is which of the last windowBits numbers have come, and the counts that
// follow from it.
type window struct {
	first, last uint64 // 0: none yet; first may be set before
	seen        [windowBits / 64]uint64
	received    uint64 // each number once
	duplicate   uint64
	reordered   uint64
	late        uint64
}

// take notes that seq, which is not 0, has come. gap is how many numbers are missing
// right before it.
func (w *window) take(seq uint64) (o Outcome, gap uint64) {
	switch {
	case w.last == 0:
		if w.first == 0 {
			w.first = seq
		}
		w.last = seq
		w.set(seq)
	case seq > w.last:
		gap = seq - w.last - 1
		if seq-w.last >= windowBits {
			w.seen = [windowBits / 64]uint64{}
		} else {
			for i := w.last + 1; i < seq; i++ {
				w.clear(i)
			}
		}
		w.last = seq
		w.set(seq)
	case w.last-seq >= windowBits:
		w.late++
		return Late, 0
	case seq >= w.first && w.has(seq):
		w.duplicate++
		return Duplicate, 0
	default:
		if seq < w.first { // the first to come was overtaken
			for i := seq; i < w.first; i++ {
				w.clear(i)
			}
			w.first = seq
		}
		w.set(seq)
		w.reordered++
		w.received++
		return Reordered, 0
	}
	w.received++
	return InOrder, gap
}

func (w *window) has(seq uint64) bool {
	return w.seen[seq%windowBits/64]&(1<<(seq%64)) != 0
}
func (w *window) set(seq uint64)   { w.seen[seq%windowBits/64] |= 1 << (seq % 64) }
func (w *window) clear(seq uint64) { w.seen[seq%windowBits/64] &^= 1 << (seq % 64) }

// Spread is the distribution of durations.
type Spread struct {
	Count         uint64
	Min, Max      time.Duration
	mean, squares float64 // nanoseconds; Welford's recurrence
}

func (s *Spread) add(d time.Duration) {
	s.Count++
	if s.Count == 1 || d < s.Min {
		s.Min = d
	}
	if s.Count == 1 || d > s.Max {
		s.Max = d
	}
	delta := float64(d) - s.mean
	s.mean += delta / float64(s.Count)
	s.squares += delta * (float64(d) - s.mean)
}

// Mean returns the average, 0 of nothing.
func (s Spread) Mean() time.Duration { return time.Duration(s.mean) }

// StdDev returns the standard deviation of what was seen, 0 of less than two.
func (s Spread) StdDev() time.Duration {
	if s.Count < 2 {
		return 0
	}
	return time.Duration(math.Sqrt(s.squares / float64(s.Count)))
}

// jitter is the estimate of RFC 3550 section 6.4.1.
type jitter struct {
	transit time.Duration // of the datagram before
	known   bool
	value   float64 // nanoseconds
}

// add takes a transit time, of which only differences count, so that clocks may
// differ.
func (j *jitter) add(transit time.Duration) {
	if j.known {
		j.value += (math.Abs(float64(transit-j.transit)) - j.value) / 16
	}
	j.transit, j.known = transit, true
}
