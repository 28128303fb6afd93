package netif

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func eth(change ...func(*Interface)) Interface {
	i := Interface{Index: 2, Name: "eth0", MTU: 1500, Up: true, Carrier: true, Multicast: true,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		Addresses:    []netip.Prefix{netip.MustParsePrefix("192.0.2.1/24")}}
	for _, c := range change {
		c(&i)
	}
	return i
}

func TestTable_Update(t *testing.T) {
	lo := Interface{Index: 1, Name: "lo", Up: true, Carrier: true, Loopback: true}
	dead := func(i *Interface) { i.Carrier = false }
	off := func(i *Interface) { i.Up, i.Carrier = false, false }
	moved := func(i *Interface) { i.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.1/25")} }
	renamed := func(i *Interface) { i.Name = "lan0" }
	reborn := func(i *Interface) { i.Index = 9 }
	for _, tt := range []struct {
		name     string
		old, now []Interface
		want     []Event
	}{
		{"first listing", nil, []Interface{eth(), lo}, []Event{{Added, lo}, {Added, eth()}}},
		{"nothing", []Interface{lo, eth()}, []Interface{eth(), lo}, nil},
		{"gone", []Interface{lo, eth()}, []Interface{lo}, []Event{{Removed, eth()}}},
		{"all gone", []Interface{eth()}, nil, []Event{{Removed, eth()}}},
		{"cable out", []Interface{eth()}, []Interface{eth(dead)}, []Event{{CarrierDown, eth(dead)}}},
		{"cable in", []Interface{eth(dead)}, []Interface{eth()}, []Event{{CarrierUp, eth()}}},
		{"switched off", []Interface{eth()}, []Interface{eth(off)}, []Event{{CarrierDown, eth(off)}, {Changed, eth(off)}}},
		{"switched on", []Interface{eth(off)}, []Interface{eth()}, []Event{{Changed, eth()}, {CarrierUp, eth()}}},
		{"prefix length", []Interface{eth()}, []Interface{eth(moved)}, []Event{{Changed, eth(moved)}}},
		{"renamed", []Interface{eth()}, []Interface{eth(renamed)}, []Event{{Changed, eth(renamed)}}},
		{"same name, other interface", []Interface{eth()}, []Interface{eth(reborn)}, []Event{{Removed, eth()}, {Added, eth(reborn)}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tb table
			tb.update(tt.old)
			if d := cmp.Diff(tt.want, tb.update(tt.now), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
				t.Error("want -, got +\n" + d)
			}
			if again := tb.update(tt.now); again != nil {
				t.Error("told twice:", again)
			}
		})
	}
}

// A flap between two listings is heard although both listings look the same.
func TestTable_FlapBetweenListings(t *testing.T) {
	var tb table
	tb.update([]Interface{eth()})
	var kinds []Kind
	for _, up := range []bool{true, false, false, true} {
		for _, e := range tb.carrier(2, up) {
			kinds = append(kinds, e.Kind)
		}
	}
	if d := cmp.Diff([]Kind{CarrierDown, CarrierUp}, kinds); d != "" {
		t.Error(d)
	}
	if e := append(tb.update([]Interface{eth()}), tb.carrier(77, true)...); e != nil {
		t.Error("unexpected", e)
	}
}

func TestKind_String(t *testing.T) {
	for k, want := range map[Kind]string{Added: "added", Resumed: "resumed", 0: "none", -1: "kind -1", 99: "kind 99"} {
		if k.String() != want {
			t.Errorf("%d: %q, want %q", int(k), k, want)
		}
	}
}
