package tree_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// pair returns two machines that both show /f with one version.
func pair(t *testing.T) (a, b *site, e tree.Entry) {
	t.Helper()
	a, b = newSite(t, 1), newSite(t, 2)
	v := tree.Version{Content: store.Content{Size: 1}, Holders: []store.MachineID{{1}, {2}}}
	if err := a.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) { return a.tree.Put(tx, "/f", v, epoch) }); err != nil {
		t.Fatal(err)
	}
	deliver(t, a, b, a.id, epoch)
	e, err := b.tree.Lookup(b.kv, "/f")
	if err != nil {
		t.Fatal(err)
	}
	return a, b, e
}

// meet lets each machine hear all of the other.
func meet(t *testing.T, a, b *site, now time.Time) {
	t.Helper()
	for deliver(t, a, b, a.id, now) || deliver(t, b, a, b.id, now) {
	}
	same(t, a, b)
}

// Who gives a file other holders is no editor of it: an edit at the same time wins,
// and there is no conflict copy; a removal stays one.
func TestAssign_IsNoEdit(t *testing.T) {
	for _, what := range []string{"edit", "remove"} {
		a, b, e := pair(t)
		err := a.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			if what == "remove" {
				return a.tree.Remove(tx, "/f", false, epoch.Add(time.Second))
			}
			return a.tree.Put(tx, "/f", tree.Version{Content: store.Content{Size: 2}}, epoch.Add(time.Second))
		})
		if err != nil {
			t.Fatal(err)
		}
		later := epoch.Add(time.Minute)
		if err := b.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return b.tree.Assign(tx, e.ID, e.Version.Dot, []store.MachineID{{2}, {3}}, later)
		}); err != nil {
			t.Fatal(err)
		}
		meet(t, a, b, later)
		want := "/f: 2\n"
		if what == "remove" {
			want = ""
		}
		if got := shown(t, b); got != want {
			t.Errorf("%s: shows %q, want %q", what, got, want)
		}
		past := 0
		if err := b.tree.History(b.kv, "/f", func(tree.Past) bool { past++; return true }); err != nil {
			t.Fatal(err)
		}
		if what == "edit" && past != 2 {
			t.Errorf("%d versions in the history, want 2: what changed holders is none", past)
		}
	}
}

// Who keeps copies hears that the version has other holders, and what it was called
// before.
func TestAssign_Events(t *testing.T) {
	a, b, e := pair(t)
	holders := []store.MachineID{{2}, {3}}
	if err := a.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return a.tree.Assign(tx, e.ID, e.Version.Dot, holders, epoch)
	}); err != nil {
		t.Fatal(err)
	}
	op := a.logs[a.id][1]
	var got []tree.Event
	for _, ev := range b.apply(t, op, epoch) {
		if ev.Kind != tree.NameChanged {
			got = append(got, ev)
		}
	}
	if len(got) != 2 || got[0].Kind != tree.VersionAdded || got[0].Dot != op.Dot || got[0].Was != e.Version.Dot ||
		!slices.Equal(got[0].Before, e.Version.Holders) || !slices.Equal(got[0].Holders, holders) ||
		got[1].Kind != tree.VersionRemoved || got[1].Dot != e.Version.Dot {
		t.Errorf("events %+v", got)
	}
	now, err := b.tree.Lookup(b.kv, "/f")
	if err != nil || now.Version.Dot != e.Version.Dot || now.Version.Placed != op.Dot || !slices.Equal(now.Version.Holders, holders) {
		t.Errorf("%+v, %v", now.Version, err)
	}
}
