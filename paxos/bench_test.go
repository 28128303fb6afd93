package paxos

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkNode_Choose measures three nodes that choose 16-byte commands, in memory,
// codec and all, in batches as clients of that number would make.
func BenchmarkNode_Choose(b *testing.B) {
	for _, clients := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint(clients), func(b *testing.B) {
			c := newCluster(&testing.T{}, 3, nil)
			l := c.leader()
			c.run(time.Second)
			value := make([]byte, 16)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				for range clients {
					if err := l.Propose(c.now, value); err != nil {
						b.Fatal(err)
					}
					n++
				}
				for l.chosen < l.lead.placed || len(l.lead.queue.values) > 0 {
					c.step()
				}
				c.applied = map[NodeID][]Entry{}
				for _, id := range c.ids() {
					c.disks[id].Entries = nil
					c.disks[id].Applied.Slot = c.nodes[id].log.last()
					_ = c.nodes[id].Compact(Snapshot{Slot: c.nodes[id].app.given, Members: c.nodes[id].Members()}, c.nodes[id].app.given)
				}
			}
		})
	}
}
