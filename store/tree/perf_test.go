package tree_test

import (
	"fmt"
	"testing"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// BenchmarkManyFiles measures what 11,000 small files cost the machine that makes them and the
// one that hears of them.
func BenchmarkManyFiles(b *testing.B) {
	for range b.N {
		a, c := newSite(b, 1), newSite(b, 2)
		put := func(path string, n int) {
			if err := a.change(b, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
				if n < 0 {
					return a.tree.Mkdir(tx, path, tree.Version{Mode: 0o755}, epoch)
				}
				v := tree.Version{Content: store.Content{Size: int64(n)}, Mode: 0o644, Holders: []store.MachineID{a.id, c.id}}
				return a.tree.Put(tx, path, v, epoch)
			}); err != nil {
				b.Fatal(err)
			}
		}
		for d := range 110 {
			put(fmt.Sprintf("/d%d", d), -1)
			for f := range 100 {
				put(fmt.Sprintf("/d%d/f%d", d, f), f)
			}
		}
		for deliver(b, a, c, a.id, epoch) {
		}
		same(b, a, c)
	}
}
