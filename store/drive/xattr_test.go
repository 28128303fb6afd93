package drive

import (
	"errors"
	"slices"
	"testing"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

func TestXattr(t *testing.T) {
	r := newRig(t)
	r.put(t, "/f", []byte("x"))
	for _, p := range []string{"/f", "/"} {
		for _, name := range []string{"user.b", "user.a"} {
			if err := r.SetXattr(t.Context(), p, name, []byte(name+p)); err != nil {
				t.Fatal(err)
			}
		}
		if names, err := r.Xattrs(p); err != nil || !slices.Equal(names, []string{"user.a", "user.b"}) {
			t.Errorf("%s: %q, %v", p, names, err)
		}
		if v, err := r.Xattr(p, "user.a"); err != nil || string(v) != "user.a"+p {
			t.Errorf("%s: %q, %v", p, v, err)
		}
		if err := r.RemoveXattr(t.Context(), p, "user.a"); err != nil {
			t.Error(err)
		}
		if _, err := r.Xattr(p, "user.a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: removed, and then %v", p, err)
		}
		if err := r.RemoveXattr(t.Context(), p, "user.a"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: removed again: %v", p, err)
		}
		if err := r.SetXattr(t.Context(), p, "user.c", make([]byte, 64<<10)); !errors.Is(err, tree.ErrTooLarge) {
			t.Errorf("%s: too large: %v", p, err)
		}
	}
	r.put(t, "/f", []byte("another version"))
	if v, err := r.Xattr("/f", "user.b"); err != nil || string(v) != "user.b/f" {
		t.Errorf("after a new version: %q, %v", v, err)
	}
	if err := r.SetXattr(t.Context(), "/none", "user.a", nil); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("of nothing: %v", err)
	}
}
