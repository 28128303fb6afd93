package chat

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/aether-lan/aether/internal/netsim"
	"github.com/aether-lan/aether/multicast"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// meet starts a conversation on a medium.
func meet(t *testing.T, m *netsim.Medium[Packet], name string, cfg RoomConfig) *Conversation {
	t.Helper()
	c := m.Attach()
	cfg.Name = name
	cfg.Rand = rand.New(rand.NewPCG(uint64(c.ID), 1))
	cfg.Random = stream{rand.New(rand.NewPCG(uint64(c.ID), 2))}
	full, err := Config{RoomConfig: cfg}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	talk, err := converse(t.Context(), full, c)
	if err != nil {
		t.Fatal(err)
	}
	return talk
}

// wantEvent reads events until one prints as want.
func wantEvent(t *testing.T, c *Conversation, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var seen []string
	for {
		e, err := c.Next(ctx)
		if err != nil {
			t.Fatalf("no event %s: %v; saw %q", want, err, seen)
		}
		if e.String() == want {
			return
		}
		seen = append(seen, e.String())
	}
}

func TestConversation_TalksAndLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := netsim.NewMedium[Packet](1, netsim.Faults{Delay: time.Millisecond, Loss: 0.1})
		ana, bob := meet(t, m, "ana", sealedConfig()), meet(t, m, "bob", sealedConfig())
		wantEvent(t, ana, "bob joined")
		wantEvent(t, bob, "ana joined")
		if err := ana.Say(t.Context(), "hello"); err != nil {
			t.Error(err)
		}
		wantEvent(t, ana, `ana 1: "hello"`)
		wantEvent(t, bob, `ana 1: "hello"`)
		start := time.Now()
		if n, err := ana.Flush(t.Context()); n != 0 || err != nil || time.Since(start) > 5*time.Second {
			t.Errorf("Flush = %d, %v after %v", n, err, time.Since(start))
		}
		if list, err := bob.Members(t.Context()); err != nil || len(list) != 2 {
			t.Errorf("Members = %v, %v", list, err)
		}
		ana.Close()
		wantEvent(t, bob, "ana left")
		if err := ana.Say(t.Context(), "more"); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Say after Close = %v", err)
		}
		bob.Close()
		for e := range bob.Events(t.Context()) {
			t.Errorf("an event after Close: %v", e)
		}
		if _, err := bob.Next(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Next after Close = %v", err)
		}
	})
}

func TestConversation_FlushTellsWhoIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := netsim.NewMedium[Packet](1, netsim.Faults{Delay: time.Millisecond})
		ana := meet(t, m, "ana", sealedConfig())
		if n, err := ana.Flush(t.Context()); n != 0 || err != nil {
			t.Errorf("Flush of nothing = %d, %v", n, err)
		}
		ana.Say(t.Context(), "hello")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if n, err := ana.Flush(ctx); n != 0 || !errors.Is(err, ErrUnsettled) {
			t.Errorf("Flush with nobody there = %d, %v", n, err)
		}
		bob := meet(t, m, "bob", sealedConfig())
		wantEvent(t, bob, `ana 1: "hello"`)
		if n, err := ana.Flush(t.Context()); n != 0 || err != nil {
			t.Errorf("Flush with bob = %d, %v", n, err)
		}
		m.Partition([]netsim.ID{0}, []netsim.ID{1})
		ana.Say(t.Context(), "again")
		ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if n, err := ana.Flush(ctx); n != 1 || !errors.Is(err, ErrUnsettled) {
			t.Errorf("Flush behind a partition = %d, %v", n, err)
		}
		ana.Close()
		bob.Close()
	})
}

func TestConversation_DropsTheOldestForASlowReader(t *testing.T) {
	q := newQueue(3)
	for i := range 5 {
		q.push(Lost{First: uint64(i)})
	}
	q.close()
	for i := 2; i < 5; i++ {
		if e, err := q.next(t.Context()); err != nil || e.(Lost).First != uint64(i) {
			t.Errorf("event %d = %v, %v", i, e, err)
		}
	}
	if _, err := q.next(t.Context()); !errors.Is(err, net.ErrClosed) || q.missed() != 2 {
		t.Errorf("at the end: %v, %d missed", err, q.missed())
	}
}

// loopback returns the name of the loopback interface.
func loopback(t *testing.T) string {
	all, err := net.Interfaces()
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			return i.Name
		}
	}
	t.Fatal("no loopback interface: ", err)
	return ""
}

func TestJoin_OnLoopback(t *testing.T) {
	lo := loopback(t)
	cfg := Config{RoomConfig: RoomConfig{Room: fmt.Sprint("test ", rand.Uint64()), Name: "ana"}, Interfaces: []string{lo}, Passphrase: []byte("secret")}
	ana, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer ana.Close()
	cfg.Name = "bob"
	bob, err := Join(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer bob.Close()
	if err := ana.Say(t.Context(), "hello"); err != nil {
		t.Fatal(err)
	}
	wantEvent(t, bob, `ana 1: "hello"`)
	if got := ana.Interfaces(); len(got) != 1 || got[0] != lo {
		t.Errorf("Interfaces = %q", got)
	}
}

func TestJoin_NamesWhatIsWrong(t *testing.T) {
	if _, err := Join(t.Context(), Config{Interfaces: []string{"none0"}}); err == nil {
		t.Error("an interface that is not there was accepted")
	}
	if _, err := Join(t.Context(), Config{RoomConfig: RoomConfig{Name: "a\nb"}}); !errors.Is(err, ErrName) {
		t.Errorf("a name of two lines: %v", err)
	}
}

// The group is part of the protocol: another one is another network.
func TestGroup_DoesNotChange(t *testing.T) {
	for family, want := range map[multicast.Family]string{multicast.IPv4: "239.255.174.118:20239", multicast.IPv6: "[ff15::ae00:5868]:20239"} {
		if got := Group(family).String(); got != want {
			t.Errorf("Group(%v) = %s, want %s", family, got, want)
		}
	}
}
