package tree_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// snapshot returns path and size of everything, -1 for directories.
func snapshot(t *testing.T, list func(dir string, f func(tree.Entry) bool) error) map[string]int64 {
	t.Helper()
	got := map[string]int64{}
	var walk func(dir string)
	walk = func(dir string) {
		var dirs []string
		if err := list(dir, func(e tree.Entry) bool {
			got[e.Path] = e.Version.Content.Size
			if e.Dir {
				got[e.Path] = -1
				dirs = append(dirs, e.Path)
			}
			return true
		}); err != nil {
			t.Fatalf("list %s: %v", dir, err)
		}
		for _, d := range dirs {
			walk(d)
		}
	}
	walk("/")
	return got
}

func (s *site) now(t *testing.T) map[string]int64 {
	t.Helper()
	return snapshot(t, func(dir string, f func(tree.Entry) bool) error { return s.tree.List(s.kv, dir, "", f) })
}

func (s *site) then(t *testing.T, when time.Time) map[string]int64 {
	t.Helper()
	return snapshot(t, func(dir string, f func(tree.Entry) bool) error { return s.tree.ListAt(s.kv, dir, when, "", f) })
}

// What the drive showed at any instant can be listed and looked up later.
func TestListAt_ShowsWhatWasThere(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		s := newSite(t, 1)
		shown := map[time.Time]map[string]int64{}
		at := epoch
		for step := range 80 {
			at = at.Add(time.Duration(1+rnd.IntN(5)) * time.Second)
			randomChange(t, s, rnd, at, int64(step+1))
			shown[at] = s.now(t)
		}
		for when, want := range shown {
			if diff := cmp.Diff(want, s.then(t, when)); diff != "" {
				t.Fatalf("seed %d at %s (-was +shown):\n%s", seed, when, diff)
			}
			for p, size := range want {
				e, err := s.tree.LookupAt(s.kv, p, when.Add(time.Millisecond*500))
				if err != nil || e.Path != p || !e.Dir && e.Version.Content.Size != size {
					t.Fatalf("seed %d: %s at %s: %+v, %v", seed, p, when, e, err)
				}
			}
		}
		// Half of the past is forgotten; what is younger is as it was.
		half := epoch.Add(at.Sub(epoch) / 2)
		for {
			var n int
			if err := s.change(t, func(tx store.Txn) (_ []tree.Op, _ []tree.Event, err error) {
				n, err = s.tree.ForgetPast(tx, half, 7)
				return nil, nil, err
			}); err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		for when, want := range shown {
			if when.After(half) {
				if diff := cmp.Diff(want, s.then(t, when)); diff != "" {
					t.Fatalf("seed %d at %s, after forgetting (-was +shown):\n%s", seed, when, diff)
				}
			}
		}
		checkPast(t, s)
	}
}

// checkPast compares the totals with a count.
func checkPast(t *testing.T, s *site) {
	t.Helper()
	rows, bytes, _, err := s.tree.PastTotals(s.kv)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	if err := s.tree.PastContents(s.kv, func(c store.Content) bool { sum += c.Size; return true }); err != nil {
		t.Fatal(err)
	}
	if sum != bytes || rows < 0 {
		t.Errorf("%d rows with %d bytes, counted %d", rows, bytes, sum)
	}
}

func randomChange(t *testing.T, s *site, rnd *rand.Rand, at time.Time, size int64) {
	t.Helper()
	paths := append(slices.Sorted(maps.Keys(s.now(t))), "/")
	some := func() string { return paths[rnd.IntN(len(paths))] }
	fresh := func() string { return fmt.Sprintf("%s/%c", some(), 'a'+rune(rnd.IntN(4))) }
	err := s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		switch rnd.IntN(6) {
		case 0:
			return s.tree.Mkdir(tx, fresh(), tree.Version{}, at)
		case 1:
			return s.tree.Remove(tx, some(), true, at)
		case 2:
			return s.tree.Rename(tx, some(), fresh(), at)
		case 3:
			return s.tree.Rename(tx, some(), some(), at)
		default:
			return s.tree.Put(tx, fresh(), tree.Version{Content: store.Content{Size: size, Root: store.Ref{byte(size)}}}, at)
		}
	})
	_ = err // many make no sense
}

func (s *site) must(t *testing.T, f func(tx store.Txn) ([]tree.Op, []tree.Event, error)) {
	t.Helper()
	if err := s.change(t, f); err != nil {
		t.Fatal(err)
	}
}

func (s *site) putAt(t *testing.T, p string, size int64, at time.Time) {
	t.Helper()
	s.must(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return s.tree.Put(tx, p, tree.Version{Content: store.Content{Size: size, Root: store.Ref{byte(size)}}}, at)
	})
}

func (s *site) undo(t *testing.T, p string, at time.Time) (got string, err error) {
	t.Helper()
	err = s.change(t, func(tx store.Txn) (ops []tree.Op, events []tree.Event, err error) {
		got, ops, events, err = s.tree.Undo(tx, p, at)
		return ops, events, err
	})
	return got, err
}

func TestUndo(t *testing.T) {
	at := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Minute) }
	s := newSite(t, 1)
	s.putAt(t, "/f", 1, at(1))
	s.putAt(t, "/f", 2, at(2))
	if got, err := s.undo(t, "/f", at(3)); err != nil || got != "/f" {
		t.Fatalf("undo of a save: %q, %v", got, err)
	}
	if diff := cmp.Diff(map[string]int64{"/f": 1}, s.now(t)); diff != "" {
		t.Error(diff)
	}
	if _, err := s.undo(t, "/f", at(4)); err != nil || s.now(t)["/f"] != 2 {
		t.Errorf("undo of the undo: %v, %v", err, s.now(t))
	}
	// A directory comes back with all that lay in it, by one operation.
	s.must(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return s.tree.Mkdir(tx, "/d", tree.Version{}, at(5))
	})
	for i := range 20 {
		s.putAt(t, fmt.Sprintf("/d/%d", i), int64(i+1), at(6+i))
	}
	was := s.now(t)
	s.must(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.Remove(tx, "/d", true, at(30)) })
	before := len(s.logs[s.id])
	if _, err := s.undo(t, "/d/3", at(31)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("undo in a directory that is gone: %v", err)
	}
	if _, err := s.undo(t, "/d", at(32)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(was, s.now(t)); diff != "" {
		t.Errorf("(-was +restored):\n%s", diff)
	}
	if n := len(s.logs[s.id]) - before; n != 1 {
		t.Errorf("it took %d operations", n)
	}
	// Another file has the name: both are there.
	s.must(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.Remove(tx, "/f", false, at(40)) })
	s.must(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.Rename(tx, "/d/3", "/f", at(41)) })
	if got, err := s.undo(t, "/f", at(42)); err != nil || got != "/f (restored 2025-01-31 144700)" {
		t.Errorf("undo beside another: %q, %v", got, err)
	}
	if _, err := s.undo(t, "/nothing", at(43)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("undo of nothing: %v", err)
	}
	var kinds []string
	if err := s.tree.History(s.kv, "/f", func(p tree.Past) bool {
		kinds = append(kinds, fmt.Sprintf("%d %s", p.Version.Content.Size, p.Why))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"4 ", "2 removed", "1 replaced", "2 replaced", "1 replaced"}, kinds); diff != "" {
		t.Errorf("history (-want +got):\n%s", diff)
	}
}
