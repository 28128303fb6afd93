package tree_test

import (
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

func sealedAs(size int64, generation uint32) store.Content {
	return store.Content{Size: size, Root: store.Ref{byte(generation)}, Oldest: generation}
}

func (s *site) reseal(t *testing.T, e tree.Entry, generation uint32, now time.Time) {
	t.Helper()
	if err := s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return s.tree.Reseal(tx, e.ID, e.Version.Dot, sealedAs(e.Version.Content.Size, generation), now)
	}); err != nil {
		t.Fatal(err)
	}
}

// Sealing anew is no edit: not beside an edit or a removal, whichever is later, and not
// in the history.
func TestReseal_IsNoEdit(t *testing.T) {
	for _, what := range []string{"edit", "remove", "nothing"} {
		for _, first := range []string{"reseal first", "reseal last"} {
			a, b, e := pair(t)
			change, reseal := epoch.Add(time.Minute), epoch.Add(time.Second)
			if first == "reseal last" {
				change, reseal = reseal, change
			}
			err := a.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
				switch what {
				case "remove":
					return a.tree.Remove(tx, "/f", false, change)
				case "edit":
					return a.tree.Put(tx, "/f", tree.Version{Content: store.Content{Size: 2}}, change)
				}
				return nil, nil, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			b.reseal(t, e, 5, reseal)
			meet(t, a, b, epoch.Add(time.Hour))
			want := map[string]string{"edit": "/f: 2\n", "remove": "", "nothing": "/f: 1\n"}[what]
			if got := shown(t, a); got != want {
				t.Errorf("%s, %s: shows %q, want %q", what, first, got, want)
			}
			var past []tree.Past
			if err := b.tree.History(b.kv, "/f", func(p tree.Past) bool { past = append(past, p); return true }); err != nil {
				t.Fatal(err)
			}
			if want := map[string]int{"edit": 2, "remove": 1, "nothing": 1}[what]; len(past) != want {
				t.Errorf("%s, %s: %d versions in the history, want %d", what, first, len(past), want)
			}
			if what != "edit" && past[0].Entry.Version.Content.Oldest != 5 {
				t.Errorf("%s, %s: the version is %+v", what, first, past[0].Entry.Version)
			}
		}
	}
}

// The newest keys count, whoever is later; who gives other holders and has not seen
// them loses, who has seen them keeps them.
func TestReseal_NewestKeysCount(t *testing.T) {
	a, b, e := pair(t)
	a.reseal(t, e, 9, epoch.Add(time.Second))
	b.reseal(t, e, 3, epoch.Add(time.Minute))
	if err := b.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return b.tree.Assign(tx, e.ID, e.Version.Dot, []store.MachineID{{7}}, epoch.Add(time.Minute))
	}); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b, epoch.Add(time.Hour))
	now, err := b.tree.Lookup(b.kv, "/f")
	if err != nil || now.Version.Content != sealedAs(1, 9) || !slices.Equal(now.Version.Holders, e.Version.Holders) || now.Version.Dot != e.Version.Dot {
		t.Fatalf("%+v, %v", now.Version, err)
	}
	if err := b.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return b.tree.Assign(tx, e.ID, e.Version.Dot, []store.MachineID{{7}}, epoch.Add(time.Hour))
	}); err != nil {
		t.Fatal(err)
	}
	b.reseal(t, now, 4, epoch.Add(time.Hour)) // older than what is there: nothing happens
	meet(t, a, b, epoch.Add(time.Hour))
	now, err = a.tree.Lookup(a.kv, "/f")
	if err != nil || now.Version.Content != sealedAs(1, 9) || !slices.Equal(now.Version.Holders, []store.MachineID{{7}}) {
		t.Fatalf("%+v, %v", now.Version, err)
	}
	err = a.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
		return a.tree.Reseal(tx, e.ID, e.Version.Dot, sealedAs(2, 12), epoch)
	})
	if err == nil {
		t.Error("other bytes passed for the same")
	}
}

// Two machines that wrote the same bytes at once do not come apart when one of the two
// versions is sealed anew; and the hidden one still counts as held.
func TestReseal_EqualsStayHidden(t *testing.T) {
	a, b := newSite(t, 1), newSite(t, 2)
	for i, s := range []*site{a, b} {
		if err := s.change(t, func(tx store.Txn) ([]tree.Op, []tree.Event, error) {
			return s.tree.Put(tx, "/f", tree.Version{Content: store.Content{Size: 1}}, epoch.Add(time.Duration(i)*time.Second))
		}); err != nil {
			t.Fatal(err)
		}
	}
	meet(t, a, b, epoch)
	e, err := a.tree.Lookup(a.kv, "/f")
	if err != nil {
		t.Fatal(err)
	}
	a.reseal(t, e, 5, epoch)
	meet(t, a, b, epoch)
	if got := shown(t, b); got != "/f: 1\n" {
		t.Errorf("shows %q", got)
	}
	var held []uint32
	if err := b.tree.Shown(b.kv, func(v tree.Version) bool { held = append(held, v.Content.Oldest); return true }); err != nil {
		t.Fatal(err)
	}
	if slices.Sort(held); !slices.Equal(held, []uint32{0, 5}) {
		t.Errorf("generations held: %d", held)
	}
}

// Who keeps copies hears that the bytes are sealed anew, and from what they can be made.
func TestReseal_Events(t *testing.T) {
	a, b, e := pair(t)
	a.reseal(t, e, 5, epoch)
	op := a.logs[a.id][1]
	var got []tree.Event
	for _, ev := range b.apply(t, op, epoch) {
		if ev.Kind != tree.NameChanged {
			got = append(got, ev)
		}
	}
	if len(got) != 2 || got[0].Kind != tree.VersionRemoved || got[0].Dot != e.Version.Dot ||
		got[1].Kind != tree.VersionAdded || got[1].Dot != op.Dot || got[1].From != e.Version.Content ||
		got[1].Content != sealedAs(1, 5) || got[1].Was != (store.Dot{}) {
		t.Errorf("events %+v", got)
	}
}
