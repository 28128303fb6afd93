package dht

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// allBefore is NextBy, slow and plain: everything known, by its distance to key, but
// for the fingers below one that is the head.
func allBefore(t *Table, key ID) (list []ID) {
	fingers := slices.Clone(t.fingers)
	if d := t.space.Distance(t.ring.self.ID, key); d != (ID{}) {
		fingers = fingers[:Log2(d)+1]
	}
	slices.Reverse(fingers)
	if i := slices.IndexFunc(fingers, func(p Peer) bool { return p.ID == t.ring.Head().ID }); i >= 0 {
		fingers = fingers[:i]
	}
	for _, p := range append(fingers, t.ring.list...) {
		if p != (Peer{}) && Between(t.ring.self.ID, p.ID, key) && !slices.Contains(list, p.ID) {
			list = append(list, p.ID)
		}
	}
	slices.SortFunc(list, func(a, b ID) int {
		return t.space.Distance(a, key).Compare(t.space.Distance(b, key))
	})
	return list
}

// Tables that are in part old and in part unknown, as those of a ring that changes.
func drawTable(t *rapid.T) *Table {
	s, err := NewSpace(rapid.IntRange(MinBits, 9).Draw(t, "bits"))
	if err != nil {
		t.Fatal(err)
	}
	points := uint64(1) << s.Bits()
	draw := func(label string) Peer {
		return Peer{ID: s.Int(rapid.Uint64Range(0, points-1).Draw(t, label)), Incarnation: rapid.Uint64Range(1, 3).Draw(t, "life")} // the zero Peer is nobody
	}
	r := NewRing(draw("self"), rapid.IntRange(1, 6).Draw(t, "length"))
	list := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Peer { return draw("successor") }), 0, 8).Draw(t, "list")
	slices.SortFunc(list, func(a, b Peer) int {
		return s.Distance(r.self.ID, a.ID).Compare(s.Distance(r.self.ID, b.ID))
	})
	r.adopt(slices.CompactFunc(list, func(a, b Peer) bool { return a.ID == b.ID }))
	table := NewTable(s, r)
	for i := 1; i <= s.Bits(); i++ {
		p := draw("finger")
		behind := s.Distance(r.self.ID, p.ID).Compare(s.Power(i-1)) >= 0
		if behind && rapid.Bool().Draw(t, "known") {
			table.SetFinger(i, p)
		}
	}
	return table
}

func TestNextBy_IsTheNearestOfAllThatIsKnown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		key := table.space.Int(rapid.Uint64().Draw(t, "key"))
		n := rapid.IntRange(1, 5).Draw(t, "n")
		want := allBefore(table, key)
		want = want[:min(n, len(want))]
		already := []Peer{{ID: key, Incarnation: 99}}
		got := NextBy(already, table, key, n)
		if got[0] != already[0] {
			t.Fatalf("what was there is %v now", got[0])
		}
		ids := []ID{}
		for _, p := range got[1:] {
			ids = append(ids, p.ID)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("before %v: %v, want %v", key, ids, want)
		}
	})
}

func TestOwnerBy_IsTheFirstAtOrBehindTheKey(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := drawTable(t)
		r, s := table.ring, table.space
		key := s.Int(rapid.Uint64().Draw(t, "key"))
		owner, place, ok := OwnerBy(table, key)
		if r.Head().Is(r.self) {
			if !ok || !owner.Is(r.self) || place != -1 {
				t.Fatalf("alone: %v, %d, %v", owner, place, ok)
			}
			return
		}
		far := func(id ID) ID { return s.Distance(s.Add(r.self.ID, s.Int(1)), id) } // the node itself comes last
		want := slices.IndexFunc(r.list, func(p Peer) bool { return far(p.ID).Compare(far(key)) >= 0 })
		if ok != (want >= 0) || ok && (place != want || !owner.Is(r.list[want])) {
			t.Errorf("owner of %v is %v, %d, %v; want number %d of %v", key, owner, place, ok, want, r.list)
		}
	})
}

// A ring of two lives of one node: the later one is who can be asked.
func TestNextBy_TheLaterLifeCounts(t *testing.T) {
	s, err := NewSpace(8)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRing(Peer{ID: s.Int(1)}, 2)
	r.adopt([]Peer{{ID: s.Int(5), Incarnation: 1}, {ID: s.Int(9)}})
	table := NewTable(s, r)
	table.SetFinger(3, Peer{ID: s.Int(5), Incarnation: 2})
	if got := table.Next(s.Int(7), 3); len(got) != 1 || got[0].Incarnation != 2 {
		t.Errorf("%v", got)
	}
}
