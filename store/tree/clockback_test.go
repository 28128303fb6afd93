package tree_test

import (
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/tree"
)

// A clock that is set back changes nothing about the order of changes: stamps go on
// from the last one, also of a machine that was started anew in between.
func TestTree_ClockSetBackTenYears(t *testing.T) {
	kv, now := newMemory(), time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	tr, err := tree.Open(kv, store.MachineID{1})
	if err != nil {
		t.Fatal(err)
	}
	var last store.Time
	for i := range 4 {
		if i == 2 {
			now = now.AddDate(-10, 0, 0)
			if tr, err = tree.Open(kv, store.MachineID{1}); err != nil {
				t.Fatal(err)
			}
		}
		tx := kv.Begin()
		ops, _, err := tr.Put(tx, "/f", tree.Version{Content: store.Content{Size: int64(i + 1)}}, now)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(false); err != nil {
			t.Fatal(err)
		}
		if ops[0].Time <= last {
			t.Errorf("stamp %d follows %d", ops[0].Time, last)
		}
		last = ops[0].Time
		now = now.Add(time.Second)
	}
	if e, err := tr.Lookup(kv, "/f"); err != nil || e.Version.Content.Size != 4 {
		t.Errorf("%+v, %v", e, err)
	}
}
