package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/linklocal"
)

func linklocalProbeCommand() *cli.Command {
	return &cli.Command{
		Name:      "probe",
		Usage:     "tell whether any station on the link uses ADDR",
		ArgsUsage: "ADDR",
		Description: "Sends three ARP probes as RFC 5227 says, for any IPv4 address, and listens. Nobody's tables change.\n" +
			"Takes 4 to 7 seconds when the address is free.\n" +
			"Needs CAP_NET_RAW.\n" +
			"Exit status: 0 when the address is free, 1 when it is in use or the interface is unusable, 3 without the rights." +
			examples("aether linklocal probe -i eth0 192.168.1.5"),
		Flags: []cli.Flag{linklocalInterfaceFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			addr, err := netip.ParseAddr(c.Args().First())
			if err != nil || !addr.Is4() || addr.IsUnspecified() {
				return usage("%q is not an IPv4 address", c.Args().First())
			}
			ifname, err := linklocalInterface(c.String("interface"), addr)
			if err != nil {
				return err
			}
			return linklocalProbe(c.Context, ifname, addr, out)
		},
	}
}

func linklocalProbe(ctx context.Context, ifname string, addr netip.Addr, out *printer) error {
	res, err := linklocal.Probe(ctx, ifname, addr, nil)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("probe of %v interrupted", addr)
	}
	if err != nil {
		return linklocalStatus(err)
	}
	if !res.InUse {
		return out.event("free", fmt.Sprintf("%v is free on %s", addr, ifname), "address", addr.String(), "interface", ifname)
	}
	by := hardwareAddrOf(res.HardwareAddr)
	err = out.event("in_use", fmt.Sprintf("%v is in use on %s by %s", addr, ifname, by),
		"address", addr.String(), "hardware_addr", by, "interface", ifname)
	if err != nil {
		return err
	}
	return failed()
}
