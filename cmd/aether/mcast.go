package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/multicast"
)

func mcastCommand() *cli.Command {
	return &cli.Command{
		Name:  "mcast",
		Usage: "send to groups, hear them and measure them",
		Subcommands: []*cli.Command{
			mcastSendCommand(), mcastRecvCommand(), mcastPingCommand(), mcastMACCommand(),
			mcastPutCommand(), mcastGetCommand(),
			mcastChatCommand(),
		},
	}
}

// mcastFlags are the flags of every command that uses a group.
func mcastFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		&cli.StringFlag{Name: "interface", Aliases: []string{"i"}, Usage: "use `IF` (default: the one of the default route)"},
		&cli.BoolFlag{Name: "4", Usage: "IPv4 only"},
		&cli.BoolFlag{Name: "6", Usage: "IPv6 only"},
	)
}

// mcast is what mcastFlags and the common flags say.
type mcast struct {
	ifname     string // "" is the default of the family
	ipv4, ipv6 bool
	log        *slog.Logger
	out        *printer
	errw       io.Writer
}

func mcastOf(c *cli.Context) (m mcast, err error) {
	m = mcast{ifname: c.String("interface"), ipv4: c.Bool("4"), ipv6: c.Bool("6"), log: newLogger(c), errw: c.App.ErrWriter}
	if m.ipv4 && m.ipv6 {
		m.ipv4, m.ipv6 = false, false // both is the same as neither
	}
	m.out, err = newPrinter(c)
	return m, err
}

// family is the one to pick a group for when none is named.
func (m mcast) family() multicast.Family {
	if m.ipv6 {
		return multicast.IPv6
	}
	return multicast.IPv4
}

// allows refuses a group of the family that -4 or -6 excludes.
func (m mcast) allows(group netip.Addr) error {
	switch f := multicast.FamilyOf(group); {
	case f == multicast.IPv6 && m.ipv4:
		return usage("%v is an IPv6 group, and -4 is given", group)
	case f == multicast.IPv4 && m.ipv6:
		return usage("%v is an IPv4 group, and -6 is given", group)
	}
	return nil
}

// interfaceFor returns the name of the interface to use for a group of family.
func (m mcast) interfaceFor(family multicast.Family) (string, error) {
	if m.ifname != "" {
		if _, err := net.InterfaceByName(m.ifname); err != nil {
			return "", fmt.Errorf("no such interface: %q", m.ifname)
		}
		return m.ifname, nil
	}
	ifi, err := multicast.DefaultInterface(family)
	return ifi.Name, err
}

// complain prints a line for the user on standard error.
func (m mcast) complain(format string, args ...any) {
	fmt.Fprintln(m.errw, programPrefix+printable(fmt.Sprintf(format, args...)))
}

// warnFlooded warns about a group that no switch prunes.
func (m mcast) warnFlooded(group netip.Addr) {
	if !multicast.Flooded(group) {
		return
	}
	hw, _ := multicast.EthernetAddr(group) // Flooded says that it is a group
	m.complain("warning: %v shares the Ethernet address %v with 224.0.0.%d: switches flood it to every port, or hold it back; see mcast mac %v",
		group, hw, group.Unmap().As4()[3], group)
}
