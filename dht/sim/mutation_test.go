package sim

import (
	"testing"

	"github.com/aether-lan/aether/dht"
)

// A simulator that finds no fault in nodes that have one finds nothing.
func TestStory_FindsPlantedFaults(t *testing.T) {
	for name, m := range map[string]dht.Mutation{
		"forgets the dead": dht.ForgetDead, "keeps a dead head": dht.KeepDeadHead,
		"never notifies": dht.NeverNotify, "ignores candidates": dht.IgnoreCandidates,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(30) {
				if err := Tell(Story{Seed: seed, Broken: m, Large: seed%2 == 1}).Err; err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Error("30 seeds do not find it")
		})
	}
}

// A node whose process stands still for seconds, again and again, declares nobody
// dead; one that never doubts does.
func TestStory_SlowNodesDeclareNobodyDead(t *testing.T) {
	for _, broken := range []dht.Mutation{dht.Sound, dht.NeverDoubt} {
		wrong := 0
		for seed := range uint64(20) {
			wrong += slowStory(seed, broken)
		}
		if (broken == dht.NeverDoubt) != (wrong > 0) {
			t.Errorf("mutation %d: %d declared dead by slow nodes", broken, wrong)
		}
	}
}
