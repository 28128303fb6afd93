package dht_test

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/aether-lan/aether/dht"
)

// A node is a value: whoever drives it brings the network and the clock. Here three
// nodes form a ring in made-up time, and messages take no time at all.
func ExampleNode() {
	space, err := dht.NewSpace(8)
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(0, 0)
	var order []dht.ID
	nodes := map[dht.ID]*dht.Node{}
	for i, n := range []uint64{30, 110, 200} {
		self := dht.Peer{ID: space.Int(n), Incarnation: 1}
		node := dht.NewNode(dht.Config{Space: space, Self: self, Seed: uint64(i)})
		if i > 0 {
			node.Meet(now, dht.Peer{ID: order[0]}) // one contact is enough
		}
		nodes[self.ID], order = node, append(order, self.ID)
	}
	for range 200 { // 20 seconds
		now = now.Add(100 * time.Millisecond)
		for _, id := range order {
			if due, ok := nodes[id].NextTimeout(); ok && !due.After(now) {
				nodes[id].HandleTimeout(now)
			}
			for _, p := range nodes[id].Outgoing() {
				if to, ok := nodes[p.To.ID]; ok {
					to.HandleMessage(now, nodes[id].View().Self, p.Message)
				}
			}
		}
	}
	for _, key := range []uint64{20, 110, 111, 250} {
		owner, ok := nodes[order[0]].Owner(space.Int(key))
		fmt.Println(key, "belongs to", space.Format(owner.ID), ok)
	}
	// Output:
	// 20 belongs to 30 true
	// 110 belongs to 110 true
	// 111 belongs to 200 true
	// 250 belongs to 30 true
}

// A key's point on the circle is its hash.
func ExampleSpace_Hash() {
	space, err := dht.NewSpace(160)
	if err != nil {
		fmt.Println(err)
		return
	}
	sum := sha256.Sum256([]byte("colour"))
	fmt.Println(space.Format(space.Hash(sum[:])))
	// Output: 4e21303cb3bca71e3b17a3dbdc4c91613d2fe0c6
}

// The textbook's lookup goes from finger to finger.
func ExampleExample_Lookup() {
	ring := dht.NewExample()
	hops, owner := ring.Lookup(26, 1)
	fmt.Println(ring.Fingers(1), hops, owner)
	// Output: [4 4 9 9 18] [18 20 21] 28
}
