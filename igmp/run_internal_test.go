package igmp

import (
	"net/netip"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netif"
)

func link(carrier bool, prefixes ...string) netif.Interface {
	i := netif.Interface{Name: "eth0", Carrier: carrier}
	for _, p := range prefixes {
		i.Addresses = append(i.Addresses, netip.MustParsePrefix(p))
	}
	return i
}

func TestSourceAddr(t *testing.T) {
	for _, v := range []struct {
		ifi    netif.Interface
		family Family
		want   string
	}{
		{link(true, "169.254.1.1/16", "192.168.1.5/24", "192.168.2.5/24", "fe80::1/64"), IPv4, "192.168.1.5"},
		{link(true, "169.254.1.1/16"), IPv4, "169.254.1.1"},
		{link(true, "2001:db8::1/64", "fe80::1/64"), IPv6, "fe80::1"},
		{link(true, "2001:db8::1/64"), IPv6, "invalid IP"},
		{link(true), IPv4, "invalid IP"},
	} {
		if got := sourceAddr(v.ifi, v.family); got.String() != v.want {
			t.Errorf("%v of %v: %v, want %s", v.family, v.ifi.Addresses, got, v.want)
		}
	}
}

// A link that comes back, an address that changes and a machine that wakes are
// told; what concerns others, or changes nothing, is not.
func TestLinkWatch(t *testing.T) {
	var told string
	w := linkWatch{
		family:  IPv4,
		up:      func(time.Time) { told += "up " },
		address: func(_ time.Time, a netip.Addr) { told += a.String() + " " },
	}
	for _, v := range []struct {
		e    netif.Event
		want string
	}{
		{netif.Event{Kind: netif.Added, Interface: link(true, "10.0.0.1/24")}, "10.0.0.1 "},
		{netif.Event{Kind: netif.Changed, Interface: link(true, "10.0.0.1/24")}, ""},
		{netif.Event{Kind: netif.Changed, Interface: netif.Interface{Name: "eth1"}}, ""},
		{netif.Event{Kind: netif.CarrierDown, Interface: link(false, "10.0.0.1/24")}, ""},
		{netif.Event{Kind: netif.CarrierUp, Interface: link(true, "10.0.0.1/24")}, "up "},
		{netif.Event{Kind: netif.Changed, Interface: link(true, "10.0.0.2/24")}, "10.0.0.2 "},
		{netif.Event{Kind: netif.Resumed}, "up "},
		{netif.Event{Kind: netif.Removed, Interface: link(false)}, ""},
	} {
		told = ""
		if f := w.see("eth0", v.e); f != nil {
			f(time.Time{})
		}
		if told != v.want {
			t.Errorf("%v: told %q, want %q", v.e, told, v.want)
		}
	}
}
