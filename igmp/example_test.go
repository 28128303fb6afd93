package igmp_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/igmp"
)

// Listen to one source of a group for an hour, as far as routers can tell.
func ExampleJoin() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	err := igmp.Join(ctx, igmp.JoinConfig{
		Interface: "eth0",
		Filters: []igmp.InterfaceFilter{{
			Group:   netip.MustParseAddr("232.1.2.3"),
			Mode:    igmp.Include,
			Sources: igmp.NewSourceSet(netip.MustParseAddr("192.0.2.1")),
		}},
	})
	fmt.Println(err)
}

// Be the querier of a link and print who joins what.
func ExampleServe() {
	err := igmp.Serve(context.Background(), igmp.ServeConfig{
		Interface: "eth0",
		Run:       igmp.RunConfig[igmp.QuerierEvent]{Event: func(e igmp.QuerierEvent) { fmt.Println(e) }},
	})
	fmt.Println(err)
}

// What is in a packet?
func ExampleParsePacket() {
	b, _ := hex.DecodeString("46c00028000040000102f9f80a000001e0000016940400002200e8f90000000104000000ef010203")
	p, err := igmp.ParsePacket(b)
	fmt.Println(p, err)
	// Output: 10.0.0.1 > 224.0.0.22: v3 report to_ex 239.1.2.3 <nil>
}

// An engine is driven by hand: packets and instants in, packets and events out.
func ExampleHost() {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	h, err := igmp.NewHost(igmp.HostConfig{Version: 2, Address: netip.MustParseAddr("10.0.0.7")})
	if err != nil {
		fmt.Println(err)
		return
	}
	group := netip.MustParseAddr("239.1.2.3")
	if err := h.Join(start, group); err != nil {
		fmt.Println(err)
	}
	if err := h.Leave(start.Add(time.Minute), group); err != nil {
		fmt.Println(err)
	}
	for _, p := range h.Outgoing() {
		fmt.Println(p)
	}
	// Output:
	// 10.0.0.7 > 239.1.2.3: v2 report 239.1.2.3
	// 10.0.0.7 > 239.1.2.3: v2 report 239.1.2.3
	// 10.0.0.7 > 224.0.0.2: leave 239.1.2.3
}
