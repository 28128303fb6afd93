package records

import (
	"testing"
)

// within is the number of seeds in which each planted mistake must be caught; those
// that need rare accidents begin at a seed that has some, to be found soon.
var within = map[Mutation]struct{ from, n uint64 }{
	SkipSeal:           {0, 100},
	AckBeforeDisk:      {70, 300},
	AckAlone:           {0, 100},
	InstallOnLeader:    {0, 300},
	ReadUnconfirmed:    {0, 100},
	ForgetRequests:     {0, 100},
	DropUnknown:        {0, 100},
	AcceptBelowPromise: {0, 1000},
	GenesisTwice:       {0, 100},
	GatherFirst:        {0, 400},
	IgnoreAccepted:     {300, 300},
	WipedJoins:         {0, 1000},
}

// Planted mistakes are caught: so the checks can see.
func TestSim_CatchesEveryMutation(t *testing.T) {
	if len(within) != int(WipedJoins) {
		t.Errorf("%d of %d mutations are tried", len(within), WipedJoins)
	}
	for m := Sound + 1; m <= WipedJoins; m++ {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			for k := range within[m].n {
				seed := within[m].from + k
				if o := simulate(t, seed, m, false); o.failure != "" {
					t.Logf("seed %d, the %dth: %.200s", seed, k+1, o.failure)
					return
				}
			}
			t.Errorf("not caught in %d seeds", within[m].n)
		})
	}
}
