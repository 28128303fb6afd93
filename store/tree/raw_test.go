package tree_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// TestAnyOperations: not only what the tree itself writes has one meaning, but
// whatever anybody may write: moves that cross, nodes nobody has seen, stamps
// that contradict causality.
func TestAnyOperations(t *testing.T) {
	rapid.Check(t, checkAnyOperations)
}

// author writes operations without asking a tree.
type author struct {
	*site
	said store.Vector // what its operations have said that it has seen
}

func (a *author) write(t *rapid.T, nodes []store.FileID) tree.Op {
	pick := func(what string) store.FileID { return rapid.SampledFrom(nodes).Draw(t, what) }
	seen, err := a.tree.Vector(a.kv)
	if err != nil {
		t.Fatal(err)
	}
	op := tree.Op{
		Dot:  store.Dot{Machine: a.id, Seq: seen[a.id] + 1},
		Time: store.TimeAt(epoch.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "minutes")) * time.Minute)),
		Kind: rapid.SampledFrom([]tree.Kind{tree.KindCreate, tree.KindCreate, tree.KindMove, tree.KindMove, tree.KindMove,
			tree.KindDelete, tree.KindContent, tree.KindDiscard, tree.KindAttributes, tree.KindXattr, tree.KindLink, tree.KindLink, 40, 70}).Draw(t, "kind"),
	}
	for _, m := range seen.Machines() {
		if m != a.id && seen[m] > a.said[m] {
			op.Seen = append(op.Seen, store.Dot{Machine: m, Seq: seen[m]})
		}
	}
	a.said = seen
	someDot := store.Dot{Machine: store.MachineID{byte(rapid.IntRange(1, 3).Draw(t, "of"))}, Seq: uint64(rapid.IntRange(1, 8).Draw(t, "number"))}
	switch op.Kind {
	case tree.KindCreate:
		op.Parent, op.Dir = pick("parent"), rapid.IntRange(0, 2).Draw(t, "dir") > 0
		op.Name = rapid.SampledFrom([]string{"x", "y", "z.c"}).Draw(t, "name")
		if !op.Dir {
			op.Version.Content.Size = int64(rapid.IntRange(1, 3).Draw(t, "size"))
		}
		op.Version.ModTime, op.Version.UID = drawTime(t), 2
	case tree.KindMove, tree.KindLink:
		op.Node, op.Parent = pick("node"), pick("parent")
		op.Name = rapid.SampledFrom([]string{"x", "y", "z.c"}).Draw(t, "name")
	case tree.KindContent:
		op.Node, op.Version.Content.Size = pick("node"), int64(rapid.IntRange(1, 3).Draw(t, "size"))
		op.Dots = []store.Dot{someDot}
	case tree.KindDelete, tree.KindDiscard:
		op.Node, op.Dots = pick("node"), []store.Dot{someDot}
	case tree.KindXattr:
		op.Node, op.Name = pick("node"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")
		if op.Removed = rapid.Bool().Draw(t, "removed"); !op.Removed {
			op.Body = []byte{byte(rapid.IntRange(0, 3).Draw(t, "value"))}
		}
	case tree.KindAttributes:
		op.Node, op.Version.Mode = pick("node"), uint32(rapid.IntRange(0, 7).Draw(t, "mode"))
		op.Version.ModTime, op.Version.GID = drawTime(t), 3
	}
	return op
}

func checkAnyOperations(t *rapid.T) {
	var authors []*author
	var sites []*site
	for n := range 3 {
		s := newSite(t, byte(n+1))
		sites = append(sites, s)
		authors = append(authors, &author{site: s, said: store.Vector{}})
	}
	nodes := []store.FileID{tree.Root, tree.Root}
	var all []tree.Op
	for range rapid.IntRange(1, 50).Draw(t, "steps") {
		i := rapid.IntRange(0, 2).Draw(t, "site")
		if rapid.IntRange(0, 2).Draw(t, "hear") > 0 {
			op := authors[i].write(t, nodes)
			sites[i].apply(t, op, epoch)
			all = append(all, op)
			if op.Kind == tree.KindCreate || op.Kind == tree.KindLink {
				nodes = append(nodes, nodeID(op.Dot))
			}
			continue
		}
		from := sites[(i+rapid.IntRange(1, 2).Draw(t, "from"))%3]
		for _, a := range authors {
			for range rapid.IntRange(0, 6).Draw(t, "many") {
				deliver(t, from, sites[i], a.id, epoch)
			}
		}
	}
	want := view(all)
	seed := rapid.Uint64().Draw(t, "order")
	sites = append(sites, newSite(t, 10), newSite(t, 11))
	for n, s := range sites {
		finish(t, s, sites[:3], rand.New(rand.NewPCG(seed, uint64(n))), epoch)
		got, err := walked(s.tree, s.kv)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("site %d: view (-oracle +tree):\n%s\nops:\n%s", n, d, printed(all))
		}
		same(t, sites[0], s)
	}
}
