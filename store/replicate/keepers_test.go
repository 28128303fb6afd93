package replicate

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/aether-lan/aether/store"
)

func TestKeepers_SayWhatCopiesSays(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	b := newBench(t)
	var all []Assignment
	for seq := range uint64(40) {
		for _, author := range []string{"s", "a", "b"} {
			a := assignment(fmt.Sprintf("%s/%d", author, seq+1), []string{"s", "as", "ab", "sab", "ssa"}[r.IntN(5)], 1)
			all = append(all, a)
			self := a.Holders[0] == machine("s") || len(a.Holders) > 1 && a.Holders[1] == machine("s")
			b.tx(func(tx store.Txn) error {
				switch {
				case self && r.IntN(3) == 0:
					return b.e.Assign(tx, b.now, a)
				case self:
					return b.e.Hold(tx, a)
				}
				return nil
			})
		}
		if r.IntN(4) == 0 {
			b.tx(func(tx store.Txn) error { return b.e.Forget(tx, all[r.IntN(len(all))].Dot) })
		}
		inv := inventory{{author: machine("a"), upTo: r.Uint64N(20), ranges: []span{{30, 35}}}, {author: machine("s"), upTo: r.Uint64N(40)}}
		if err := b.e.PeerHolds(b.now, machine([]string{"a", "b"}[r.IntN(2)]), inv.append(nil)); err != nil {
			t.Fatal(err)
		}
		checkKeepers(t, b.e, all...)
	}
}
