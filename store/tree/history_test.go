package tree_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// snapshot returns each path with what it shows.
func snapshot(t rapid.TB, s *site) map[string]string {
	t.Helper()
	got := map[string]string{}
	if err := s.tree.Walk(s.kv, "/", func(e tree.Entry) bool { got[e.Path] = told(e); return true }); err != nil {
		t.Fatal(err)
	}
	return got
}

func told(e tree.Entry) string {
	if e.Dir {
		return "dir"
	}
	return fmt.Sprint(e.Version.Content.Size)
}

// walkAt is snapshot for the past, by ListAt.
func walkAt(t rapid.TB, s *site, when time.Time, dir string, got map[string]string) map[string]string {
	t.Helper()
	var dirs []string
	if err := s.tree.ListAt(s.kv, dir, when, "", func(e tree.Entry) bool {
		got[e.Path] = told(e)
		if e.Dir {
			dirs = append(dirs, e.Path)
		}
		return true
	}); err != nil {
		t.Fatalf("list %s at %s: %v", dir, when, err)
	}
	for _, d := range dirs {
		walkAt(t, s, when, d, got)
	}
	return got
}

// pastOf prints the history of a path: what it led to and why that ended.
func pastOf(t rapid.TB, s *site, path string) string {
	t.Helper()
	var parts []string
	err := s.tree.History(s.kv, path, func(p tree.Past) bool {
		to := "now"
		if !p.To.IsZero() {
			to = fmt.Sprintf("%d", int(p.To.Sub(epoch).Seconds()))
		}
		parts = append(parts, fmt.Sprintf("%s %d-%s %s", told(p.Entry), int(p.From.Sub(epoch).Seconds()), to, p.Why))
		return true
	})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return strings.Join(parts, ", ")
}

// TestHistoryScenarios: each command takes a second, so the first is at 1.
func TestHistoryScenarios(t *testing.T) {
	for _, c := range []struct {
		name, commands, path, past, view string
	}{
		{"replace", "put /a 1; put /a 2; put /a 3", "/a", "3 3-now present, 2 2-3 replaced, 1 1-2 replaced", "/a:3"},
		{"same bytes again", "put /a 1; put /a 1; put /a 2", "/a", "2 3-now present, 1 1-3 replaced", "/a:2"},
		{"mode changes nothing", "put /a 1; mode /a; put /a 2", "/a", "2 3-now present, 1 1-3 replaced", "/a:2"},
		{"remove", "put /a 1; remove /a", "/a", "1 1-2 removed", ""},
		{"remove and create", "put /a 1; remove /a; put /a 2", "/a", "2 3-now present, 1 1-2 removed", "/a:2"},
		{"undo remove", "put /a 1; remove /a; undo /a", "/a", "1 3-now present, 1 1-2 removed", "/a:1"},
		{"undo version", "put /a 1; put /a 2; undo /a", "/a", "1 3-now present, 2 2-3 replaced, 1 1-2 replaced", "/a:1"},
		{"undo undo", "put /a 1; put /a 2; undo /a; undo /a", "/a",
			"2 4-now present, 1 3-4 replaced, 2 2-3 replaced, 1 1-2 replaced", "/a:2"},
		{"undo remove, then the version before", "put /a 1; put /a 2; remove /a; undo /a; undo /a", "/a",
			"1 5-now present, 2 4-5 replaced, 2 2-3 removed, 1 1-2 replaced", "/a:1"},
		{"undo nothing", "put /a 1; undo /a", "/a", "1 1-now present", "/a:1"},
		{"restore an older version of what was removed", "put /a 1; put /a 2; remove /a; restore /a 1", "/a",
			"1 4-now present, 2 2-3 removed, 1 1-2 replaced", "/a:1"},
		{"restore twice", "put /a 1; put /a 2; restore /a 1; restore /a 1", "/a",
			"1 3-now present, 2 2-3 replaced, 1 1-2 replaced", "/a:1"},
		{"remove a directory", "mkdir /d; mkdir /d/e; put /d/e/f 1; remove /d", "/d/e/f", "1 3-4 removed", ""},
		{"restore a directory", "mkdir /d; mkdir /d/e; put /d/e/f 1; remove /d; undo /d", "/d/e/f",
			"1 5-now present, 1 3-4 removed", "/d:dir /d/e:dir /d/e/f:1"},
		{"restore a directory as it was removed", "mkdir /d; put /d/f 1; remove /d/f; put /d/g 2; remove /d; restore /d 3", "/d/f",
			"1 2-3 removed", "/d:dir /d/g:2"},
		{"parent gone", "mkdir /d; mkdir /d/e; put /d/e/f 1; remove /d; undo /d/e/f", "/d", "dir 1-4 removed", ""},
		{"parent made anew", "mkdir /d; put /d/f 1; remove /d; mkdir /d; undo /d/f", "/d/f", "1 5-now present, 1 2-3 removed", "/d:dir /d/f:1"},
		{"move", "put /a 1; rename /a /b", "/a", "1 1-2 moved", "/b:1"},
		{"where it moved", "put /a 1; rename /a /b", "/b", "1 2-now present", "/b:1"},
		{"restore what moved", "put /a 1; rename /a /b; put /b 2; restore /a 1", "/a", "1 4-now present, 1 1-2 moved", "/a:1 /b:2"},
		{"undo move", "put /a 1; rename /a /b; undo /a", "/b", "1 2-3 moved", "/a:1"},
		{"undo move of a directory", "mkdir /d; put /d/f 1; rename /d /e; undo /d", "/d/f", "1 2-now present", "/d:dir /d/f:1"},
		{"undo move into itself", "mkdir /p; mkdir /p/d; rename /p/d /d; rename /p /d/p; undo /d/p/d", "/d/p/d", "dir 2-3 moved", "/d:dir /d/p:dir"},
		{"undo move out of another", "mkdir /d; rename /d /e; mkdir /d; rename /e /d/e; undo /e", "/e", "dir 5-now present, dir 2-4 moved", "/d:dir /e:dir"},
		{"past of a moved directory's file", "mkdir /d; put /d/f 1; put /d/f 2; rename /d /e", "/e/f", "2 3-now present, 1 2-3 replaced", "/e:dir /e/f:2"},
		{"file in a directory moved away", "mkdir /d; put /d/f 1; rename /d /e; put /e/f 2", "/d/f", "1 2-3 moved", "/e:dir /e/f:2"},
		{"rename over", "put /a 1; put /b 2; rename /a /b", "/b", "1 3-now present, 2 2-3 replaced", "/b:1"},
		{"undo rename over", "put /a 1; put /b 2; rename /a /b; undo /b", "/b", "2 4-now present, 1 3-4 replaced, 2 2-3 replaced", "/b:2"},
		{"another file has the name", "put /a.c 1; remove /a.c; put /a.c 2; undo /a.c", "/a.c",
			"2 3-now present, 1 1-2 removed", "/a (restored 2025-01-31 1405).c:1 /a.c:2"},
		{"a directory has the name", "put /a 1; remove /a; mkdir /a; restore /a 1; restore /a 1", "/a", "dir 3-now present, 1 1-2 removed",
			"/a:dir /a (restored 2025-01-31 1405 2):1 /a (restored 2025-01-31 1405):1"},
		{"directory elsewhere", "mkdir /d; rename /d /e; restore /d 1", "/d", "dir 1-2 moved", "/e:dir"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, 1)
			for i, line := range strings.Split(c.commands, "; ") {
				historyCommand(t, s, strings.Fields(line), epoch.Add(time.Duration(i+1)*time.Second))
			}
			if d := cmp.Diff(c.past, pastOf(t, s, c.path)); d != "" {
				t.Errorf("history of %s (-want +got):\n%s", c.path, d)
			}
			var view []string
			if err := s.tree.Walk(s.kv, "/", func(e tree.Entry) bool { view = append(view, e.Path+":"+told(e)); return true }); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.view, strings.Join(view, " ")); d != "" {
				t.Errorf("view (-want +got):\n%s", d)
			}
			checkPast(t, s)
		})
	}
}

// historyCommand is command with undo, restore PATH SECOND, and mode.
func historyCommand(t rapid.TB, s *site, args []string, now time.Time) (ops []tree.Op, err error) {
	err = s.change(t, func(tx store.Txn) (o []tree.Op, e []tree.Event, err error) {
		defer func() { ops = o }()
		var n int
		if len(args) > 2 {
			_, _ = fmt.Sscan(args[2], &n) // a path where it is no number
		}
		switch args[0] {
		case "put":
			return s.tree.Put(tx, args[1], tree.Version{Content: store.Content{Size: int64(n)}}, now)
		case "mkdir":
			return s.tree.Mkdir(tx, args[1], tree.Version{}, now)
		case "mode":
			return s.tree.SetAttributes(tx, args[1], tree.Version{Mode: 0o700}, now)
		case "remove":
			return s.tree.Remove(tx, args[1], true, now)
		case "rename":
			return s.tree.Rename(tx, args[1], args[2], now)
		case "restore":
			return s.tree.Restore(tx, args[1], epoch.Add(time.Duration(n)*time.Second), now)
		case "undo":
			_, o, e, err = s.tree.Undo(tx, args[1], now)
			return o, e, err
		}
		return nil, nil, fmt.Errorf("unknown command %q", args[0])
	})
	return ops, err
}

// checkPast checks what must hold of every past: the totals and the order by age
// agree with the rows, and after all that happened the past is the present.
func checkPast(t rapid.TB, s *site) {
	t.Helper()
	var rows, bytes int64
	if err := s.kv.Scan([]byte("th"), []byte("ti"), func(k, v []byte) bool {
		if end := k[len(k)-8:]; string(end) != "\xff\xff\xff\xff\xff\xff\xff\xff" {
			rows++
			due := "tH" + string(end) + string(k[2:len(k)-9])
			if _, ok := s.kv.values[due]; !ok {
				t.Errorf("past row %q is not under its age", k)
			}
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if n := len(s.kv.between([]byte("tH"), []byte("tI"))); int64(n) != rows {
		t.Errorf("%d past rows, %d by age", rows, n)
	}
	if err := s.tree.PastVersions(s.kv, func(v tree.Version) bool { bytes += v.Content.Size; return true }); err != nil {
		t.Fatal(err)
	}
	gotRows, gotBytes, _, err := s.tree.PastTotals(s.kv)
	if err != nil || gotRows != rows || gotBytes != bytes {
		t.Errorf("totals %d rows %d bytes (%v), want %d and %d", gotRows, gotBytes, err, rows, bytes)
	}
	end := epoch.Add(1000 * time.Hour)
	if d := cmp.Diff(snapshot(t, s), walkAt(t, s, end, "/", map[string]string{})); d != "" {
		t.Errorf("at the end (-present +past):\n%s", d)
	}
}

// TestUndoReturns: what it says is what is there, and errors name what is missing.
func TestUndoReturns(t *testing.T) {
	s := newSite(t, 1)
	at := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
	for i, line := range []string{"put /a.c 1", "remove /a.c", "put /a.c 2", "mkdir /d", "put /d/f 3", "remove /d"} {
		if _, err := historyCommand(t, s, strings.Fields(line), at(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	undo := func(path string) (p tree.Past, n int, err error) {
		err = s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			var ops []tree.Op
			var events []tree.Event
			p, ops, events, err = s.tree.Undo(tx, path, at(10))
			n = len(ops)
			return ops, events, err
		})
		return p, n, err
	}
	p, n, err := undo("/a.c")
	if want := "/a (restored 2025-01-31 1405).c"; err != nil || p.Path != want || n != 1 || p.Version.Content.Size != 1 || p.Why != tree.Removed || !p.To.Equal(at(2)) {
		t.Errorf("undo: %+v with %d operations, %v, want 1 operation and %s", p, n, err, want)
	}
	if found, err := s.tree.Lookup(s.kv, p.Path); err != nil || found.ID != p.ID {
		t.Errorf("lookup: %+v, %v", found, err)
	}
	if _, _, err := undo("/d/f"); !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "directory /d:") {
		t.Errorf("undo without parent: %v", err)
	}
	if _, n, err := undo("/d"); err != nil || n != 1 {
		t.Errorf("undo of a directory: %d operations, %v", n, err)
	}
	if _, _, err := undo("/none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("undo of nothing: %v", err)
	}
}

// TestRestoreDirectory_OneOperation: whatever the number of files, on every
// machine.
func TestRestoreDirectory_OneOperation(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	run := func(line string, now time.Time) []tree.Op {
		ops, err := historyCommand(t, a, strings.Fields(line), now)
		if err != nil {
			t.Fatal(err)
		}
		return ops
	}
	run("mkdir /d", epoch)
	for i := range 300 {
		run(fmt.Sprintf("put /d/f%d %d", i, i), epoch)
	}
	before := snapshot(t, a)
	run("remove /d", epoch.Add(time.Second))
	if ops := run("undo /d", epoch.Add(2*time.Second)); len(ops) != 1 {
		t.Errorf("%d operations, want 1", len(ops))
	}
	for deliver(t, a, b, a.id, epoch) {
	}
	same(t, a, b)
	if d := cmp.Diff(before, snapshot(t, b)); d != "" {
		t.Error(d)
	}
	checkPast(t, a)
	checkPast(t, b)
}

// TestConflictCopiesHavePasts: what a machine showed because of a conflict is
// remembered like all else.
func TestConflictCopiesHavePasts(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	at := func(n int) time.Time { return epoch.Add(time.Duration(n) * time.Second) }
	run := func(s *site, line string, n int) {
		if _, err := historyCommand(t, s, strings.Split(line, "|"), at(n)); err != nil {
			t.Fatal(err)
		}
	}
	run(a, "put|/f|1", 1)
	deliver(t, a, b, a.id, at(1))
	run(a, "put|/f|2", 2)
	run(b, "put|/f|3", 3)
	deliver(t, b, a, b.id, at(4))
	if got, want := pastOf(t, a, "/f"), "3 3-now present, 2 2-3 replaced, 1 1-2 replaced"; got != want {
		t.Errorf("history: %s, want %s", got, want)
	}
	var conflict string
	for p := range snapshot(t, a) {
		if p != "/f" {
			conflict = p
		}
	}
	if got, want := pastOf(t, a, conflict), "2 3-now present"; got != want {
		t.Errorf("history of the copy: %s, want %s", got, want)
	}
	run(a, "remove|"+conflict, 5)
	if got, want := pastOf(t, a, conflict), "2 3-5 removed"; got != want {
		t.Errorf("history of the removed copy: %s, want %s", got, want)
	}
	run(a, "undo|"+conflict, 6)
	for deliver(t, a, b, a.id, at(7)) {
	}
	same(t, a, b)
	if got := snapshot(t, b); got[conflict] != "2" || got["/f"] != "3" {
		t.Errorf("view: %v", got)
	}
	checkPast(t, a)
	checkPast(t, b)
}

// TestWrongClock: what a clock a year ahead ended is past at once.
func TestWrongClock(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	year := 365 * 24 * time.Hour
	for i, line := range []string{"put /f 1", "put /f 2"} {
		if _, err := historyCommand(t, b, strings.Fields(line), epoch.Add(time.Duration(i)*year)); err != nil {
			t.Fatal(err)
		}
	}
	deliver(t, b, a, b.id, epoch)
	deliver(t, b, a, b.id, epoch.Add(time.Hour))
	e, err := a.tree.LookupAt(a.kv, "/f", epoch.Add(2*time.Hour))
	if err != nil || e.Version.Content.Size != 2 {
		t.Errorf("%+v, %v, want 2", e, err)
	}
	if e, err = a.tree.LookupAt(a.kv, "/f", epoch.Add(30*time.Minute)); err != nil || e.Version.Content.Size != 1 {
		t.Errorf("%+v, %v, want 1", e, err)
	}
	checkPast(t, a)
}

// TestPastEqualsSnapshots: whatever one machine does, each instant of the past
// shows what was seen then, by name and by list, and so after old rows went.
func TestPastEqualsSnapshots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSite(t, 1)
		var snaps []map[string]string
		steps := rapid.IntRange(1, 40).Draw(t, "steps")
		for n := range steps {
			now := epoch.Add(time.Duration(n) * time.Minute)
			if rapid.IntRange(0, 3).Draw(t, "back") > 0 {
				localChange(t, s, now)
			} else {
				goBack(t, s, n, now)
			}
			snaps = append(snaps, snapshot(t, s))
		}
		forget := rapid.IntRange(0, steps-1).Draw(t, "forget")
		forgetAll(t, s, epoch.Add(time.Duration(forget)*time.Minute), rapid.IntRange(1, 5).Draw(t, "slice"))
		for n := forget; n < steps; n++ {
			when := epoch.Add(time.Duration(n) * time.Minute)
			if d := cmp.Diff(snaps[n], walkAt(t, s, when, "/", map[string]string{})); d != "" {
				t.Fatalf("list at %d (-then +now):\n%s", n, d)
			}
			lookAt(t, s, when, snaps[n])
		}
		checkPast(t, s)
	})
}

func goBack(t *rapid.T, s *site, n int, now time.Time) {
	path := rapid.SampledFrom(propertyPaths).Draw(t, "path")
	_ = s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) { // refusals are part of the test
		if rapid.Bool().Draw(t, "undo") {
			_, ops, events, err := s.tree.Undo(tx, path, now)
			return ops, events, err
		}
		when := epoch.Add(time.Duration(rapid.IntRange(0, n).Draw(t, "when")) * time.Minute)
		return s.tree.Restore(tx, path, when, now)
	})
}

func lookAt(t rapid.TB, s *site, when time.Time, want map[string]string) {
	t.Helper()
	for _, p := range propertyPaths {
		got := ""
		e, err := s.tree.LookupAt(s.kv, p, when)
		switch {
		case err == nil:
			got = told(e)
		case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, tree.ErrNotDir):
			t.Fatal(err)
		}
		if got != want[p] {
			t.Fatalf("%s at %s: %q, want %q", p, when, got, want[p])
		}
	}
}

// forgetAll forgets in slices.
func forgetAll(t rapid.TB, s *site, before time.Time, slice int) {
	t.Helper()
	for n := slice; n == slice; {
		err := s.change(t, func(tx store.Txn) (_ []tree.Op, _ []tree.Event, err error) {
			n, err = s.tree.ForgetPast(tx, before, slice)
			return nil, nil, err
		})
		if err != nil || n > slice {
			t.Fatalf("forgot %d of at most %d: %v", n, slice, err)
		}
	}
	if _, _, oldest, err := s.tree.PastTotals(s.kv); err != nil || !oldest.IsZero() && oldest.Before(before) {
		t.Fatalf("oldest %s, %v, after forgetting until %s", oldest, err, before)
	}
}

// TestPastOfMany: three machines that hear of each other in any order, and bring
// things back, agree in the end. Each remembers what keeps its books in order, and
// forgets all of it.
func TestPastOfMany(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sites := []*site{newSite(t, 1), newSite(t, 2), newSite(t, 3)}
		for n := range rapid.IntRange(1, 50).Draw(t, "steps") {
			now := epoch.Add(time.Duration(n) * time.Second)
			i := rapid.IntRange(0, 2).Draw(t, "site")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				goBack(t, sites[i], n, now)
			case 1, 2:
				localChange(t, sites[i], now)
			case 3:
				from := sites[(i+rapid.IntRange(1, 2).Draw(t, "from"))%3]
				for _, author := range sites {
					for range rapid.IntRange(0, 6).Draw(t, "many") {
						deliver(t, from, sites[i], author.id, now)
					}
				}
			}
		}
		for n, s := range sites {
			finish(t, s, sites, rand.New(rand.NewPCG(1, uint64(n))), epoch.Add(time.Hour))
		}
		for _, s := range sites {
			same(t, sites[0], s)
			checkPast(t, s)
			hash, err := s.tree.Hash(s.kv)
			if err != nil {
				t.Fatal(err)
			}
			forgetAll(t, s, epoch.Add(time.Hour*24), 7)
			if rows, bytes, _, err := s.tree.PastTotals(s.kv); err != nil || rows != 0 || bytes != 0 {
				t.Fatalf("%d rows and %d bytes left, %v", rows, bytes, err)
			}
			if now, err := s.tree.Hash(s.kv); err != nil || now != hash {
				t.Fatalf("forgetting changed the hash: %v", err)
			}
			checkPast(t, s)
		}
	})
}
