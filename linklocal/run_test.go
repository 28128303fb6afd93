package linklocal

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/internal/netsim"
)

// The loop turns two Claimers that want the same address, in fake time.
func TestLoop_TwoClaimersOneMedium(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := netsim.NewMedium[Packet](1, netsim.Faults{Delay: time.Millisecond})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		first := netip.MustParseAddr("169.254.7.7")
		released := make(chan netip.Addr, 2)
		ended := make(chan error, 2)
		for i := range 2 {
			c, err := NewClaimer(ClaimerConfig{HardwareAddr: HardwareAddr{2, 0, 0, 0, 0, byte(i)}, First: first})
			if err != nil {
				t.Fatal(err)
			}
			c.SetLink(time.Now(), true)
			end := m.Attach()
			go func() {
				ended <- loop.Run(ctx, c, conn(end), loop.Config[Packet, Event]{Stop: c.Stop, Event: func(e Event) {
					if e.Kind == EventReleased {
						released <- e.Address
					}
				}})
			}()
		}
		for range 2 {
			if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Run = %v", err)
			}
		}
		if a, b := <-released, <-released; a == b || !Selectable(a) || !Selectable(b) {
			t.Errorf("held %v and %v at the end", a, b)
		}
	})
}

func TestState_RememberedPerHardwareAddress(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	h, other := HardwareAddr{2, 0, 0, 0, 0, 1}, HardwareAddr{2, 0, 0, 0, 0, 2}
	if a, err := Remembered(dir, h); err != nil || a.IsValid() {
		t.Errorf("nothing remembered: %v, %v", a, err)
	}
	for _, s := range []string{"169.254.7.7", "169.254.8.8", "169.254.8.8"} {
		want := netip.MustParseAddr(s)
		if err := remember(dir, h, want); err != nil {
			t.Fatal(err)
		}
		if a, err := Remembered(dir, h); err != nil || a != want {
			t.Errorf("remembered %v, %v; want %v", a, err, want)
		}
	}
	if a, err := Remembered(dir, other); err != nil || a.IsValid() {
		t.Errorf("the other interface remembers %v, %v", a, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, s := range []string{"", "nonsense", "10.0.0.1\n", "169.254.0.1\n", strings.Repeat("1", 1000)} {
		if err := os.WriteFile(stateFile(dir, h), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if a, err := Remembered(dir, h); err == nil {
			t.Errorf("file %q was read as %v", s, a)
		}
	}
}

// A view must be told from the others' events too.
func TestViewer_WhatInterfacesMean(t *testing.T) {
	iface := func(index int, name string, mac byte, carrier bool, addrs ...string) netif.Interface {
		i := netif.Interface{Index: index, Name: name, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, mac}, Up: true, Carrier: carrier}
		for _, a := range addrs {
			i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
		}
		return i
	}
	h := HardwareAddr{2, 0, 0, 0, 0, 1}
	v := newViewer("eth0", h, []netif.Interface{iface(2, "eth0", 1, false), iface(3, "eth1", 2, true, "169.254.9.9/16", "fe80::1/64")})
	for _, c := range []struct {
		e                       netif.Event
		link, routable, resumed bool
		own, taken, here        int
	}{
		{netif.Event{Kind: netif.CarrierUp, Interface: iface(2, "eth0", 1, true)}, true, false, false, 1, 1, 0},
		{netif.Event{Kind: netif.Changed, Interface: iface(2, "eth0", 1, true, "169.254.7.7/16", "fe80::2/64")}, true, false, false, 1, 1, 1},
		{netif.Event{Kind: netif.Changed, Interface: iface(2, "eth0", 1, true, "192.0.2.1/24", "169.254.7.7/16")}, true, true, false, 1, 1, 2},
		{netif.Event{Kind: netif.Resumed}, true, true, true, 1, 1, 2},
		{netif.Event{Kind: netif.Added, Interface: iface(4, "wlan0", 3, true, "10.0.0.1/8")}, true, true, false, 2, 2, 2},
		{netif.Event{Kind: netif.Removed, Interface: iface(3, "eth1", 2, true)}, true, true, false, 1, 1, 2},
		{netif.Event{Kind: netif.CarrierDown, Interface: iface(2, "eth0", 1, false)}, false, false, false, 1, 1, 0},
	} {
		got, err := v.apply(c.e)
		if err != nil || got.link != c.link || got.routable != c.routable || got.resumed != c.resumed ||
			len(got.own) != c.own || len(got.taken) != c.taken || len(got.here) != c.here {
			t.Errorf("%v: %+v, %v", c.e, got, err)
		}
	}
	for _, e := range []netif.Event{
		{Kind: netif.Removed, Interface: iface(2, "eth0", 1, true)},
		{Kind: netif.Changed, Interface: iface(2, "eth0", 9, true)},
	} {
		if _, err := v.apply(e); !errors.Is(err, ErrInterface) {
			t.Errorf("%v: %v", e, err)
		}
	}
}

func TestHook_WordsAndBounds(t *testing.T) {
	for e, want := range map[Event]string{
		{Kind: EventClaimed}: HookBind, {Kind: EventRestored}: HookBind,
		{Kind: EventLost, Reason: ReasonConflict}: HookConflict, {Kind: EventLost, Reason: ReasonLink}: HookUnbind,
		{Kind: EventReleased, Reason: ReasonStopped}: HookUnbind, {Kind: EventDeprecated}: HookDeprecate,
		{Kind: EventProbe}: "", {Kind: EventConflict}: "", {Kind: EventDefended}: "", {Kind: EventWaiting}: "",
	} {
		if got := hookWord(e); got != want {
			t.Errorf("%v: %q, want %q", e, got, want)
		}
	}
	h := &hook{queue: make(chan hookCall, 1), log: slog.New(slog.DiscardHandler)}
	for range 3 {
		h.tell(Event{Kind: EventClaimed}) // nobody reads: must not block
	}
	if h.dropped != 2 {
		t.Errorf("dropped %d, want 2", h.dropped)
	}
	var none *hook
	none.tell(Event{Kind: EventClaimed})
	none.stop()
}

func TestLabel_FitsTheKernel(t *testing.T) {
	if l := label("eth0"); l != "eth0:aether" {
		t.Errorf("label %q", l)
	}
	if l := label("enp0s31f6"); l != "" {
		t.Errorf("label %q is too long", l)
	}
}

func TestList_AddsWhatIsRemembered(t *testing.T) {
	dir := t.TempDir()
	gone := HardwareAddr{2, 0xff, 0, 0, 0, 1}
	want := netip.MustParseAddr("169.254.7.7")
	if err := remember(dir, gone, want); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README"), []byte("169.254.9.9"), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := List(dir)
	if err != nil || len(list) == 0 || list[len(list)-1] != (Holding{HardwareAddr: gone, Remembered: want}) {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := List(filepath.Join(dir, "missing")); err != nil {
		t.Errorf("missing directory: %v", err)
	}
}
