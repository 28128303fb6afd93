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

func states(list []Interface) []state {
	var s []state
	for _, i := range list {
		s = append(s, state{Interface: i})
	}
	return s
}

var cmpPrefix = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

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
			tb.update(states(tt.old))
			if d := cmp.Diff(tt.want, tb.update(states(tt.now)), cmpPrefix); d != "" {
				t.Error("want -, got +\n" + d)
			}
			if again := tb.update(states(tt.now)); again != nil {
				t.Error("told twice:", again)
			}
		})
	}
}

// A flap between two listings is heard although both listings look the same.
func TestTable_FlapBetweenListings(t *testing.T) {
	dead := eth(func(i *Interface) { i.Carrier = false })
	var tb table
	tb.update([]state{{eth(), 3}})
	want := []Event{{CarrierDown, dead}, {CarrierUp, eth()}}
	if d := cmp.Diff(want, tb.update([]state{{eth(), 4}}), cmpPrefix); d != "" {
		t.Error(d)
	}
	// Seen down, it is told once; what it did while down does not matter.
	for _, tt := range []struct {
		now  state
		want Kind
	}{{state{dead, 5}, CarrierDown}, {state{dead, 6}, 0}, {state{eth(), 7}, CarrierUp}, {state{eth(), 7}, 0}} {
		var kind Kind
		for _, e := range tb.update([]state{tt.now}) {
			kind += e.Kind
		}
		if kind != tt.want {
			t.Errorf("lost %d: %v, want %v", tt.now.lost, kind, tt.want)
		}
	}
}

func TestKind_String(t *testing.T) {
	for k, want := range map[Kind]string{Added: "added", Resumed: "resumed", 0: "none", -1: "kind -1", 99: "kind 99"} {
		if k.String() != want {
			t.Errorf("%d: %q, want %q", int(k), k, want)
		}
	}
}
