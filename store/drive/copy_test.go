package drive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// shown lists everything as path=content.
func (r *rig) shown(t *testing.T) (all []string) {
	t.Helper()
	err := r.tree.Walk(r.kv, "/", func(e tree.Entry) bool {
		if e.Dir {
			all = append(all, e.Path+"/")
		} else {
			all = append(all, fmt.Sprintf("%s=%d", e.Path, e.Version.Content.Size))
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (r *rig) dirs(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := r.Mkdir(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopy_And_Move(t *testing.T) {
	before := []string{"/a/", "/a/e/", "/a/e/two=2", "/a/one=1", "/b/", "/b/old=3", "/f=4"}
	for _, s := range []struct {
		name string
		do   func(r *rig, ctx context.Context) error
		want string
		err  error
	}{
		{"file to new", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/f", "/a/g") }, "/a/ /a/e/ /a/e/two=2 /a/g=4 /a/one=1 /b/ /b/old=3 /f=4", nil},
		{"file over file", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/f", "/a/one") }, "/a/ /a/e/ /a/e/two=2 /a/one=4 /b/ /b/old=3 /f=4", nil},
		{"file over directory", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/f", "/a") }, "/a=4 /b/ /b/old=3 /f=4", nil},
		{"directory over directory", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/a", "/b") }, "/a/ /a/e/ /a/e/two=2 /a/one=1 /b/ /b/e/ /b/e/two=2 /b/one=1 /f=4", nil},
		{"directory over file", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/b", "/f") }, "/a/ /a/e/ /a/e/two=2 /a/one=1 /b/ /b/old=3 /f/ /f/old=3", nil},
		{"directory into itself", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/a", "/a/e/x") }, "/a/ /a/e/ /a/e/two=2 /a/e/x/ /a/e/x/e/ /a/e/x/e/two=2 /a/e/x/one=1 /a/one=1 /b/ /b/old=3 /f=4", nil},
		{"root into itself", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/", "/b") }, "/a/ /a/e/ /a/e/two=2 /a/one=1 /b/ /b/a/ /b/a/e/ /b/a/e/two=2 /b/a/one=1 /b/b/ /b/b/old=3 /b/f=4 /f=4", nil},
		{"directory alone", func(r *rig, ctx context.Context) error { return r.CopyAs(ctx, "/a", "/c", Transfer{Alone: true}) }, "/a/ /a/e/ /a/e/two=2 /a/one=1 /b/ /b/old=3 /c/ /f=4", nil},
		{"over itself", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/f", "/f") }, "", tree.ErrCycle},
		{"over what holds it", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/a/e/two", "/a") }, "", tree.ErrCycle},
		{"over the root", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/a", "/") }, "", tree.ErrCycle},
		{"of nothing", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/none", "/b") }, "", store.ErrNotFound},
		{"to nowhere", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/a", "/none/x") }, "", store.ErrNotFound},
		{"below a file", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/a", "/f/x") }, "", tree.ErrNotDir},
		{"bad path", func(r *rig, ctx context.Context) error { return r.Copy(ctx, "/a", "b") }, "", ErrBadPath},
		{"move file over directory", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/f", "/a", Transfer{}) }, "/a=4 /b/ /b/old=3", nil},
		{"move directory over directory", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/a", "/b", Transfer{}) }, "/b/ /b/e/ /b/e/two=2 /b/one=1 /f=4", nil},
		{"move directory over file", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/a", "/f", Transfer{}) }, "/b/ /b/old=3 /f/ /f/e/ /f/e/two=2 /f/one=1", nil},
		{"move to new", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/a/e", "/e", Transfer{}) }, "/a/ /a/one=1 /b/ /b/old=3 /e/ /e/two=2 /f=4", nil},
		{"move into itself", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/a", "/a/e/x", Transfer{}) }, "", tree.ErrCycle},
		{"move over what holds it", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/a/e", "/a", Transfer{}) }, "", tree.ErrCycle},
		{"move to nowhere", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/a", "/none/x", Transfer{}) }, "", store.ErrNotFound},
		{"copy to what is taken", func(r *rig, ctx context.Context) error { return r.CopyAs(ctx, "/a", "/b", Transfer{NoReplace: true}) }, "", tree.ErrExist},
		{"move to what is taken", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/f", "/a/one", Transfer{NoReplace: true}) }, "", tree.ErrExist},
		{"move to what is free", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/f", "/a/g", Transfer{NoReplace: true}) }, "/a/ /a/e/ /a/e/two=2 /a/g=4 /a/one=1 /b/ /b/old=3", nil},
		{"move of nothing", func(r *rig, ctx context.Context) error { return r.Move(ctx, "/none", "/b", Transfer{}) }, "", store.ErrNotFound},
	} {
		t.Run(s.name, func(t *testing.T) {
			r := newRig(t)
			r.dirs(t, "/a", "/a/e", "/b")
			for p, n := range map[string]int{"/a/one": 1, "/a/e/two": 2, "/b/old": 3, "/f": 4} {
				r.put(t, p, make([]byte, n))
			}
			err := s.do(r, t.Context())
			if !errors.Is(err, s.err) || s.err == nil && err != nil {
				t.Fatalf("error %v, want %v", err, s.err)
			}
			want := before
			if s.err == nil {
				want = strings.Fields(s.want)
			}
			if got := r.shown(t); !slices.Equal(got, want) {
				t.Errorf("shows\n%q, want\n%q", got, want)
			}
		})
	}
}

// A copy holds the same content, whatever becomes of the original, and writes no
// bytes.
func TestCopy_MovesNoBytes(t *testing.T) {
	r := newRig(t)
	body := randomBytes(3, 3<<20)
	a := r.put(t, "/a", body)
	used := r.bodies.Usage()
	if err := r.Copy(t.Context(), "/a", "/b"); err != nil {
		t.Fatal(err)
	}
	if got := r.bodies.Usage(); got != used {
		t.Errorf("usage %+v, before %+v", got, used)
	}
	b, err := r.Stat("/b")
	if err != nil || b.ID == a.ID || b.Version.Content != a.Version.Content || !slices.Equal(b.Version.Holders, a.Version.Holders) || !b.Version.ModTime.After(a.Version.ModTime) {
		t.Errorf("copy %+v of %+v, %v", b, a, err)
	}
	r.put(t, "/a", []byte("other"))
	if got := r.read(t, "/b"); string(got) != string(body) {
		t.Errorf("the copy has %d bytes", len(got))
	}
}

func TestCopy_TakesAttributesAlong(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	a, b := r.put(t, "/a", []byte("a")), r.put(t, "/b", []byte("b"))
	if err := r.ChangeXattrs(ctx, a.ID, []XattrChange{{Name: "x", Value: []byte("1")}, {Name: "y", Value: []byte("2")}, {Name: "none", Remove: true}}); err != nil {
		t.Fatal(err)
	}
	if err := r.ChangeXattrs(ctx, b.ID, []XattrChange{{Name: "z", Value: []byte("3")}}); err != nil {
		t.Fatal(err)
	}
	// All or none.
	if err := r.ChangeXattrs(ctx, b.ID, []XattrChange{{Name: "z", Remove: true}, {Name: "big", Value: make([]byte, 1<<20)}}); !errors.Is(err, tree.ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if v, err := r.NodeXattr(b.ID, "z"); err != nil || string(v) != "3" {
		t.Errorf("z is %q, %v", v, err)
	}
	if err := r.Copy(ctx, "/a", "/b"); err != nil {
		t.Fatal(err)
	}
	e, err := r.Stat("/b")
	if err != nil {
		t.Fatal(err)
	}
	names, err := r.NodeXattrs(e.ID)
	if err != nil || !slices.Equal(names, []string{"x", "y"}) {
		t.Errorf("attributes %q, %v", names, err)
	}
	if v, err := r.NodeXattr(e.ID, "y"); err != nil || string(v) != "2" {
		t.Errorf("y is %q, %v", v, err)
	}
}

func TestCopy_EndsWithItsContext(t *testing.T) {
	r := newRig(t)
	r.dirs(t, "/d")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Copy(ctx, "/d", "/e"); !errors.Is(err, context.Canceled) {
		t.Errorf("Copy = %v", err)
	}
}

func TestPut_If(t *testing.T) {
	r := newRig(t)
	no := errors.New("no")
	asked := []bool{}
	a := Attributes{If: func(e tree.Entry, exists bool) error {
		asked = append(asked, exists)
		if exists && e.Path == "/f" {
			return no
		}
		return nil
	}}
	if _, err := r.Put(t.Context(), "/f", strings.NewReader("one"), a); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Put(t.Context(), "/f", strings.NewReader("two"), a); !errors.Is(err, no) {
		t.Errorf("Put = %v", err)
	}
	if got := r.read(t, "/f"); string(got) != "one" || !slices.Equal(asked, []bool{false, true}) {
		t.Errorf("/f is %q, asked %v", got, asked)
	}
}

// What is asked before a change is asked of what it changes, and an error leaves
// everything as it is.
func TestIf(t *testing.T) {
	r := newRig(t)
	r.put(t, "/f", []byte("one"))
	no := errors.New("no")
	var asked []string
	refuse := func(e tree.Entry) error {
		asked = append(asked, e.Path)
		return no
	}
	for what, err := range map[string]error{
		"remove": r.RemoveIf(t.Context(), "/f", false, refuse),
		"copy":   r.CopyAs(t.Context(), "/f", "/g", Transfer{If: refuse}),
		"move":   r.Move(t.Context(), "/f", "/g", Transfer{If: refuse}),
	} {
		if !errors.Is(err, no) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(asked) != 3 || asked[0] != "/f" || asked[1] != "/f" || asked[2] != "/f" {
		t.Errorf("asked about %v", asked)
	}
	if got := r.read(t, "/f"); string(got) != "one" {
		t.Errorf("the file is %q", got)
	}
	if _, err := r.Stat("/g"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the target: %v", err)
	}
	if err := r.RemoveIf(t.Context(), "/none", false, refuse); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("remove of nothing: %v", err)
	}
}
