package probe

import (
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	group = netip.MustParseAddrPort("239.255.1.2:1234")
	other = netip.MustParseAddrPort("239.255.1.3:1234")
)

// at returns the address of host n on port 1234.
func at(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}), 1234)
}
