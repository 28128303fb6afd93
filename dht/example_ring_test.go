package dht

import (
	"slices"
	"testing"
)

// The worked example of the text, number by number.
func TestExample_LookupsGoAsInTheText(t *testing.T) {
	e := NewExample()
	for _, c := range []struct {
		key, from uint64
		hops      []uint64
		owner     uint64
	}{
		{26, 1, []uint64{18, 20, 21}, 28},
		{12, 28, []uint64{4, 9, 11}, 14},
		{1, 1, nil, 1}, // its own key
		{2, 1, nil, 4}, // its successor's
		{29, 21, []uint64{28}, 1},
	} {
		if hops, owner := e.Lookup(c.key, c.from); !slices.Equal(hops, c.hops) || owner != c.owner {
			t.Errorf("lookup(%d) from %d goes %v and names %d, want %v and %d", c.key, c.from, hops, owner, c.hops, c.owner)
		}
	}
}

func TestExample_FingerTables(t *testing.T) {
	e := NewExample()
	for n, want := range map[uint64][]uint64{
		1: {4, 4, 9, 9, 18}, 4: {9, 9, 9, 14, 20}, 9: {11, 11, 14, 18, 28}, 11: {14, 14, 18, 20, 28}, 14: {18, 18, 18, 28, 1},
		18: {20, 20, 28, 28, 4}, 20: {21, 28, 28, 28, 4}, 21: {28, 28, 28, 1, 9}, 28: {1, 1, 1, 4, 14},
	} {
		if got := e.Fingers(n); !slices.Equal(got, want) {
			t.Errorf("node %d: fingers %v, want %v", n, got, want)
		}
	}
}

// Only the fingers whose start has 7 for its owner now are touched, and then all
// tables are as if they had been built anew.
func TestExample_InsertTouchesWhatChanges(t *testing.T) {
	e := NewExample()
	asked, answer, changes := e.Insert(7)
	if asked != 8 || answer != 9 {
		t.Errorf("the newcomer asks for succ(%d) and hears %d", asked, answer)
	}
	want := []Change{{1, 3, 9, 7}, {4, 1, 9, 7}, {4, 2, 9, 7}, {21, 5, 9, 7}}
	if !slices.Equal(changes, want) {
		t.Errorf("changed %v, want %v", changes, want)
	}
	fresh := &Example{space: e.space, nodes: e.Nodes()}
	fresh.build()
	for _, n := range e.Nodes() {
		if !slices.Equal(e.Fingers(n), fresh.Fingers(n)) {
			t.Errorf("node %d: %v, built anew %v", n, e.Fingers(n), fresh.Fingers(n))
		}
		a, b := e.table[n].ring, fresh.table[n].ring
		if a.pred != b.pred || a.Head() != b.Head() {
			t.Errorf("node %d lies between %v and %v, built anew %v and %v", n, a.pred, a.Head(), b.pred, b.Head())
		}
	}
}

// From every node every key is found, in at most m hops.
func TestExample_EveryLookupEnds(t *testing.T) {
	e := NewExample()
	for range 2 {
		for _, n := range e.Nodes() {
			for k := range uint64(32) {
				if hops, owner := e.Lookup(k, n); owner != e.Successor(k) || len(hops) > 5 {
					t.Errorf("lookup(%d) from %d: %v, %d", k, n, hops, owner)
				}
			}
		}
		e.Insert(7)
	}
}
