package tree_test

import (
	"fmt"
	"log"
	"time"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/tree"
)

// A file is written twice and removed; its history is listed, and it comes back.
func Example_history() {
	kv := index.NewMemory()
	t, err := tree.Open(kv, store.MachineID{1})
	if err != nil {
		log.Fatal(err)
	}
	now := time.Date(2025, 1, 31, 14, 5, 0, 0, time.UTC)
	tx := kv.Begin()
	defer tx.Discard()
	for _, size := range []int64{100, 200} {
		v := tree.Version{Content: store.Content{Size: size}}
		if _, _, err := t.Put(tx, "/report", v, now); err != nil {
			log.Fatal(err)
		}
		now = now.Add(time.Hour)
	}
	if _, _, err := t.Remove(tx, "/report", false, now); err != nil {
		log.Fatal(err)
	}
	if err := t.History(tx, "/report", func(p tree.Past) bool {
		fmt.Printf("%s to %s: %d bytes, %s\n", p.From.Format("15:04"), p.To.Format("15:04"), p.Version.Content.Size, p.Why)
		return true
	}); err != nil {
		log.Fatal(err)
	}
	p, _, _, err := t.Undo(tx, "/report", now.Add(time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s is back with %d bytes\n", p.Path, p.Version.Content.Size)
	// Output:
	// 15:05 to 16:05: 200 bytes, removed
	// 14:05 to 15:05: 100 bytes, replaced
	// /report is back with 200 bytes
}
