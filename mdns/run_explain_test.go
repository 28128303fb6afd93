package mdns

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestNode_ExplainTellsOfAClaimAndEndsTracing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(t, newMachine(t, new(segment), "10.0.0.1/24"), 1)
		done := make(chan map[string]bool)
		go func() {
			seen := make(map[string]bool)
			for note, err := range n.Explain(t.Context()) {
				if err != nil {
					break
				}
				seen[note.What+" "+note.Kind.String()] = true
				if note.What == "announcement" {
					break
				}
			}
			done <- seen
		}()
		synctest.Wait()
		if _, err := n.ClaimHost(t.Context(), "box"); err != nil {
			t.Fatal(err)
		}
		seen := <-done
		for _, want := range []string{"probe delayed", "probe sent", "announcement sent"} {
			if !seen[want] {
				t.Errorf("no %q in %v", want, seen)
			}
		}
		traced := true
		if err := n.call(t.Context(), func(time.Time) { traced = n.host.traced }); err != nil || traced {
			t.Errorf("still traced: %v, %v", traced, err)
		}
	})
}
