package sim

import (
	"context"
	"errors"
	"testing"
)

func churnOf(t *testing.T, cfg ChurnConfig) ChurnReport {
	t.Helper()
	r, err := Churn(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestChurn_LookupsSucceedWhileNodesComeAndGo(t *testing.T) {
	for name, cfg := range map[string]ChurnConfig{
		"all known": {Nodes: 40, Minutes: 4, JoinsPerSecond: 0.1, FailsPerSecond: 0.1, Lookups: 2000, Seed: 1},
		"fingers":   {Nodes: 40, Minutes: 2, JoinsPerSecond: 0.1, FailsPerSecond: 0.1, Lookups: 1000, Seed: 2, MaxMembers: 12},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := churnOf(t, cfg)
			t.Logf("%+v", r)
			if r.Formed == 0 || r.Settled == 0 || r.Joins == 0 || r.Fails == 0 {
				t.Errorf("not formed, or not settled, or nothing happened: %+v", r)
			}
			if answered := int(r.Hops.Count()) + r.Failed + r.Wrong; answered > r.Lookups || answered < r.Lookups*9/10 {
				t.Errorf("%d lookups answered of %d", answered, r.Lookups)
			}
			if r.Failed > 0 || r.Wrong*100 > r.Lookups {
				t.Errorf("%d failed, %d were wrong, of %d", r.Failed, r.Wrong, r.Lookups)
			}
		})
	}
}

func TestChurn_SameSeedSameRun(t *testing.T) {
	cfg := ChurnConfig{Nodes: 20, Minutes: 1, JoinsPerSecond: 0.2, FailsPerSecond: 0.2, Lookups: 100, Seed: 5}
	a, b := churnOf(t, cfg), churnOf(t, cfg)
	cfg.Seed++
	if c := churnOf(t, cfg); a.Hash != b.Hash || a.Hash == c.Hash {
		t.Errorf("hashes %x, %x, and of another seed %x", a.Hash, b.Hash, c.Hash)
	}
}

func TestChurn_RefusesNonsenseAndEndsWhenTold(t *testing.T) {
	if _, err := Churn(t.Context(), ChurnConfig{Nodes: -1}, nil); err == nil {
		t.Error("a ring of -1 nodes")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Churn(ctx, ChurnConfig{}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
