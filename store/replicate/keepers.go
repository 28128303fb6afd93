package replicate

import (
	"slices"

	"github.com/aether-lan/aether/store"
)

// Keepers calls f with each of a's holders that is known to hold it, by what they last
// told; a machine that is away still holds it. Copies returns how many they are.
func (e *Engine) Keepers(a Assignment, f func(store.MachineID)) {
	for i, m := range a.Holders {
		switch {
		case slices.Contains(a.Holders[:i], m):
		case m == e.cfg.Self && e.holds(a.Dot), m != e.cfg.Self && e.told[m].covers(a.Dot):
			f(m)
		}
	}
}
