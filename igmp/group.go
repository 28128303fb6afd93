package igmp

import "net/netip"

// The addresses that the protocols use themselves.
var (
	allSystems4 = netip.AddrFrom4([4]byte{224, 0, 0, 1})  // all hosts: general queries
	allRouters4 = netip.AddrFrom4([4]byte{224, 0, 0, 2})  // leaves of version 2
	allReports4 = netip.AddrFrom4([4]byte{224, 0, 0, 22}) // reports of version 3
	allNodes6   = netip.MustParseAddr("ff02::1")
	allRouters6 = netip.MustParseAddr("ff02::2")
	allReports6 = netip.MustParseAddr("ff02::16")
)
