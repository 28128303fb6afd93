package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store/pool"
)

// Who follows one machine hears what all do, and of machines that come and go.
func TestLog_TellsOfAllMachines(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret)
	a.put(t, "both", []byte("a's"))
	b.put(t, "both", []byte("b's, later"))
	lines := make(chan string, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- a.client.Log(t.Context(), true, func(h Happening) error {
			lines <- strings.TrimSpace(fmt.Sprintf("%s %s %s %d", h.Kind, h.Machine, h.Path, h.Size))
			return nil
		})
	}()
	eventually(t, "somebody follows", a.happenings.any.Load)
	var heard []string
	hear := func(want string) {
		t.Helper()
		end := time.After(20 * time.Second)
		for !slices.ContainsFunc(heard, func(l string) bool { return strings.HasPrefix(l, want) }) {
			select {
			case l := <-lines:
				heard = append(heard, l)
			case <-end:
				t.Fatalf("nobody said %q; heard %q", want, heard)
			}
		}
	}
	b.mesh.Load().AddAddress(link.PeerID{}, a.addr)
	hear("connected")
	hear("stored b /both 10")
	hear("conflict a /both (conflict ")
	b.put(t, "new", []byte("hello"))
	hear("stored b /new 5")
	hear("held  /new")
	if err := a.client.Remove(t.Context(), "/new", false); err != nil {
		t.Fatal(err)
	}
	hear("removed  /new")
	b.stop()
	hear("disconnected b")
	began := time.Now()
	a.stop()
	if err := <-ended; err == nil || time.Since(began) > stopGrace {
		t.Errorf("the node has ended: %v, after %v", err, time.Since(began))
	}
}

func TestLog_KeepsTheLatest(t *testing.T) {
	m := opened(t, Settings{})
	for i := range happeningsKept + 10 {
		m.alarm(AlarmClock, fmt.Sprint(i), "off")
	}
	m.clear(AlarmClock, fmt.Sprint(happeningsKept+9))
	var got []Happening
	if err := m.Follow(t.Context(), false, func(h Happening) error { got = append(got, h); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != happeningsKept || got[0].Machine != "11" || got[len(got)-1].Kind != HappenedCleared {
		t.Errorf("%d happenings, from %+v to %+v", len(got), got[0], got[len(got)-1])
	}
}

// A follower that does not read loses what is too much, and hears how much that was.
func TestLog_SaysWhatWasLost(t *testing.T) {
	m := opened(t, Settings{Copies: 1})
	enough := errors.New("enough")
	var lost int64
	began := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	first := true
	m.alarm(AlarmClock, "m", "off")
	go func() {
		<-began
		for range followQueue + 100 {
			m.happened(Happening{Kind: HappenedCleared})
		}
		m.happened(Happening{Kind: HappenedAlarm, Text: "last"})
		began <- struct{}{}
	}()
	err := m.Follow(ctx, true, func(h Happening) error {
		if first { // reads nothing for a while
			first = false
			began <- struct{}{}
			<-began
		}
		if h.Kind == HappenedLost {
			lost += h.Count
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || lost != 101 {
		t.Errorf("lost %d, %v", lost, err)
	}
}
