package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// LoadConfig says who shares how many keys.
type LoadConfig struct {
	Nodes   int    // 1 to MaxStaticNodes; 0 means 10,000
	Virtual int    // points of the circle that each node has; 0 means 1
	Keys    int    // 0 means 50 for each node
	Seed    uint64 // of the points and the keys
}

// maxPoints bounds the points and the keys of a [Load].
const maxPoints = 1 << 27

// Load places random keys on random points of the circle and counts how many each
// node owns.
func Load(cfg LoadConfig) (Histogram, error) {
	if cfg.Nodes == 0 {
		cfg.Nodes = 10_000
	}
	if cfg.Virtual == 0 {
		cfg.Virtual = 1
	}
	if cfg.Keys == 0 {
		cfg.Keys = 50 * cfg.Nodes
	}
	switch {
	case cfg.Nodes < 1 || cfg.Nodes > MaxStaticNodes || cfg.Virtual < 1 || cfg.Virtual > maxPoints/cfg.Nodes:
		return nil, fmt.Errorf("dht/sim: %d nodes of %d points: want 1 to %d, and %d points in all at most",
			cfg.Nodes, cfg.Virtual, MaxStaticNodes, maxPoints)
	case cfg.Keys < 0 || cfg.Keys > maxPoints:
		return nil, fmt.Errorf("dht/sim: %d keys: want at most %d", cfg.Keys, maxPoints)
	}
	rng := rand.New(rand.NewPCG(cfg.Seed, streamLoad))
	// The first 64 bits of IDs are enough to say whose a key is.
	points, keys := sorted(rng, cfg.Nodes*cfg.Virtual), sorted(rng, cfg.Keys)
	owners := rng.Perm(len(points)) // of a node's points none is near another
	count := make([]int, cfg.Nodes)
	at := 0
	for _, k := range keys {
		for at < len(points) && points[at] < k {
			at++
		}
		count[owners[at%len(points)]%cfg.Nodes]++
	}
	var h Histogram
	for _, n := range count {
		h.Add(n)
	}
	return h, nil
}

func sorted(rng *rand.Rand, n int) []uint64 {
	list := make([]uint64, n)
	for i := range list {
		list[i] = rng.Uint64()
	}
	slices.Sort(list)
	return list
}
