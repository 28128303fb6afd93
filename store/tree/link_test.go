package tree_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

func (s *site) linkAt(id store.FileID, at tree.Place) func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
	return func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.LinkAt(tx, id, at, epoch) }
}

func TestLinkAt(t *testing.T) {
	s := newSite(t, 1)
	d := s.create(t, tree.Root, "d", true, 0)
	f := s.create(t, tree.Root, "f", false, 1)
	s.in(t, s.linkAt(f, tree.Place{Dir: d, Name: "l"}))
	s.in(t, s.linkAt(f, tree.Place{Dir: d, Name: "m"}))
	if e, err := s.tree.Child(s.kv, d, "l"); err != nil || e.ID != f || e.Conflict {
		t.Errorf("link shows %+v, %v", e, err)
	}
	if n := s.node(t, f); n.Links != 3 {
		t.Errorf("links %d", n.Links)
	}
	s.in(t, s.write(f, store.Dot{}, 2))
	if got := s.paths(t); got != "/d/\n/d/l: 2\n/d/m: 2\n/f: 2\n" {
		t.Errorf("written:\n%s", got)
	}
	if totals, err := s.tree.Totals(s.kv); err != nil || totals.Files != 1 || totals.Bytes != 2 {
		t.Errorf("totals %+v, %v", totals, err)
	}
	wantErr(t, "link a directory", s.change(t, s.linkAt(d, tree.Place{Name: "x"})), tree.ErrIsDir)
	wantErr(t, "link nothing", s.change(t, s.linkAt(store.FileID{9}, tree.Place{Name: "x"})), store.ErrNotFound)
	wantErr(t, "link over a name", s.change(t, s.linkAt(f, tree.Place{Name: "d"})), tree.ErrExist)
	wantErr(t, "to another name of the same file", s.change(t, s.renameAt(tree.Place{Name: "f"}, tree.Place{Dir: d, Name: "l"}, tree.Replace)), nil)
	if n := s.node(t, f); n.Links != 3 {
		t.Errorf("after a rename between two names of one file: links %d", n.Links)
	}
	s.in(t, s.removeAt(tree.Place{Name: "f"}))
	s.in(t, s.renameAt(tree.Place{Dir: d, Name: "m"}, tree.Place{Name: "g"}, tree.Replace))
	s.in(t, s.write(f, store.Dot{}, 3))
	if got := s.paths(t); got != "/d/\n/d/l: 3\n/g: 3\n" {
		t.Errorf("own name removed, link renamed:\n%s", got)
	}
	s.in(t, s.removeAt(tree.Place{Dir: d, Name: "l"}))
	s.in(t, s.removeAt(tree.Place{Name: "g"}))
	if n := s.node(t, f); n.Links != 0 || s.paths(t) != "/d/\n" {
		t.Errorf("all names removed: links %d\n%s", n.Links, s.paths(t))
	}
	wantErr(t, "link what is gone", s.change(t, s.linkAt(f, tree.Place{Name: "x"})), store.ErrNotFound)
	if totals, err := s.tree.Totals(s.kv); err != nil || totals != (tree.Totals{}) {
		t.Errorf("totals %+v, %v", totals, err)
	}
}

// TestLink_OutlivesADeletionThatHadNotSeenIt: who removes a file on one machine
// does not take the name that another gave it meanwhile, nor the bytes.
func TestLink_OutlivesADeletionThatHadNotSeenIt(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	f := a.create(t, tree.Root, "f", false, 1)
	deliver(t, a, b, a.id, epoch)
	a.in(t, a.linkAt(f, tree.Place{Name: "l"}))
	b.in(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return b.tree.Remove(tx, "/f", false, epoch.Add(time.Minute))
	})
	tx := a.kv.Begin()
	events, err := a.tree.Apply(tx, b.logs[b.id][0], epoch)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == tree.VersionRemoved {
			t.Error("reported as removed, while the link shows it")
		}
	}
	a.logs[b.id] = b.logs[b.id]
	deliver(t, a, b, a.id, epoch)
	same(t, a, b)
	if got := a.paths(t); got != "/l: 1\n" {
		t.Errorf("shown:\n%s", got)
	}
	if totals, err := a.tree.Totals(a.kv); err != nil || totals.Files != 1 || totals.Bytes != 1 {
		t.Errorf("totals %+v, %v", totals, err)
	}
	// A write does not bring the removed name back.
	a.in(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return a.tree.WriteNode(tx, f, store.Dot{}, size(2), epoch.Add(time.Hour))
	})
	if got := a.paths(t); got != "/l: 2\n" {
		t.Errorf("written:\n%s", got)
	}
}

// inode is a file of the model.
type inode struct {
	size  int64
	links int
}

// TestLinks_AsPOSIXHasThem compares random changes on one machine with a model:
// names that point to files.
func TestLinks_AsPOSIXHasThem(t *testing.T) {
	names := strings.Fields("a b c d e")
	rapid.Check(t, func(t *rapid.T) {
		s := newSite(t, 1)
		model, inodes := map[string]store.FileID{}, map[store.FileID]*inode{}
		dirs := []store.FileID{tree.Root}
		for i := range rapid.IntRange(1, 50).Draw(t, "steps") {
			now := epoch.Add(time.Duration(i) * time.Second)
			draw := func(what string) (tree.Place, string) {
				dir, name := rapid.IntRange(0, len(dirs)-1).Draw(t, what+" dir"), rapid.SampledFrom(names).Draw(t, what)
				return tree.Place{Dir: dirs[dir], Name: name}, fmt.Sprint(dir, name)
			}
			p, from := draw("from")
			q, to := draw("to")
			kind := rapid.SampledFrom([]string{"create", "write", "link", "link", "rename", "rename", "exchange", "remove", "mkdir"}).Draw(t, "kind")
			var made store.FileID
			err := s.change(t, func(tx store.Txn) (ops []tree.Op, events []tree.Event, err error) {
				switch kind {
				case "create":
					made, ops, events, err = s.tree.CreateAt(tx, p, false, size(int64(i)), now)
				case "write":
					return s.tree.WriteNode(tx, model[from], store.Dot{}, size(int64(i)), now)
				case "link":
					return s.tree.LinkAt(tx, model[from], q, now)
				case "rename":
					return s.tree.RenameAt(tx, p, q, tree.Replace, now)
				case "exchange":
					return s.tree.RenameAt(tx, p, q, tree.Exchange, now)
				case "remove":
					return s.tree.RemoveAt(tx, p, false, now)
				case "mkdir":
					made, ops, events, err = s.tree.CreateAt(tx, tree.Place{Name: fmt.Sprintf("dir%d", i)}, true, size(0), now)
				}
				return ops, events, err
			})
			src, dst := inodes[model[from]], inodes[model[to]]
			drop := func(name string) {
				if n := inodes[model[name]]; n != nil {
					n.links--
				}
				delete(model, name)
			}
			var ok bool
			switch kind {
			case "mkdir":
				ok = true
				dirs = append(dirs, made)
			case "create":
				if ok = src == nil; ok {
					model[from], inodes[made] = made, &inode{int64(i), 1}
				}
			case "write":
				if ok = src != nil; ok {
					src.size = int64(i)
				}
			case "link":
				if ok = src != nil && dst == nil; ok {
					model[to] = model[from]
					src.links++
				}
			case "rename":
				if ok = src != nil; ok && src != dst {
					drop(to)
					model[to] = model[from]
					delete(model, from)
				}
			case "exchange":
				if ok = src != nil && dst != nil; ok {
					model[to], model[from] = model[from], model[to]
				}
			case "remove":
				if ok = src != nil; ok {
					drop(from)
				}
			}
			if (err == nil) != ok {
				t.Fatalf("%s %s %s: %v", kind, from, to, err)
			}
			checkModel(t, s, dirs, model, inodes)
		}
	})
}

func checkModel(t *rapid.T, s *site, dirs []store.FileID, model map[string]store.FileID, inodes map[store.FileID]*inode) {
	got := map[string]store.FileID{}
	for i, dir := range dirs {
		if err := s.tree.Children(s.kv, dir, "", func(e tree.Entry) bool {
			if e.Conflict {
				t.Fatalf("conflict %s", e.Path)
			}
			if !e.Dir {
				got[fmt.Sprint(i, e.Path)] = e.ID
			}
			return true
		}); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(model, got); d != "" {
		t.Fatalf("names (-model +tree):\n%s", d)
	}
	var files, bytes int64
	for _, id := range slices.SortedFunc(maps.Keys(inodes), func(a, b store.FileID) int { return strings.Compare(a.String(), b.String()) }) {
		want := inodes[id]
		n, err := s.tree.Node(s.kv, id)
		if err != nil || n.Links != want.links || n.Version.Content.Size != want.size {
			t.Fatalf("%s: %d links, size %d, %v, want %+v", id, n.Links, n.Version.Content.Size, err, want)
		}
		if want.links > 0 {
			files, bytes = files+1, bytes+want.size
		}
	}
	if totals, err := s.tree.Totals(s.kv); err != nil || totals.Files != files || totals.Bytes != bytes || totals.Conflicts != 0 {
		t.Fatalf("totals %+v, %v, want %d files, %d bytes", totals, err, files, bytes)
	}
}

// TestLink_Undo: taking back the removal of one name of a file makes it a name of
// the file again, and leaves the other names alone.
func TestLink_Undo(t *testing.T) {
	s := newSite(t, 1)
	f := s.create(t, tree.Root, "f", false, 1)
	s.in(t, s.linkAt(f, tree.Place{Name: "l"}))
	for _, name := range []string{"f", "l"} {
		s.in(t, s.removeAt(tree.Place{Name: name}))
		s.in(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			_, ops, events, err := s.tree.Undo(tx, "/"+name, epoch)
			return ops, events, err
		})
		if n := s.node(t, f); n.Links != 2 || s.paths(t) != "/f: 1\n/l: 1\n" {
			t.Errorf("removal of %s undone: %d links\n%s", name, n.Links, s.paths(t))
		}
	}
	for _, name := range []string{"f", "l"} {
		s.in(t, s.removeAt(tree.Place{Name: name}))
	}
	s.in(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		_, ops, events, err := s.tree.Undo(tx, "/f", epoch)
		return ops, events, err
	})
	if n := s.node(t, f); n.Links != 1 || s.paths(t) != "/f: 1\n" {
		t.Errorf("removal of all, one undone: %d links\n%s", n.Links, s.paths(t))
	}
}

// A file without a name is shown nowhere and remembered nowhere, until it gets one.
func TestCreateNameless(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	d := a.create(t, tree.Root, "d", true, 0)
	var id store.FileID
	nameless := func(tx store.Txn) (ops []tree.Op, events []tree.Event, err error) {
		id, ops, events, err = a.tree.CreateNameless(tx, d, size(0), epoch)
		return ops, events, err
	}
	nameAt := func(at tree.Place) func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return a.tree.NameAt(tx, id, at, epoch) }
	}
	before := a.paths(t)
	a.in(t, nameless)
	a.in(t, nameless)
	if n := a.node(t, id); n.Links != 0 || n.Dir || n.Version.Mode != 0o644 {
		t.Errorf("%+v", n)
	}
	if now := a.paths(t); now != before {
		t.Errorf("shown: %s, before %s", now, before)
	}
	a.in(t, nameAt(tree.Place{Dir: d, Name: "f"}))
	a.in(t, a.write(id, store.Dot{}, 7))
	if n := a.node(t, id); n.Links != 1 || n.Version.Content.Size != 7 {
		t.Errorf("%+v", n)
	}
	wantErr(t, "name it again", a.change(t, nameAt(tree.Place{Dir: d, Name: "g"})), tree.ErrExist)
	a.in(t, nameless)
	wantErr(t, "name it like another", a.change(t, nameAt(tree.Place{Dir: d, Name: "f"})), tree.ErrExist)
	wantErr(t, "name it nowhere", a.change(t, nameAt(tree.Place{Dir: store.FileID{9}, Name: "f"})), store.ErrNotFound)
	for _, op := range a.logs[a.id] {
		b.apply(t, op, epoch)
	}
	if got, want := b.paths(t), a.paths(t); got != want {
		t.Errorf("elsewhere: %s, here %s", got, want)
	}
}
