package sim_test

import (
	"context"
	"fmt"

	"github.com/aether-lan/aether/dht/sim"
)

// Half of four thousand nodes die at once, and nobody has noticed yet.
func ExampleStatic_Lookups() {
	ring, err := sim.NewStatic(sim.StaticConfig{Nodes: 4096, Seed: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, share := range []float64{0, 0.5} {
		if err := ring.Kill(share); err != nil {
			fmt.Println(err)
			return
		}
		l, err := ring.Lookups(context.Background(), 10_000, nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%d alive: %.0f hops and %.0f timeouts, %d lookups failed\n", ring.Alive(), l.Hops.Mean(), l.Timeouts.Mean(), l.Failed)
	}
	// Output:
	// 4096 alive: 5 hops and 0 timeouts, 0 lookups failed
	// 2048 alive: 7 hops and 7 timeouts, 0 lookups failed
}
