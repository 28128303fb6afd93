package linklocal_test

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/linklocal"
)

// Claim an address for eth0 and keep it until the context ends.
func ExampleClaim() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	err := linklocal.Claim(ctx, linklocal.Config{
		Interface: "eth0",
		StateDir:  "/var/lib/aether/linklocal",
		Event:     func(e linklocal.Event) { fmt.Println(e) },
	})
	fmt.Println(err)
}

// Is anybody using 192.168.1.5?
func ExampleProbe() {
	res, err := linklocal.Probe(context.Background(), "eth0", netip.MustParseAddr("192.168.1.5"), nil)
	switch {
	case err != nil:
		fmt.Println(err)
	case res.InUse:
		fmt.Println(res.Address, "is in use by", res.HardwareAddr)
	default:
		fmt.Println(res.Address, "is free")
	}
}

// Report who claims what on eth0, and who quarrels.
func ExampleWatch() {
	err := linklocal.Watch(context.Background(), "eth0", true, func(e linklocal.Event) { fmt.Println(e) })
	fmt.Println(err)
}

// An engine is driven by hand: packets and instants in, packets and events out.
func ExampleDetector() {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	d, err := linklocal.NewDetector(linklocal.DetectorConfig{
		Address:      netip.MustParseAddr("169.254.7.7"),
		HardwareAddr: linklocal.HardwareAddr{2, 0, 0, 0, 0, 1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	d.Start(start)
	for {
		now, ok := d.NextTimeout()
		if !ok {
			break
		}
		d.HandleTimeout(now)
		for _, p := range d.Outgoing() {
			fmt.Println(p)
		}
	}
	fmt.Println(d.State())
	// Output:
	// probe 169.254.7.7 from 02:00:00:00:00:01
	// probe 169.254.7.7 from 02:00:00:00:00:01
	// probe 169.254.7.7 from 02:00:00:00:00:01
	// announce 169.254.7.7 from 02:00:00:00:00:01
	// announce 169.254.7.7 from 02:00:00:00:00:01
	// bound
}

// A Claimer is told what happens to its interface and searches by itself.
func ExampleClaimer() {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	c, err := linklocal.NewClaimer(linklocal.ClaimerConfig{HardwareAddr: linklocal.HardwareAddr{2, 0, 0, 0, 0, 1}})
	if err != nil {
		fmt.Println(err)
		return
	}
	c.SetLink(now, true)
	for c.State() != linklocal.Bound {
		now, _ = c.NextTimeout()
		c.HandleTimeout(now)
	}
	fmt.Println(c.Address())
	// Output: 169.254.86.175 true
}

func ExampleMonitor() {
	m := linklocal.NewMonitor(true)
	m.HandlePacket(time.Now(), linklocal.Packet{
		Destination: linklocal.Broadcast, Operation: linklocal.Request,
		SenderHardwareAddr: linklocal.HardwareAddr{2, 0, 0, 0, 0, 1}, SenderIP: netip.IPv4Unspecified(),
		TargetIP: netip.MustParseAddr("169.254.7.7"),
	})
	fmt.Println(m.Events())
	// Output: [probe 169.254.7.7 with 02:00:00:00:00:01]
}
