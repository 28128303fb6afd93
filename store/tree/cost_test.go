package tree_test

import (
	"fmt"
	"testing"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// counting counts what a change asks of the disk.
type counting struct {
	store.Txn
	cost
}

type cost struct{ gets, scans, changes int }

func (c *counting) Get(k []byte) ([]byte, error) {
	c.gets++
	return c.Txn.Get(k)
}

func (c *counting) Scan(from, to []byte, f func(k, v []byte) bool) error {
	c.scans++
	return c.Txn.Scan(from, to, f)
}

func (c *counting) Last(from, to []byte) (k, v []byte, err error) {
	c.scans++
	return c.Txn.Last(from, to)
}

func (c *counting) Set(k, v []byte) error {
	c.changes++
	return c.Txn.Set(k, v)
}

func (c *counting) Delete(k []byte) error {
	c.changes++
	return c.Txn.Delete(k)
}

func (s *site) cost(t testing.TB, f func(tx store.Txn) ([]tree.Op, []tree.Event, error)) cost {
	t.Helper()
	c := &counting{Txn: s.kv.Begin()}
	ops, _, err := f(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(false); err != nil {
		t.Fatal(err)
	}
	s.logs[s.id] = append(s.logs[s.id], ops...)
	return c.cost
}

// TestCost bounds what the changes that a mounted drive makes thousands of times a
// second ask of the disk.
func TestCost(t *testing.T) {
	s := newSite(t, 1)
	d := s.create(t, tree.Root, "d", true, 0)
	f := s.create(t, d, "f", false, 1)
	s.create(t, d, "g", false, 2)
	mode := uint32(0o600)
	for _, c := range []struct {
		what   string
		change func(tx store.Txn) ([]tree.Op, []tree.Event, error)
		most   cost
	}{
		// state, directory, what it contains; the name
		{"create", func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			_, ops, events, err := s.tree.CreateAt(tx, tree.Place{Dir: d, Name: "h"}, false, size(3), epoch)
			return ops, events, err
		}, cost{gets: 3, scans: 1, changes: 6}},
		{"write", s.write(f, store.Dot{}, 4), cost{gets: 4, scans: 2, changes: 6}},
		{"set mode", s.setNode(f, tree.AttributeChange{Mode: &mode}), cost{gets: 4, scans: 1, changes: 4}},
		{"rename", s.renameAt(tree.Place{Dir: d, Name: "f"}, tree.Place{Dir: d, Name: "x"}, tree.Replace), cost{gets: 4, scans: 3, changes: 10}},
		{"remove", s.removeAt(tree.Place{Dir: d, Name: "g"}), cost{gets: 4, scans: 2, changes: 7}},
	} {
		got := s.cost(t, c.change)
		if got.gets > c.most.gets || got.scans > c.most.scans || got.changes > c.most.changes {
			t.Errorf("%s costs %+v, at most %+v", c.what, got, c.most)
		}
	}
}

// TestCost_RenameOfADirectory: it costs the same whatever the directory holds.
func TestCost_RenameOfADirectory(t *testing.T) {
	s := newSite(t, 1)
	s.create(t, tree.Root, "empty", true, 0)
	full := s.create(t, tree.Root, "full", true, 0)
	for i := range 2000 {
		s.create(t, full, fmt.Sprintf("f%d", i), false, int64(i))
	}
	rename := func(name string) cost {
		return s.cost(t, s.renameAt(tree.Place{Name: name}, tree.Place{Name: name + "2"}, tree.Replace))
	}
	if a, b := rename("empty"), rename("full"); a != b {
		t.Errorf("empty %+v, full %+v", a, b)
	}
}
