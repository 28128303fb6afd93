package mdns

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A host that has the name and no address says so, and the asker need not wait.
func TestNode_RFC6762_6_1_ADenialEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seg := new(segment)
		a := start(t, newMachine(t, seg, "10.0.0.1/24"), 1)
		b := start(t, newMachine(t, seg, "10.0.0.2/24"), 2)
		if _, err := a.Publish(t.Context(), []Record{record(t, `note.local. 4500 TXT "x"`, true)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		began := time.Now()
		if _, err := b.Resolve(t.Context(), "note"); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
}
