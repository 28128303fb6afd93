package multicast

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/aether-lan/aether/internal/netif"
)

func TestChoose_PrefersTheDefaultRouteThenACable(t *testing.T) {
	at := func(s string) (list []netip.Prefix) {
		for p := range strings.FieldsSeq(s) {
			list = append(list, netip.MustParsePrefix(p))
		}
		return list
	}
	all := []netif.Interface{
		{Index: 1, Name: "lo", Up: true, Carrier: true, Loopback: true, Addresses: at("127.0.0.1/8 ::1/128")},
		{Index: 2, Name: "down", Multicast: true, Addresses: at("10.1.0.1/8")},
		{Index: 3, Name: "unplugged", Up: true, Multicast: true, Addresses: at("10.2.0.1/8")},
		{Index: 4, Name: "tunnel", Up: true, Carrier: true, Addresses: at("10.3.0.1/8")},
		{Index: 5, Name: "bare", Up: true, Carrier: true, Multicast: true},
		{Index: 6, Name: "six", Up: true, Carrier: true, Multicast: true, Addresses: at("fe80::1/64")},
		{Index: 7, Name: "cable", Up: true, Carrier: true, Multicast: true, Addresses: at("10.4.0.1/8 fe80::2/64")},
		{Index: 8, Name: "wifi", Up: true, Carrier: true, Multicast: true, Addresses: at("192.168.1.2/24 fe80::3/64")},
	}
	for _, c := range []struct {
		all     []netif.Interface
		family  Family
		sources string
		want    string
	}{
		{all, 0, "192.168.1.2", "wifi six cable unplugged"},
		{all, IPv4, "192.168.1.2", "wifi cable unplugged"},
		{all, IPv6, "192.168.1.2", "wifi six cable"},
		{all, IPv4, "10.3.0.1", "cable wifi unplugged"}, // the default route cannot multicast
		{all, IPv4, "", "cable wifi unplugged"},
		{all[:2], IPv4, "", "lo"},
		{all[1:2], IPv4, "", ""},
	} {
		var sources []netip.Addr
		for s := range strings.FieldsSeq(c.sources) {
			sources = append(sources, netip.MustParseAddr(s))
		}
		var got []string
		for _, i := range choose(c.all, c.family, sources) {
			got = append(got, i.Name)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("family %d, default %q: %q, want %q", c.family, c.sources, got, c.want)
		}
	}
}
