package node

import (
	"fmt"
	"testing"

	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// BenchmarkNames measures what the machine takes for a change of a name, without the
// disk's fsync and without the kernel.
func BenchmarkNames(b *testing.B) {
	cfg := Config{Dir: b.TempDir()}
	if _, err := Init(cfg, pool.Secret{}); err != nil {
		b.Fatal(err)
	}
	m, err := Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	d := m.Drive()
	at := func(s string, i int) tree.Place { return tree.Place{Name: fmt.Sprint(s, i)} }
	n := 0
	b.Run("create", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.CreateAt(b.Context(), at("f", n), false, tree.Version{Mode: 0o644}); err != nil {
				b.Fatal(err)
			}
			n++
		}
	})
	b.Run("stat", func(b *testing.B) {
		for b.Loop() {
			e, err := d.Child(tree.Root, at("f", n/2).Name)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := d.Node(e.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	i := 0
	b.Run("rename", func(b *testing.B) {
		for b.Loop() {
			from, to := "f", "g"
			if i/n%2 == 1 {
				from, to = to, from
			}
			if err := d.RenameAt(b.Context(), at(from, i%n), at(to, i%n), tree.Replace); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
}
