package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Time is a hybrid logical clock reading: 48 bits of milliseconds since 1970 and
// 16 bits that count changes within one. A change made after another was seen
// has a later Time even where the machine's clock is behind (Kulkarni et al.,
// "Logical Physical Clocks", 2014).
type Time uint64

// TimeAt returns the first Time of the millisecond that t falls in.
func TimeAt(t time.Time) Time { return Time(uint64(t.UnixMilli()) << 16) }

// Wall returns the millisecond part as an instant in UTC.
func (t Time) Wall() time.Time { return time.UnixMilli(int64(t >> 16)).UTC() }

// Next returns the reading for a change made at now by a machine whose latest
// reading, its own or one it has seen, is t.
func (t Time) Next(now time.Time) Time { return max(TimeAt(now), t+1) }

// Stamp orders all changes of a pool: later time first, machine ID where times
// are equal. All machines order any two changes alike.
type Stamp struct {
	Time    Time
	Machine MachineID
}

// Compare returns -1, 0 or +1 as s comes before, is, or comes after o.
func (s Stamp) Compare(o Stamp) int {
	return cmp.Or(cmp.Compare(s.Time, o.Time), s.Machine.Compare(o.Machine))
}

// Dot names one change: the Seq-th of Machine, counted from 1.
type Dot struct {
	Machine MachineID
	Seq     uint64
}

// String returns the short machine ID and the number.
func (d Dot) String() string { return fmt.Sprintf("%s/%d", d.Machine.Short(), d.Seq) }

// Compare orders dots by machine and number; the order means nothing.
func (d Dot) Compare(o Dot) int {
	return cmp.Or(d.Machine.Compare(o.Machine), cmp.Compare(d.Seq, o.Seq))
}

// Vector holds, for each machine, the number of the last change such that it and
// all before it have been seen. A machine that is missing counts as 0.
type Vector map[MachineID]uint64

// Has reports whether the change d has been seen.
func (v Vector) Has(d Dot) bool { return d.Seq <= v[d.Machine] }

// Merge raises v to include all that o includes.
func (v Vector) Merge(o Vector) {
	for m, n := range o {
		v[m] = max(v[m], n)
	}
}

// Covers reports whether v includes all that o includes.
func (v Vector) Covers(o Vector) bool {
	for m, n := range o {
		if v[m] < n {
			return false
		}
	}
	return true
}

// Clone returns a copy.
func (v Vector) Clone() Vector { return maps.Clone(v) }

// Machines returns the machines of v in the order of their IDs.
func (v Vector) Machines() []MachineID {
	return slices.SortedFunc(maps.Keys(v), MachineID.Compare)
}
