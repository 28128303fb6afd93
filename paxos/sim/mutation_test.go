package sim

import "testing"

// within is the number of seeds in which each planted mistake must be caught.
var within = map[string]uint64{
	"skip-sync":                 20,
	"ack-before-save":           20,
	"promise-without-watermark": 300,
	"no-gap-fill":               300,
	"reuse-read":                2000,
	"no-noop":                   2000,
	"lease-over-pause":          1000,
	"ack-over-gap":              100,
	"applied-apart":             300,
	"wiped-votes":               300,
	"config-from-snapshot":      300,
	"double-apply":              100,
}

// Planted mistakes are caught: so the checks can see.
func TestRun_CatchesEveryMutation(t *testing.T) {
	if len(Mutations()) != 12 {
		t.Errorf("%d mutations, want 12", len(Mutations()))
	}
	for _, name := range Mutations() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range within[name] {
				if r := run(t, Options{Seed: seed, Mutate: name}); r.Failure != "" {
					t.Logf("seed %d: %.300s", seed, r.Failure)
					return
				}
			}
			t.Errorf("not caught in %d seeds", within[name])
		})
	}
}
