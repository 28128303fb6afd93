package sim

import "testing"

// within is the number of seeds in which each planted mistake must be caught.
var within = map[string]uint64{
	"skip-sync": 500, "ack-before-save": 500, "promise-without-watermark": 500, "no-gap-fill": 500, "reuse-read": 1500, "no-noop": 500,
	"lease-over-pause": 500, "ack-over-gap": 500, "applied-apart": 500, "wiped-votes": 500, "config-from-snapshot": 500, "double-apply": 500,
}

func TestRun_CatchesEveryMutation(t *testing.T) {
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
