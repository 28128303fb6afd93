package tree_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// entries returns what each name of each directory shows, by the directory's ID.
func entries(t rapid.TB, s *site) map[string]string {
	out := map[string]string{}
	var walk func(dir store.FileID)
	walk = func(dir store.FileID) {
		if err := s.tree.Children(s.kv, dir, "", func(e tree.Entry) bool {
			out[dir.String()+"/"+e.Path] = fmt.Sprintf("%+v", e)
			if e.Dir {
				walk(e.ID)
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	walk(tree.Root)
	return out
}

// checkNames compares the names that events tell of with those that changed.
func checkNames(t rapid.TB, before, after map[string]string, events []tree.Event) {
	t.Helper()
	want, got := map[string]bool{}, map[string]bool{}
	for k, v := range before {
		if after[k] != v {
			want[k] = true
		}
	}
	for k := range after {
		if before[k] == "" {
			want[k] = true
		}
	}
	for _, e := range events {
		if e.Kind != tree.NameChanged {
			continue
		}
		k := e.Dir.String() + "/" + e.Name
		if got[k] {
			t.Fatalf("reported twice: %s", k)
		}
		got[k] = true
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("names (-changed +reported):\n%s", d)
	}
}

// TestNameChanged: every name that shows something else is reported, once, and no
// other.
func TestNameChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sites := []*site{newSite(t, 1), newSite(t, 2)}
		now := epoch
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Second)
			i := rapid.IntRange(0, 1).Draw(t, "site")
			s, other := sites[i], sites[1-i]
			before := entries(t, s)
			if n := len(s.logs[other.id]); n < len(other.logs[other.id]) && rapid.Bool().Draw(t, "hear") {
				events := s.apply(t, other.logs[other.id][n], now)
				checkNames(t, before, entries(t, s), events)
				continue
			}
			events, err := localEvents(t, s, now)
			if err == nil {
				checkNames(t, before, entries(t, s), events)
			}
		}
	})
}

// TestNameChanged_Many: beyond 4096 names one event says that anything may have
// changed.
func TestNameChanged_Many(t *testing.T) {
	s := newSite(t, 1)
	d := s.create(t, tree.Root, "d", true, 0)
	for i := range 5000 {
		s.create(t, d, fmt.Sprintf("f%d", i), false, int64(i))
	}
	tx := s.kv.Begin()
	defer tx.Discard()
	_, events, err := s.tree.RemoveAt(tx, tree.Place{Name: "d"}, true, epoch)
	if err != nil {
		t.Fatal(err)
	}
	names, anything := 0, 0
	for _, e := range events {
		switch {
		case e.Kind == tree.NameChanged && e.Name == "":
			anything++
		case e.Kind == tree.NameChanged:
			names++
		}
	}
	if names != 4096 || anything != 1 {
		t.Errorf("%d names, %d times anything", names, anything)
	}
}
