package sim

import (
	"math/rand/v2"
	"time"
)

// network is what lies between hosts.
type network struct {
	delay   time.Duration // mean, one way
	loss    float64       // of messages
	refuses bool          // a machine whose node does not run says so
	sides   []int         // of hosts, when the network is divided
	cuts    []cut
}

// cut lets nothing through, one way.
type cut struct{ from, to int }

func (n *network) side(h *host) int {
	if h.at < len(n.sides) {
		return n.sides[h.at]
	}
	return 0
}

// loses reports whether a message does not arrive.
func (n *network) loses(rng *rand.Rand, from, to *host) bool {
	if n.loss > 0 && rng.Float64() < n.loss || n.side(from) != n.side(to) {
		return true
	}
	for _, c := range n.cuts {
		if c.from == from.at && c.to == to.at {
			return true
		}
	}
	return false
}

func (n *network) latency(rng *rand.Rand) time.Duration {
	return n.delay/2 + time.Duration(rng.Int64N(int64(n.delay)+1))
}

// heal undoes all faults of the network.
func (n *network) heal() { n.loss, n.sides, n.cuts = 0, nil, nil }
