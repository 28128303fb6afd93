package probe

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// slowWindow is window without its bitmap: it keeps every number for ever.
type slowWindow struct {
	seen                                 map[uint64]bool
	last                                 uint64
	received, duplicate, reordered, late uint64
}

func (w *slowWindow) take(seq uint64) Outcome {
	switch {
	case seq > w.last:
		w.last = seq
	case w.last-seq >= windowBits:
		w.late++
		return Late
	case w.seen[seq]:
		w.duplicate++
		return Duplicate
	default:
		w.seen[seq] = true
		w.reordered++
		w.received++
		return Reordered
	}
	w.seen[seq] = true
	w.received++
	return InOrder
}

func TestWindow_CountsAsIfItKeptAll(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		slow := slowWindow{seen: map[uint64]bool{}}
		seq := rapid.Uint64Range(1, 5000).Draw(t, "first")
		for _, step := range rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(-4, 6), rapid.Int64Range(-1100, 1100)), 1, 400).Draw(t, "steps") {
			got, gap := w.take(seq)
			before := slow.last
			if want := slow.take(seq); got != want {
				t.Fatalf("%d is %v, want %v", seq, got, want)
			}
			if want := seq - before - 1; got == InOrder && before > 0 && gap != want {
				t.Fatalf("gap before %d is %d, want %d", seq, gap, want)
			}
			seq = uint64(max(1, int64(seq)+step))
		}
		if w.last != slow.last || w.received != slow.received || w.duplicate != slow.duplicate || w.reordered != slow.reordered || w.late != slow.late {
			t.Fatalf("%+v, want %+v", w, slow)
		}
	})
}

func TestWindow_HugeNumbers(t *testing.T) {
	var w window
	for i, c := range []struct {
		seq  uint64
		want Outcome
	}{
		{math.MaxUint64 - 1, InOrder}, {math.MaxUint64, InOrder}, {math.MaxUint64, Duplicate}, {1, Late}, {math.MaxUint64 - 1023, Reordered}, {math.MaxUint64 - 1024, Late},
	} {
		if got, _ := w.take(c.seq); got != c.want {
			t.Errorf("%d: %d is %v, want %v", i, c.seq, got, c.want)
		}
	}
}

func TestSpread(t *testing.T) {
	var s Spread
	if s.Mean() != 0 || s.StdDev() != 0 {
		t.Error("nothing has a mean or a deviation")
	}
	for _, ms := range []int{2, 4, 4, 4, 5, 5, 7, 9} {
		s.add(time.Duration(ms) * time.Millisecond)
	}
	if s.Min != 2*time.Millisecond || s.Max != 9*time.Millisecond || s.Mean() != 5*time.Millisecond || s.StdDev() != 2*time.Millisecond {
		t.Errorf("%+v, mean %v, deviation %v", s, s.Mean(), s.StdDev())
	}
}

// Transit times of 10, 26, 10 ms: J is 0, then 0+(16-0)/16 = 1, then 1+(16-1)/16.
func TestJitter_RFC3550_6_4_1(t *testing.T) {
	var j jitter
	for i, c := range []struct{ transit, want float64 }{{10, 0}, {26, 1}, {10, 1.9375}, {10, 1.81640625}} {
		j.add(time.Duration(c.transit * 1e6))
		if got := j.value / 1e6; got != c.want {
			t.Errorf("after %d: %v ms, want %v", i+1, got, c.want)
		}
	}
}
