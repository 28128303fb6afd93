package node

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// conflicts lists what a host's client lists.
func (h *host) conflicts(t *testing.T) (list []Conflict) {
	t.Helper()
	if err := h.client.Conflicts(t.Context(), "/", func(c Conflict) error { list = append(list, c); return nil }); err != nil {
		t.Fatal(err)
	}
	return list
}

// Which of two is right is for people to say, on any machine: keep and drop end a
// conflict everywhere, and what lost stays in the history.
func TestConflicts_AreListedKeptAndDropped(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret)
	for _, name := range []string{"kept", "dropped"} {
		a.put(t, name, []byte("a's "+name))
		b.put(t, name, []byte("b's longer "+name))
	}
	if l := a.conflicts(t); len(l) != 0 {
		t.Errorf("before they have met: %v", l)
	}
	b.mesh.Load().AddAddress(link.PeerID{}, a.addr)
	eventually(t, "conflicts on both", func() bool { return len(a.conflicts(t)) == 2 && len(b.conflicts(t)) == 2 })
	list := a.conflicts(t)
	for i, of := range []string{"/dropped", "/kept"} {
		c := list[i]
		// b wrote last.
		if c.Of != of || c.Author != "a" || c.OfAuthor != "b" || c.Size != int64(len("a's "+of[1:])) || c.OfSize != c.Size+int64(len("longer ")) || c.Written.IsZero() {
			t.Errorf("conflict %+v", c)
		}
	}
	s, err := b.client.Status(t.Context())
	if err != nil || s.Conflicts != 2 || s.State != NeedsYou {
		t.Errorf("status: %d conflicts, %s, %v", s.Conflicts, s.State, err)
	}
	drop, keep := list[0].Path, list[1].Path
	if c, err := a.client.DropConflict(t.Context(), drop); err != nil || c.Of != "/dropped" {
		t.Errorf("drop: %+v, %v", c, err)
	}
	if c, err := b.client.KeepConflict(t.Context(), keep); err != nil || c.Of != "/kept" {
		t.Errorf("keep: %+v, %v", c, err)
	}
	for _, h := range []*host{a, b} {
		eventually(t, "no conflicts any more", func() bool { return len(h.conflicts(t)) == 0 && len(h.names(t)) == 2 })
		if got := string(h.cat(t, "/dropped")); got != "b's longer dropped" {
			t.Errorf("/dropped: %q", got)
		}
		if got := string(h.cat(t, "/kept")); got != "a's kept" {
			t.Errorf("/kept: %q", got)
		}
	}
	if _, err := b.client.Restore(t.Context(), "/kept", time.Time{}); err != nil || string(b.cat(t, "/kept")) != "b's longer kept" {
		t.Errorf("undo: %v", err)
	}
}

func TestConflicts_OnlyConflictCopiesAreTouched(t *testing.T) {
	a := serve(t, filepath.Join(t.TempDir(), "a"), pool.NewSecret())
	a.put(t, "plain", []byte("x"))
	for name, f := range map[string]func(context.Context, string) (Conflict, error){
		"keep": a.client.KeepConflict, "drop": a.client.DropConflict, "look": a.client.Conflict,
	} {
		if _, err := f(t.Context(), "/plain"); !errors.Is(err, tree.ErrNoConflict) {
			t.Errorf("%s of a plain file: %v", name, err)
		}
		if _, err := f(t.Context(), "/nothing"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s of nothing: %v", name, err)
		}
	}
	if got := a.cat(t, "/plain"); string(got) != "x" {
		t.Errorf("/plain: %q", got)
	}
}
