package main

import (
	"net/netip"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/igmp"
)

func igmpCommand() *cli.Command {
	return &cli.Command{
		Name:  "igmp",
		Usage: "who listens to which group (IGMP, RFC 9776, and MLD for IPv6)",
		Subcommands: []*cli.Command{
			igmpJoinCommand(), igmpLeaveCommand(), igmpMonitorCommand(), igmpQueryCommand(), igmpQuerierCommand(),
			igmpDecodeCommand(), igmpDoctorCommand(),
		},
	}
}

// igmpFamilies reads -4 and -6: neither and both mean both.
func igmpFamilies(c *cli.Context) (four, six bool) {
	four, six = c.Bool("4"), c.Bool("6")
	if !four && !six {
		return true, true
	}
	return four, six
}

func igmpFamilyFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "4", Usage: "IPv4 only: IGMP"},
		&cli.BoolFlag{Name: "6", Usage: "IPv6 only: MLD"},
	}
}

// igmpGroup reads a group.
func igmpGroup(s string) (netip.Addr, error) {
	g, err := netip.ParseAddr(s)
	if err != nil {
		return g, usage("%q is not an address", s)
	}
	if g = g.Unmap().WithZone(""); !g.IsMulticast() {
		return g, usage("%v is not a multicast address", g)
	}
	return g, nil
}

// igmpHardware is a hardware address, or nothing where it is unknown.
func igmpHardware(a igmp.HardwareAddr) string {
	if a == (igmp.HardwareAddr{}) {
		return ""
	}
	return a.String()
}
