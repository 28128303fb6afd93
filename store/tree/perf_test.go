package tree_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
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

// bench is a tree on disk, in which each change has a Txn of its own that is
// committed and not synced, as the node does it.
type bench struct {
	*testing.B
	kv    *index.Pebble
	tree  *tree.Tree
	spent time.Duration // in the tree, without Begin and Commit
	now   time.Time
}

func newBench(b *testing.B) *bench {
	kv, err := index.Open(vfs.Default, b.TempDir(), index.Config{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = kv.Close() })
	t, err := tree.Open(kv, store.MachineID{1})
	if err != nil {
		b.Fatal(err)
	}
	return &bench{B: b, kv: kv, tree: t, now: epoch}
}

func (b *bench) do(f func(tx store.Txn) ([]tree.Op, []tree.Event, error)) {
	b.now = b.now.Add(time.Millisecond)
	tx := b.kv.Begin()
	began := time.Now()
	if _, _, err := f(tx); err != nil {
		b.Fatal(err)
	}
	b.spent += time.Since(began)
	if err := tx.Commit(false); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) create(dir store.FileID, name string, isDir bool) (id store.FileID) {
	b.do(func(tx store.Txn) (ops []tree.Op, events []tree.Event, err error) {
		id, ops, events, err = b.tree.CreateAt(tx, tree.Place{Dir: dir, Name: name}, isDir, size(1), b.now)
		return ops, events, err
	})
	return id
}

// files makes a directory with b.N files and starts the clock.
func (b *bench) files() (dir store.FileID, ids []store.FileID) {
	dir = b.create(tree.Root, "d", true)
	for i := range b.N {
		ids = append(ids, b.create(dir, fmt.Sprintf("f%d", i), false))
	}
	b.start()
	return dir, ids
}

func (b *bench) start() {
	b.spent = 0
	b.ReportAllocs()
	b.ResetTimer()
}

func (b *bench) report() {
	b.StopTimer()
	b.ReportMetric(float64(b.spent.Nanoseconds())/float64(b.N), "tree-ns/op")
}

func BenchmarkCreate(tb *testing.B) {
	b := newBench(tb)
	dir := b.create(tree.Root, "d", true)
	b.start()
	for i := range b.N {
		b.create(dir, fmt.Sprintf("f%d", i), false)
	}
	b.report()
}

func BenchmarkRename(tb *testing.B) {
	b := newBench(tb)
	dir, _ := b.files()
	for i := range b.N {
		b.do(func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			from, to := tree.Place{Dir: dir, Name: fmt.Sprintf("f%d", i)}, tree.Place{Dir: dir, Name: fmt.Sprintf("g%d", i)}
			return b.tree.RenameAt(tx, from, to, tree.Replace, b.now)
		})
	}
	b.report()
}

func BenchmarkRemove(tb *testing.B) {
	b := newBench(tb)
	dir, _ := b.files()
	for i := range b.N {
		b.do(func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return b.tree.RemoveAt(tx, tree.Place{Dir: dir, Name: fmt.Sprintf("f%d", i)}, false, b.now)
		})
	}
	b.report()
}

func BenchmarkWriteNode(tb *testing.B) {
	b := newBench(tb)
	_, ids := b.files()
	for i := range b.N {
		b.do(func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return b.tree.WriteNode(tx, ids[i], store.Dot{}, size(2), b.now)
		})
	}
	b.report()
}

func BenchmarkSetNode(tb *testing.B) {
	b := newBench(tb)
	_, ids := b.files()
	for i := range b.N {
		mode := uint32(0o600)
		b.do(func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return b.tree.SetNode(tx, ids[i], tree.AttributeChange{Mode: &mode}, b.now)
		})
	}
	b.report()
}

func BenchmarkOp_Append(b *testing.B) {
	op := someOps()[3]
	b.ReportAllocs()
	for range b.N {
		if _, err := op.Append(nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseOp(b *testing.B) {
	raw, err := someOps()[3].Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for range b.N {
		if _, err := tree.ParseOp(raw); err != nil {
			b.Fatal(err)
		}
	}
}
