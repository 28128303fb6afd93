package tree_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

func (s *site) setXattr(id store.FileID, name string, value []byte) func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
	return func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return s.tree.SetXattr(tx, id, name, value, epoch)
	}
}

func (s *site) removeXattr(id store.FileID, name string) func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
	return func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return s.tree.RemoveXattr(tx, id, name, epoch) }
}

func TestXattr(t *testing.T) {
	s := newSite(t, 1)
	f := s.create(t, tree.Root, "f", false, 1)
	for _, name := range []string{"user.b", "user.a", "user.empty"} {
		s.in(t, s.setXattr(f, name, []byte(strings.TrimPrefix(name, "user."))))
	}
	s.in(t, s.setXattr(f, "user.empty", nil))
	s.in(t, s.setXattr(f, "user.b", []byte("new")))
	s.in(t, s.removeXattr(f, "user.a"))
	if names, err := s.tree.Xattrs(s.kv, f); err != nil || !slices.Equal(names, []string{"user.b", "user.empty"}) {
		t.Errorf("names %q, %v", names, err)
	}
	for name, want := range map[string]string{"user.b": "new", "user.empty": ""} {
		if v, err := s.tree.Xattr(s.kv, f, name); err != nil || string(v) != want {
			t.Errorf("%s: %q, %v", name, v, err)
		}
	}
	_, err := s.tree.Xattr(s.kv, f, "user.a")
	wantErr(t, "removed", err, store.ErrNotFound)
	wantErr(t, "remove again", s.change(t, s.removeXattr(f, "user.a")), store.ErrNotFound)
	_, err = s.tree.Xattrs(s.kv, store.FileID{9})
	wantErr(t, "of nothing", err, store.ErrNotFound)
	wantErr(t, "set of nothing", s.change(t, s.setXattr(store.FileID{9}, "user.a", nil)), store.ErrNotFound)
}

func TestXattr_Bounds(t *testing.T) {
	s := newSite(t, 1)
	f := s.create(t, tree.Root, "f", false, 1)
	const most = 62 << 10
	for _, c := range []struct {
		name string
		size int
		err  error
	}{
		{"", 1, tree.ErrBadName},
		{"a\x00", 1, tree.ErrBadName},
		{"\xff", 1, tree.ErrBadName},
		{strings.Repeat("n", 256), 1, tree.ErrTooLarge},
		{strings.Repeat("n", 255), 1, nil},
		{"big", most + 1, tree.ErrTooLarge},
		{"big", most, nil},
		{"big", most - 1, nil}, // the old value does not count
		{"more", 2 << 10, tree.ErrTooLarge},
		{"more", 1 << 10, nil},
	} {
		err := s.change(t, s.setXattr(f, c.name, make([]byte, c.size)))
		wantErr(t, c.name, err, c.err)
	}
	for _, op := range s.logs[s.id] {
		if _, err := op.Append(nil); err != nil {
			t.Error(err)
		}
	}
}

// TestXattr_LaterStampWins: also against a removal, in whatever order they come.
func TestXattr_LaterStampWins(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	f := a.create(t, tree.Root, "f", false, 1)
	a.in(t, a.setXattr(f, "user.a", []byte("1")))
	for deliver(t, a, b, a.id, epoch) {
	}
	a.in(t, a.removeXattr(f, "user.a"))
	b.in(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return b.tree.SetXattr(tx, f, "user.a", []byte("2"), epoch.Add(time.Hour))
	})
	deliver(t, a, b, a.id, epoch.Add(time.Hour))
	deliver(t, b, a, b.id, epoch.Add(time.Hour))
	same(t, a, b)
	if v, err := a.tree.Xattr(a.kv, f, "user.a"); err != nil || !bytes.Equal(v, []byte("2")) {
		t.Errorf("%q, %v", v, err)
	}
	if n := a.node(t, f); n.Links != 1 || n.Version.Content.Size != 1 {
		t.Errorf("node %+v", n)
	}
}

// TestXattr_OfAConflictCopy: a copy that becomes a file of its own keeps them.
func TestXattr_OfAConflictCopy(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	f := a.create(t, tree.Root, "f", false, 1)
	a.in(t, a.setXattr(f, "user.a", []byte("1")))
	for deliver(t, a, b, a.id, epoch) {
	}
	b.in(t, b.write(f, store.Dot{}, 2))
	a.in(t, a.write(f, store.Dot{}, 3))
	deliver(t, b, a, b.id, epoch)
	var name string
	if err := a.tree.Children(a.kv, tree.Root, "", func(e tree.Entry) bool {
		if e.Conflict {
			name = e.Path
		}
		return true
	}); err != nil || name == "" {
		t.Fatalf("no conflict copy, %v", err)
	}
	a.in(t, a.renameAt(tree.Place{Name: name}, tree.Place{Name: "g"}, tree.Replace))
	e, err := a.tree.Child(a.kv, tree.Root, "g")
	if err != nil || e.ID == f {
		t.Fatalf("%+v, %v", e, err)
	}
	if v, err := a.tree.Xattr(a.kv, e.ID, "user.a"); err != nil || string(v) != "1" {
		t.Errorf("%q, %v", v, err)
	}
}
