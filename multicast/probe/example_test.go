package probe_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/multicast"
	"github.com/aether-lan/aether/multicast/probe"
)

// What of each sender's datagrams arrives, in ten seconds.
func ExampleReceive() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	result, err := probe.Receive(ctx, probe.ReceiveConfig{
		Conns: []multicast.Config{{Interface: "eth0", Group: netip.MustParseAddrPort("239.255.1.2:1234")}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range result.Reports {
		fmt.Printf("%v lost %d of %d, %d of them at our own socket\n", r.From, r.Lost, r.Sent, result.Socket.KernelDrops)
	}
}

// Is multicast as good as unicast?
func ExamplePing() {
	hosts, err := probe.Ping(context.Background(), probe.PingConfig{
		Conn:   multicast.Config{Interface: "eth0", Group: netip.AddrPortFrom(multicast.Pick("my network", multicast.IPv4), 4321)},
		Pinger: probe.PingerConfig{Count: 10},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(probe.Judge(hosts, probe.DefaultMaxLoss))
}
