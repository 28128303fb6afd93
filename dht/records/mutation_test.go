package records

import (
	"testing"
)

// within is the number of seeds in which each planted mistake must be caught.
var within = map[Mutation]uint64{
	SkipSeal:           100,
	AckBeforeDisk:      400,
	AckAlone:           100,
	InstallOnLeader:    300,
	ReadUnconfirmed:    100,
	ForgetRequests:     100,
	DropUnknown:        100,
	AcceptBelowPromise: 1000,
	GenesisTwice:       100,
	GatherFirst:        400,
	IgnoreAccepted:     600,
	WipedJoins:         1000,
}

// Planted mistakes are caught: so the checks can see.
func TestSim_CatchesEveryMutation(t *testing.T) {
	if len(within) != int(WipedJoins) {
		t.Errorf("%d of %d mutations are tried", len(within), WipedJoins)
	}
	for m := Sound + 1; m <= WipedJoins; m++ {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			for seed := range within[m] {
				if o := simulate(t, seed, m, false); o.failure != "" {
					t.Logf("seed %d: %.200s", seed, o.failure)
					return
				}
			}
			t.Errorf("not caught in %d seeds", within[m])
		})
	}
}
