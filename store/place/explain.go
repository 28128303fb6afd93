package place

import (
	"math"
	"slices"

	"github.com/aether-lan/aether/store"
)

// Reason says why a machine keeps something or does not.
type Reason struct {
	// Machine is whom it is about.
	Machine store.MachineID
	// Laptop says that its weight is that of a laptop.
	Laptop bool
	// Weight is its part of all weights, after correction; all add up to 1.
	Weight float64
	// Score is what the order is by, the least first: -ln(u)/Weight.
	Score float64
	// Keeps says that it is chosen.
	Keeps bool
	// Skipped says why it is not, in words; empty where those before it are enough.
	Skipped string
}

// Explain returns the order of key and says of each machine whether it is among the n
// that [Map.Choose] chooses, and why not. skip returns why a machine cannot be used,
// or nothing; nil: all can. The figures are for people; what is chosen follows from
// integers alone.
func (m *Map) Explain(key [16]byte, n int, skip func(store.MachineID) string) []Reason {
	why := func(id store.MachineID) string {
		if skip == nil {
			return ""
		}
		return skip(id)
	}
	chosen := m.Choose(key, n, func(id store.MachineID) bool { return why(id) == "" })
	total := float64(m.total())
	var out []Reason
	taken := 0
	for _, r := range m.rank(key, nil) {
		w := m.members[r.member]
		weight := float64(w.weight) / total
		e := Reason{
			Machine: w.id, Laptop: w.laptop, Weight: weight, Score: float64(r.log) / (1 << 24) * math.Ln2 / weight,
			Keeps: slices.Contains(chosen, w.id), Skipped: why(w.id),
		}
		if e.Keeps {
			taken++
		} else if e.Skipped == "" && taken < len(chosen) {
			e.Skipped = "one copy is for a machine that is always on"
		}
		out = append(out, e)
	}
	return out
}

// Explain explains the order of key among members for n copies. For many keys keep a
// [Map].
func Explain(key [16]byte, members []store.Machine, n int) []Reason {
	return New(members, n).Explain(key, n, nil)
}
