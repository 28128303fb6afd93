package node

import (
	"testing"
	"time"
)

// The time of a directory, as stat says it, goes with its entries.
func TestStat_TimeOfADirectory(t *testing.T) {
	a := alone(t)
	if err := a.client.Mkdir(t.Context(), "/d", false); err != nil {
		t.Fatal(err)
	}
	before, err := a.client.Stat(t.Context(), "/d", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	a.put(t, "/d/f", []byte("x"))
	after, err := a.client.Stat(t.Context(), "/d", time.Time{})
	if err != nil || !after.Modified.After(before.Modified) {
		t.Errorf("modified %v, before %v, %v", after.Modified, before.Modified, err)
	}
}
