package probe

import (
	"math/rand/v2"
	"testing"
)

// asked returns what comes of n questions of which each is lost with a probability.
func asked(rng *rand.Rand, n uint64, loss float64) PathReport {
	p := PathReport{Sent: n + 1, Received: n + 1, SentLater: n, ReceivedLater: n}
	for range n {
		if rng.Float64() < loss {
			p.Received, p.ReceivedLater, p.Lost = p.Received-1, p.ReceivedLater-1, p.Lost+1
		}
	}
	return p
}

// Chance is seldom taken for a fault of multicast, and a fault seldom for chance.
func TestHostReport_VerdictAndChance(t *testing.T) {
	const seed, hosts = 1, 10000
	for _, c := range []struct {
		n                  uint64
		unicast, multicast float64
		limit              float64
		least, most        int // how many of the hosts are judged lossy
	}{
		{93, 0.1, 0.1, 0.05, 0, 40}, {20, 0.1, 0.1, 0.05, 0, 1200}, {1000, 0.1, 0.1, 0.05, 0, 40}, {93, 0.02, 0.02, 0, 0, 1700},
		{93, 0, 0.15, 0.05, 9990, hosts}, {93, 0.02, 0.3, 0.05, 9900, hosts}, {1000, 0.1, 0.2, 0.05, 9990, hosts},
	} {
		rng := rand.New(rand.NewPCG(seed, c.n))
		lossy := 0
		for range hosts {
			r := HostReport{Paths: [3]PathReport{asked(rng, c.n, c.unicast), asked(rng, c.n, c.multicast), asked(rng, c.n, c.multicast)}}
			if r.Verdict(c.limit) == Lossy {
				lossy++
			}
		}
		t.Logf("%+v: %d lossy", c, lossy)
		if lossy < c.least || lossy > c.most {
			t.Errorf("%+v: %d of %d hosts are lossy (seed %d)", c, lossy, hosts, seed)
		}
	}
}
