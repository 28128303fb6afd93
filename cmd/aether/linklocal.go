package main

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/adrg/xdg"
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/linklocal"
)

func linklocalCommand() *cli.Command {
	return &cli.Command{
		Name:  "linklocal",
		Usage: "an address on a network without DHCP (RFC 3927, RFC 5227)",
		Subcommands: []*cli.Command{
			linklocalClaimCommand(), linklocalProbeCommand(), linklocalWatchCommand(), linklocalShowCommand(),
		},
	}
}

func linklocalInterfaceFlag() cli.Flag {
	return &cli.StringFlag{Name: "interface", Aliases: []string{"i"}, Usage: "use `IF` (default: the only Ethernet interface that is up)"}
}

func linklocalStateFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "state", Usage: "remember addresses in `DIR`, one file for each hardware address (\"\" for nowhere)",
		Value: filepath.Join(xdg.StateHome, "aether", "linklocal"), DefaultText: "$XDG_STATE_HOME/aether/linklocal",
	}
}

// linklocalStatus gives errors of package linklocal their exit status: 3 for what
// is not permitted or not supported here, 1 for the rest.
func linklocalStatus(err error) error {
	if errors.Is(err, linklocal.ErrNotPermitted) || errors.Is(err, linklocal.ErrNotSupported) {
		return &statusError{statusCannot, err}
	}
	return err
}

// linklocalInterface returns the interface asked for, or chooses one: that whose
// network addr is in, if addr is valid, else the only Ethernet interface that
// can pass packets.
func linklocalInterface(asked string, addr netip.Addr) (string, error) {
	if asked != "" {
		return asked, nil
	}
	all, err := netif.List()
	if err != nil {
		return "", err
	}
	var names []string
	for _, i := range all {
		if !i.Carrier || i.Loopback || i.PointToPoint || len(i.HardwareAddr) != len(linklocal.HardwareAddr{}) {
			continue
		}
		for _, p := range i.Addresses {
			if addr.IsValid() && p.Contains(addr) {
				return i.Name, nil
			}
		}
		names = append(names, i.Name)
	}
	switch len(names) {
	case 0:
		return "", errors.New("no Ethernet interface is up; name one with -i")
	case 1:
		return names[0], nil
	}
	return "", usage("several interfaces are up (%s): choose one with -i", strings.Join(names, ", "))
}

// linklocalEvent prints one event: its words as text, its fields as JSON.
func linklocalEvent(out *printer, ifname string, e linklocal.Event) error {
	kv := []any{"interface", ifname}
	text := e.Kind.String()
	add := func(before, key, value string) {
		kv = append(kv, key, value)
		text += before + value
	}
	if e.Address.IsValid() {
		add(" ", "address", e.Address.String())
	}
	if by := hardwareAddrOf(e.HardwareAddr); by != "" {
		add(" station ", "hardware_addr", by)
	}
	if by := hardwareAddrOf(e.Previous); by != "" {
		add(" and ", "previous_hardware_addr", by)
	}
	text += " on " + ifname
	if e.Reason != 0 {
		add(", ", "reason", e.Reason.String())
	}
	return out.event(e.Kind.String(), text, kv...)
}

// hardwareAddrOf returns the address as text, "" for none.
func hardwareAddrOf(h linklocal.HardwareAddr) string {
	if h == (linklocal.HardwareAddr{}) {
		return ""
	}
	return h.String()
}
