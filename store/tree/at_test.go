package tree_test

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// in runs a local change that must succeed.
func (s *site) in(t testing.TB, f func(tx store.Txn) ([]tree.Op, []tree.Event, error)) {
	t.Helper()
	if err := s.change(t, f); err != nil {
		t.Fatal(err)
	}
}

func size(n int64) tree.Version {
	return tree.Version{Content: store.Content{Size: n}, Mode: 0o644}
}

func (s *site) create(t testing.TB, dir store.FileID, name string, isDir bool, n int64) (id store.FileID) {
	t.Helper()
	s.in(t, func(tx store.Txn) (ops []tree.Op, events []tree.Event, err error) {
		id, ops, events, err = s.tree.CreateAt(tx, tree.Place{Dir: dir, Name: name}, isDir, size(n), epoch)
		return ops, events, err
	})
	return id
}

func (s *site) node(t testing.TB, id store.FileID) tree.Node {
	t.Helper()
	n, err := s.tree.Node(s.kv, id)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *site) write(id store.FileID, base store.Dot, n int64) func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
	return func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return s.tree.WriteNode(tx, id, base, size(n), epoch.Add(time.Minute))
	}
}

func (s *site) renameAt(from, to tree.Place, how tree.Renaming) func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
	return func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.RenameAt(tx, from, to, how, epoch) }
}

func (s *site) removeAt(p tree.Place) func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
	return func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.RemoveAt(tx, p, false, epoch) }
}

func (s *site) setNode(id store.FileID, a tree.AttributeChange) func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
	return func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.SetNode(tx, id, a, epoch) }
}

// paths lists what the drive shows, with sizes of files.
func (s *site) paths(t testing.TB) string { return shown(t, s) }

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) || want == nil && got != nil {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestAt_CreateFindRemove(t *testing.T) {
	s := newSite(t, 1)
	d := s.create(t, tree.Root, "d", true, 0)
	f := s.create(t, d, "f", false, 5)
	if n := s.node(t, f); n.Dir || n.Links != 1 || n.Version.Content.Size != 5 || n.Version.Mode != 0o644 || !n.Changed.Equal(epoch) {
		t.Errorf("node %+v", n)
	}
	if e, err := s.tree.Child(s.kv, d, "f"); err != nil || e.ID != f || e.Path != "f" {
		t.Errorf("child %+v, %v", e, err)
	}
	if p, err := s.tree.Parent(s.kv, d); err != nil || p != tree.Root {
		t.Errorf("parent %v, %v", p, err)
	}
	create := func(p tree.Place) func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			_, ops, events, err := s.tree.CreateAt(tx, p, false, size(1), epoch)
			return ops, events, err
		}
	}
	wantErr(t, "create again", s.change(t, create(tree.Place{Dir: d, Name: "f"})), tree.ErrExist)
	wantErr(t, "create in a file", s.change(t, create(tree.Place{Dir: f, Name: "x"})), tree.ErrNotDir)
	wantErr(t, "create nowhere", s.change(t, create(tree.Place{Dir: store.FileID{9}, Name: "x"})), store.ErrNotFound)
	wantErr(t, "create ..", s.change(t, create(tree.Place{Dir: d, Name: ".."})), tree.ErrBadName)
	wantErr(t, "rmdir", s.change(t, s.removeAt(tree.Place{Dir: tree.Root, Name: "d"})), tree.ErrNotEmpty)
	s.in(t, s.removeAt(tree.Place{Dir: d, Name: "f"}))
	if n := s.node(t, f); n.Links != 0 || n.Version.Content.Size != 5 {
		t.Errorf("removed: %+v", n)
	}
	s.in(t, s.setNode(f, tree.AttributeChange{Mode: new(uint32)})) // fchmod of what is open and removed
	wantErr(t, "write what was removed here", s.change(t, s.write(f, store.Dot{}, 6)), store.ErrNotFound)
	wantErr(t, "write a directory", s.change(t, s.write(d, store.Dot{}, 6)), tree.ErrIsDir)
	s.in(t, s.removeAt(tree.Place{Dir: tree.Root, Name: "d"}))
	wantErr(t, "create in a removed directory", s.change(t, create(tree.Place{Dir: d, Name: "x"})), store.ErrNotFound)
	if _, err := s.tree.Node(s.kv, store.FileID{9}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("node of nothing: %v", err)
	}
}

func TestRenameAt(t *testing.T) {
	const before = "/d/\n/d/e/\n/d/e/f: 1\n/d/x: 2\n/g/\n/g/x: 3\n/h/\n"
	at := func(p string) (dir, name string) { return path.Dir(p), path.Base(p) }
	for _, c := range []struct {
		from, to string
		how      tree.Renaming
		err      error
		want     string // empty: as before
	}{
		{"/d/x", "/g/y", tree.Replace, nil, "/d/\n/d/e/\n/d/e/f: 1\n/g/\n/g/x: 3\n/g/y: 2\n/h/\n"},
		{"/d/x", "/g/x", tree.Replace, nil, "/d/\n/d/e/\n/d/e/f: 1\n/g/\n/g/x: 2\n/h/\n"},
		{"/d/x", "/g/x", tree.NoReplace, tree.ErrExist, ""},
		{"/d/x", "/d/x", tree.NoReplace, tree.ErrExist, ""},
		{"/d/x", "/d/x", tree.Replace, nil, ""},
		{"/d/x", "/g/x", tree.Exchange, nil, "/d/\n/d/e/\n/d/e/f: 1\n/d/x: 3\n/g/\n/g/x: 2\n/h/\n"},
		{"/d", "/g", tree.Exchange, nil, "/d/\n/d/x: 3\n/g/\n/g/e/\n/g/e/f: 1\n/g/x: 2\n/h/\n"},
		{"/d/e", "/g/x", tree.Exchange, nil, "/d/\n/d/e: 3\n/d/x: 2\n/g/\n/g/x/\n/g/x/f: 1\n/h/\n"},
		{"/d", "/d/e", tree.Exchange, tree.ErrCycle, ""},
		{"/d/e", "/d", tree.Exchange, tree.ErrCycle, ""},
		{"/d/x", "/d/y", tree.Exchange, store.ErrNotFound, ""},
		{"/d", "/d/e/z", tree.Replace, tree.ErrCycle, ""},
		{"/d", "/d/e", tree.Replace, tree.ErrCycle, ""},
		{"/d/e", "/d", tree.Replace, tree.ErrNotEmpty, ""},
		{"/d", "/g", tree.Replace, tree.ErrNotEmpty, ""},
		{"/d", "/h", tree.Replace, nil, "/g/\n/g/x: 3\n/h/\n/h/e/\n/h/e/f: 1\n/h/x: 2\n"},
		{"/d", "/g/x", tree.Replace, tree.ErrNotDir, ""},
		{"/d/x", "/g", tree.Replace, tree.ErrIsDir, ""},
		{"/d/y", "/g", tree.Replace, store.ErrNotFound, ""},
	} {
		s := newSite(t, 1)
		ids := map[string]store.FileID{"/": tree.Root}
		for i, p := range strings.Fields("/d/ /d/e/ /g/ /h/ /d/e/f /d/x /g/x") {
			dir := strings.HasSuffix(p, "/")
			p = strings.TrimSuffix(p, "/")
			ids[p] = s.create(t, ids[path.Dir(p)], path.Base(p), dir, int64(i-3))
		}
		if got := s.paths(t); got != before {
			t.Fatalf("before:\n%s", got)
		}
		var from, to tree.Place
		var dir string
		dir, from.Name = at(c.from)
		from.Dir = ids[dir]
		dir, to.Name = at(c.to)
		to.Dir = ids[dir]
		wantErr(t, c.from+" to "+c.to, s.change(t, s.renameAt(from, to, c.how)), c.err)
		if c.want == "" {
			c.want = before
		}
		if d := cmp.Diff(c.want, s.paths(t)); d != "" {
			t.Errorf("rename(%d) %s to %s (-want +got):\n%s", c.how, c.from, c.to, d)
		}
	}
}

// TestWriteNode_SparesWhatTheWriterHasNotSeen: a version of another machine that
// arrives while a file is open does not vanish when the file is closed.
func TestWriteNode_SparesWhatTheWriterHasNotSeen(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	f := a.create(t, tree.Root, "f", false, 1)
	base := a.node(t, f).Version.Dot
	deliver(t, a, b, a.id, epoch)
	b.in(t, b.write(f, base, 2))
	deliver(t, b, a, b.id, epoch)
	a.in(t, a.write(f, base, 3))
	a.in(t, a.write(f, base, 4)) // the second close of the same program replaces its own
	for deliver(t, a, b, a.id, epoch) {
	}
	same(t, a, b)
	if got := a.paths(t); !strings.Contains(got, "/f: 4\n") || !strings.Contains(got, ": 2\n") || strings.Contains(got, ": 3\n") {
		t.Errorf("shown:\n%s", got)
	}
	// Who has opened the present version replaces it.
	b.in(t, b.write(f, b.node(t, f).Version.Dot, 5))
	if got := b.paths(t); !strings.Contains(got, "/f: 5\n") || strings.Contains(got, ": 4\n") {
		t.Errorf("shown:\n%s", got)
	}
}

// TestWriteNode_BringsBackWhatAnotherRemoved: a program that has a file open must
// not lose what it writes because another machine removed the file.
func TestWriteNode_BringsBackWhatAnotherRemoved(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	d := a.create(t, tree.Root, "d", true, 0)
	f := a.create(t, d, "f", false, 1)
	base := a.node(t, f).Version.Dot
	for deliver(t, a, b, a.id, epoch) {
	}
	b.in(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return b.tree.RemoveAt(tx, tree.Place{Name: "d"}, true, epoch)
	})
	deliver(t, b, a, b.id, epoch)
	if n := a.node(t, f); n.Links != 0 {
		t.Fatalf("not removed: %+v", n)
	}
	a.in(t, a.write(f, base, 2))
	deliver(t, a, b, a.id, epoch)
	same(t, a, b)
	if got := b.paths(t); got != "/d/\n/d/f: 2\n" {
		t.Errorf("shown:\n%s", got)
	}
}

func TestSetNode(t *testing.T) {
	s := newSite(t, 1)
	var f store.FileID
	s.in(t, func(tx store.Txn) (ops []tree.Op, events []tree.Event, err error) {
		v := tree.Version{Mode: 0o120777, UID: 1001, GID: 1, Content: store.Content{Size: 3}, ModTime: epoch}
		f, ops, events, err = s.tree.CreateAt(tx, tree.Place{Name: "link"}, false, v, epoch)
		return ops, events, err
	})
	number := func(n uint32) *uint32 { return &n }
	first, unix0 := time.Date(1931, 1, 1, 0, 0, 0, 7, time.UTC), time.Unix(0, 0)
	want := s.node(t, f).Version
	for _, c := range []struct {
		change tree.AttributeChange
		expect func(v *tree.Version)
	}{
		{tree.AttributeChange{Mode: number(0o600)}, func(v *tree.Version) { v.Mode = 0o120600 }},
		{tree.AttributeChange{Mode: number(0o100755)}, func(v *tree.Version) { v.Mode = 0o120755 }},
		{tree.AttributeChange{UID: number(0)}, func(v *tree.Version) { v.UID = 1 }},
		{tree.AttributeChange{GID: number(50)}, func(v *tree.Version) { v.GID = 51 }},
		{tree.AttributeChange{UID: number(1<<32 - 1)}, func(v *tree.Version) {}},
		{tree.AttributeChange{ModTime: &first}, func(v *tree.Version) { v.ModTime = first }},
		{tree.AttributeChange{ModTime: &unix0}, func(v *tree.Version) { v.ModTime = unix0.UTC() }},
		{tree.AttributeChange{}, func(v *tree.Version) {}},
	} {
		s.in(t, s.setNode(f, c.change))
		c.expect(&want)
		if d := cmp.Diff(want, s.node(t, f).Version); d != "" {
			t.Errorf("%+v (-want +got):\n%s", c.change, d)
		}
		e, err := s.tree.Lookup(s.kv, "/link")
		if err != nil || e.Version.UID != want.UID || e.Version.Mode != want.Mode || !e.Version.ModTime.Equal(want.ModTime) {
			t.Errorf("entry %+v, %v", e, err)
		}
	}
	s.in(t, s.setNode(tree.Root, tree.AttributeChange{Mode: number(0o700), ModTime: &first}))
	if n := s.node(t, tree.Root); n.Version.Mode != 0o700 || !n.Version.ModTime.Equal(first) || !n.Dir || n.Links != 1 {
		t.Errorf("root %+v", n)
	}
}

// TestSetNode_KeepsTheTimeOfAnUnseenVersion: a chmod here and a save there, both
// count: the new bytes do not get the time of the old ones.
func TestSetNode_KeepsTheTimeOfAnUnseenVersion(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	f := a.create(t, tree.Root, "f", false, 1)
	deliver(t, a, b, a.id, epoch)
	b.in(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		v := size(2)
		v.ModTime = epoch.Add(time.Hour)
		return b.tree.WriteNode(tx, f, store.Dot{}, v, epoch)
	})
	mode := uint32(0o600)
	a.in(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return a.tree.SetNode(tx, f, tree.AttributeChange{Mode: &mode}, epoch.Add(time.Second))
	})
	deliver(t, b, a, b.id, epoch)
	if v := a.node(t, f).Version; v.Mode != mode || v.Content.Size != 2 || !v.ModTime.Equal(epoch.Add(time.Hour)) {
		t.Errorf("shown %+v", v)
	}
}

// TestAt_MergedDirectories: any directory of a group stands for all of them.
func TestAt_MergedDirectories(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	da, db := a.create(t, tree.Root, "d", true, 0), b.create(t, tree.Root, "d", true, 0)
	a.create(t, da, "x", false, 1)
	b.create(t, db, "y", false, 2)
	for deliver(t, a, b, a.id, epoch) || deliver(t, b, a, b.id, epoch) {
	}
	for _, d := range []store.FileID{da, db} {
		var names []string
		if err := a.tree.Children(a.kv, d, "", func(e tree.Entry) bool { names = append(names, e.Path); return true }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(names, []string{"x", "y"}) {
			t.Errorf("children of %s: %q", d, names)
		}
		for _, name := range names {
			if _, err := a.tree.Child(a.kv, d, name); err != nil {
				t.Error(err)
			}
		}
	}
	if na, nb := a.node(t, da), a.node(t, db); na.ID != nb.ID {
		t.Errorf("canonical %s and %s", na.ID, nb.ID)
	}
	b.in(t, b.setNode(db, tree.AttributeChange{Mode: new(uint32)}))
	if e, err := b.tree.Lookup(b.kv, "/d"); err != nil || e.Version.Mode != 0 {
		t.Errorf("mode %o, %v", e.Version.Mode, err)
	}
	a.create(t, db, "z", false, 3)
	a.create(t, da, "s", true, 0)
	wantErr(t, "into itself", a.change(t, a.renameAt(tree.Place{Name: "d"}, tree.Place{Dir: db, Name: "q"}, tree.Replace)), tree.ErrCycle)
}

// TestAtAgreesWithPaths: access by ID and by path are two ways to one thing.
func TestAtAgreesWithPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, other := newSite(t, 1), newSite(t, 1), newSite(t, 2)
		now := epoch
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(time.Second)
			if rapid.IntRange(0, 3).Draw(t, "other") == 0 {
				localChange(t, other, now)
				if rapid.Bool().Draw(t, "hear") {
					for deliver(t, other, a, other.id, now) && deliver(t, other, b, other.id, now) {
					}
				}
				continue
			}
			bothWays(t, a, b, now)
			if d := cmp.Diff(a.logs[a.id], b.logs[b.id]); d != "" {
				t.Fatalf("operations (-path +ID):\n%s", d)
			}
			same(t, a, b)
			sameEntries(t, b)
		}
	})
}

// bothWays makes one change, in a by path and in b by ID.
func bothWays(t *rapid.T, a, b *site, now time.Time) {
	p, q := drawPath(t, a), drawPath(t, a)
	v := tree.Version{Content: store.Content{Size: int64(rapid.IntRange(1, 4).Draw(t, "content"))}, Mode: 0o644}
	place := func(p string) tree.Place {
		e, err := b.tree.Lookup(b.kv, path.Dir(p))
		if err != nil || !e.Dir {
			return tree.Place{Dir: store.FileID{0xff}, Name: path.Base(p)} // no such directory
		}
		return tree.Place{Dir: e.ID, Name: path.Base(p)}
	}
	at, to := place(p), place(q)
	e, err := a.tree.Lookup(a.kv, p)
	exists := err == nil
	recursive := rapid.Bool().Draw(t, "recursive")
	type change = func(tx store.Txn) ([]tree.Op, []tree.Event, error)
	var byPath, byID change
	switch rapid.SampledFrom([]string{"put", "put", "mkdir", "remove", "rename", "rename", "mode"}).Draw(t, "kind") {
	case "put":
		byPath = func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return a.tree.Put(tx, p, v, now) }
		byID = func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			if exists {
				return b.tree.WriteNode(tx, e.ID, e.Version.Dot, v, now)
			}
			_, ops, events, err := b.tree.CreateAt(tx, at, false, v, now)
			return ops, events, err
		}
		if exists && e.Conflict {
			return // by path a losing version becomes a file of its own
		}
	case "mkdir":
		byPath = func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return a.tree.Mkdir(tx, p, v, now) }
		byID = func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			_, ops, events, err := b.tree.CreateAt(tx, at, true, v, now)
			return ops, events, err
		}
	case "remove":
		byPath = func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return a.tree.Remove(tx, p, recursive, now) }
		byID = func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return b.tree.RemoveAt(tx, at, recursive, now) }
	case "rename":
		byPath = func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return a.tree.Rename(tx, p, q, now) }
		byID = func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return b.tree.RenameAt(tx, at, to, tree.Replace, now)
		}
	case "mode":
		mode := uint32(rapid.IntRange(0, 7).Draw(t, "mode"))
		byPath = func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return a.tree.SetAttributes(tx, p, tree.Version{Mode: mode}, now)
		}
		byID = func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			if !exists {
				return nil, nil, store.ErrNotFound
			}
			return b.tree.SetNode(tx, e.ID, tree.AttributeChange{Mode: &mode}, now)
		}
	}
	errPath, errID := a.change(t, byPath), b.change(t, byID)
	if (errPath == nil) != (errID == nil) {
		t.Fatalf("%s, %s: by path %v, by ID %v", p, q, errPath, errID)
	}
}

// sameEntries checks that walking down by ID finds what walking by path does.
func sameEntries(t *rapid.T, s *site) {
	byID := map[string]tree.Entry{}
	var walk func(dir store.FileID, at string)
	walk = func(dir store.FileID, at string) {
		if err := s.tree.Children(s.kv, dir, "", func(e tree.Entry) bool {
			child, err := s.tree.Child(s.kv, dir, e.Path)
			if d := cmp.Diff(e, child, cmp.AllowUnexported(store.Content{})); err != nil || d != "" {
				t.Fatalf("child %s: %v\n%s", e.Path, err, d)
			}
			if e.Dir {
				if parent, err := s.tree.Parent(s.kv, e.ID); err != nil || parent != dir {
					t.Fatalf("parent of %s: %s, want %s, %v", e.ID, parent, dir, err)
				}
			}
			e.Path = path.Join(at, e.Path)
			byID[e.Path] = e
			if e.Dir {
				walk(e.ID, e.Path)
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	walk(tree.Root, "/")
	byPath := map[string]tree.Entry{}
	if err := s.tree.Walk(s.kv, "/", func(e tree.Entry) bool { byPath[e.Path] = e; return true }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(byPath, byID, cmp.AllowUnexported(store.Content{})); d != "" {
		t.Fatalf("entries (-path +ID):\n%s", d)
	}
}
