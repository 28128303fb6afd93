package tree_test

import (
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// The time of a directory goes with its entries, and not with what is written to
// them.
func TestNode_TimeOfADirectory(t *testing.T) {
	s := newSite(t, 1)
	d := s.create(t, tree.Root, "d", true, 0)
	e := s.create(t, d, "e", true, 0)
	mode := uint32(0o700)
	long := epoch.Add(-time.Hour)
	for _, c := range []struct {
		what   string
		change func(tx store.Txn) ([]tree.Op, []tree.Event, error)
		moves  bool
	}{
		{"create", func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			_, ops, events, err := s.tree.CreateAt(tx, tree.Place{Dir: d, Name: "f"}, false, size(3), epoch)
			return ops, events, err
		}, true},
		{"write", func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return s.tree.Put(tx, "/d/f", size(4), epoch)
		}, false},
		{"create deeper", func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			_, ops, events, err := s.tree.CreateAt(tx, tree.Place{Dir: e, Name: "f"}, false, size(3), epoch)
			return ops, events, err
		}, false},
		{"set mode", s.setNode(d, tree.AttributeChange{Mode: &mode}), false},
		{"rename", s.renameAt(tree.Place{Dir: d, Name: "f"}, tree.Place{Dir: d, Name: "g"}, tree.Replace), true},
		{"move away", s.renameAt(tree.Place{Dir: d, Name: "g"}, tree.Place{Name: "g"}, tree.Replace), true},
		{"move here", s.renameAt(tree.Place{Name: "g"}, tree.Place{Dir: d, Name: "g"}, tree.Replace), true},
		{"remove", s.removeAt(tree.Place{Dir: d, Name: "g"}), true},
		{"rename itself", s.renameAt(tree.Place{Name: "d"}, tree.Place{Name: "d2"}, tree.Replace), false},
	} {
		s.in(t, s.setNode(d, tree.AttributeChange{ModTime: &long}))
		if n := s.node(t, d); !n.Version.ModTime.Equal(long) {
			t.Fatalf("the time that was set is %v", n.Version.ModTime)
		}
		s.in(t, c.change)
		n := s.node(t, d)
		if moved := !n.Version.ModTime.Equal(long); moved != c.moves {
			t.Errorf("%s: the time is %v; moved %v, want %v", c.what, n.Version.ModTime, moved, c.moves)
		}
		if c.moves && n.Version.ModTime.After(n.Changed) {
			t.Errorf("%s: modified %v, changed only %v", c.what, n.Version.ModTime, n.Changed)
		}
	}
}

// The root has a time too, and two changes within a millisecond have two.
func TestNode_TimeOfTheRoot(t *testing.T) {
	s := newSite(t, 1)
	var last time.Time
	for _, name := range []string{"a", "b", "c"} {
		s.create(t, tree.Root, name, false, 1)
		got := s.node(t, tree.Root).Version.ModTime
		if !got.After(last) || got.Sub(epoch).Abs() >= time.Millisecond {
			t.Errorf("after %s: %v, before %v, the clock says %v", name, got, last, epoch)
		}
		last = got
	}
}

// What another machine has done counts by its stamp, whenever it arrives.
func TestNode_TimeOfADirectoryFromElsewhere(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	d := a.create(t, tree.Root, "d", true, 0)
	a.create(t, d, "f", false, 1)
	for _, op := range a.logs[a.id] {
		b.apply(t, op, epoch.Add(time.Minute))
	}
	if got, want := b.node(t, d).Version.ModTime, a.node(t, d).Version.ModTime; !got.Equal(want) {
		t.Errorf("%v here, %v there", got, want)
	}
}
