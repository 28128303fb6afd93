package multicast_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/aether-lan/aether/multicast"
)

// These results are for ever: programs of all versions must meet.
func TestPick_NeverChanges(t *testing.T) {
	for name, want := range map[string][2]string{
		"":               {"239.255.138.212", "ff15::d86d:22dc"},
		"lobby":          {"239.255.34.34", "ff15::c1fd:f152"},
		"aether":         {"239.255.149.80", "ff15::afbc:4a3e"},
		"Grüße an alle":  {"239.255.193.254", "ff15::c127:b097"},
		"a\x00b":         {"239.255.88.177", "ff15::c109:8e1f"},
		"aether mcast 1": {"239.255.6.136", "ff15::dcf0:3100"},
	} {
		v4, v6 := multicast.Pick(name, multicast.IPv4), multicast.Pick(name, multicast.IPv6)
		if v4.String() != want[0] || v6.String() != want[1] {
			t.Errorf("Pick(%q) = %q, %q; want %v", name, v4, v6, want)
		}
	}
}

// A picked group is locally scoped, is not flooded by any switch, is in no range that
// is kept for others, and maps to no Ethernet address of neighbour discovery.
func TestPick_IsSafe(t *testing.T) {
	local, kept := netip.MustParsePrefix("239.255.0.0/16"), netip.MustParsePrefix("239.255.255.0/24")
	transient := netip.MustParsePrefix("ff15::/96")
	seen := map[netip.Addr]bool{}
	for i := range 20_000 {
		name := fmt.Sprint("room ", i)
		a := multicast.Pick(name, multicast.IPv4)
		b := a.As4()
		if !local.Contains(a) || kept.Contains(a) || multicast.Flooded(a) || multicast.SourceSpecific(a) ||
			int(b[1]&0x7f)<<16|int(b[2])<<8|int(b[3]) < 0x100 || multicast.ScopeOf(a) != multicast.ScopeSiteLocal {
			t.Fatalf("Pick(%q, IPv4) = %v", name, a)
		}
		seen[a] = true
		a = multicast.Pick(name, multicast.IPv6)
		g := a.As16()
		if !transient.Contains(a) || g[12] < 0x80 || g[12] == 0xff || multicast.SourceSpecific(a) || multicast.ScopeOf(a) != multicast.ScopeSiteLocal {
			t.Fatalf("Pick(%q, IPv6) = %v", name, a)
		}
	}
	// 65,280 bins and 20,000 balls leave 17,230 bins with one or more on average.
	if len(seen) < 17_000 || len(seen) > 17_460 {
		t.Errorf("%d groups for 20,000 names, want about 17,230", len(seen))
	}
}

func TestFamilyOf(t *testing.T) {
	for a, want := range map[string]string{"239.1.1.1": "IPv4", "ff02::1": "IPv6", "::ffff:224.0.0.1": "IPv4"} {
		if got := multicast.FamilyOf(addr(a)).String(); got != want {
			t.Errorf("FamilyOf(%s) = %s, want %s", a, got, want)
		}
	}
}
