package multicast_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/aether-lan/aether/multicast"
)

var addr = netip.MustParseAddr

func TestEthernetAddr_RFC1112_6_4_LowTwentyThreeBits(t *testing.T) {
	for group, want := range map[string]string{
		"224.0.0.251":          "01:00:5e:00:00:fb",
		"239.255.255.250":      "01:00:5e:7f:ff:fa",
		"224.128.0.1":          "01:00:5e:00:00:01",
		"ff02::fb":             "33:33:00:00:00:fb",
		"ff02::1:ff12:3456":    "33:33:ff:12:34:56",
		"::ffff:239.129.130.1": "01:00:5e:01:82:01",
	} {
		got, err := multicast.EthernetAddr(addr(group))
		if err != nil || got.String() != want {
			t.Errorf("EthernetAddr(%s) = %v, %v; want %s", group, got, err, want)
		}
	}
	for _, a := range []netip.Addr{addr("10.0.0.1"), addr("fe80::1"), {}} {
		if _, err := multicast.EthernetAddr(a); !errors.Is(err, multicast.ErrNotGroup) {
			t.Errorf("EthernetAddr(%v) = %v, want ErrNotGroup", a, err)
		}
	}
}

func TestAliases_AreThirtyTwoOfOneEthernetAddress(t *testing.T) {
	group := addr("239.200.1.2")
	all := multicast.Aliases(group)
	if len(all) != 32 || !slices.Contains(all, group) || !slices.IsSortedFunc(all, netip.Addr.Compare) {
		t.Fatalf("Aliases = %v", all)
	}
	want, _ := multicast.EthernetAddr(group)
	for _, a := range all {
		if got, err := multicast.EthernetAddr(a); err != nil || got != want {
			t.Errorf("%v has %v, %v; want %v", a, got, err, want)
		}
	}
	if len(slices.Compact(all)) != 32 {
		t.Error("aliases repeat")
	}
	if multicast.Aliases(addr("ff02::1")) != nil || multicast.Aliases(addr("10.1.1.1")) != nil {
		t.Error("aliases of what is no IPv4 group")
	}
}

func TestFlooded_RFC4541_2_1_2_IncludesAliases(t *testing.T) {
	for group, want := range map[string]bool{
		"224.0.0.1": true, "224.0.0.251": true, "239.128.0.77": true, "230.0.0.5": true,
		"224.0.1.1": false, "239.255.0.1": false, "239.1.0.1": false, "ff02::1": false, "10.0.0.1": false,
	} {
		if got := multicast.Flooded(addr(group)); got != want {
			t.Errorf("Flooded(%s) = %v", group, got)
		}
	}
}

func TestScopeOf(t *testing.T) {
	for group, want := range map[string]string{
		"224.0.0.251": "link-local", "224.0.1.1": "global", "239.255.1.1": "site-local", "239.195.0.1": "organization-local",
		"239.1.1.1": "global", "ff02::fb": "link-local", "ff05::2": "site-local", "ff01::1": "interface-local",
		"ff0e::1": "global", "ff06::1": "scope 6", "192.0.2.1": "none",
	} {
		if got := multicast.ScopeOf(addr(group)).String(); got != want {
			t.Errorf("ScopeOf(%s) = %s, want %s", group, got, want)
		}
	}
}
