package node

import (
	"testing"
	"time"
	"unsafe"
)

// simTime returns an instant as time.Now makes them: one reading of the wall clock and
// one, mono, of the monotonic clock, which nobody can set. Package time has no way to
// make one, so this writes its fields, as they are described there.
func simTime(wall time.Time, mono time.Duration) time.Time {
	const (
		monotonic = 1 << 63
		day       = 24 * 60 * 60
		since1885 = (1969*365 + 1969/4 - 1969/100 + 1969/400 - (1884*365 + 1884/4 - 1884/100 + 1884/400)) * day
	)
	t := time.Now()
	fields := (*struct {
		wall uint64
		ext  int64
	})(unsafe.Pointer(&t))
	fields.wall = monotonic | uint64(wall.Unix()+since1885)<<30 | uint64(wall.Nanosecond())
	fields.ext = int64(mono)
	return t
}

// TestSimTime: the instants of a simulation have the two readings that they were
// given.
func TestSimTime(t *testing.T) {
	wall := time.Date(2025, 1, 31, 14, 5, 6, 7, time.UTC)
	a, b := simTime(wall, time.Second), simTime(wall.Add(-time.Hour), 3*time.Second)
	if !a.Round(0).Equal(wall) || !b.Round(0).Equal(wall.Add(-time.Hour)) {
		t.Errorf("the wall clocks show %v and %v", a.Round(0), b.Round(0))
	}
	if b.Sub(a) != 2*time.Second || !a.Before(b) {
		t.Errorf("%v lie between them", b.Sub(a))
	}
}
