package multicast_test

import (
	"fmt"
	"net/netip"

	"github.com/aether-lan/aether/multicast"
)

// A group for an application that nobody assigned one to.
func ExamplePick() {
	fmt.Println(multicast.Pick("lobby", multicast.IPv4))
	fmt.Println(multicast.Pick("lobby", multicast.IPv6))
	// Output:
	// 239.255.34.34
	// ff15::c1fd:f152
}

// Why not just any group: switches cannot tell these two apart.
func ExampleEthernetAddr() {
	for _, group := range []string{"239.128.0.251", "224.0.0.251"} {
		hw, err := multicast.EthernetAddr(netip.MustParseAddr(group))
		fmt.Println(hw, err, multicast.Flooded(netip.MustParseAddr(group)))
	}
	// Output:
	// 01:00:5e:00:00:fb <nil> true
	// 01:00:5e:00:00:fb <nil> true
}
