package main

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/linklocal"
)

func linklocalShowCommand() *cli.Command {
	return &cli.Command{
		Name:  "show",
		Usage: "list the link-local addresses held and remembered on this machine",
		Description: "One line an address: interface, address held, address remembered, hardware address; a dash for none.\n" +
			"Exit status: 0, or 1 when there is none." +
			examples("aether linklocal show"),
		Flags: []cli.Flag{linklocalStateFlag()},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			return linklocalShow(c.String("state"), out)
		},
	}
}

func linklocalShow(stateDir string, out *printer) error {
	list, err := linklocal.List(stateDir)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("no link-local address is held or remembered")
	}
	for _, h := range list {
		ifname := h.Interface
		if ifname == "" {
			ifname = "-"
		}
		text := fmt.Sprintf("%-15s %-15s %-15s %s", ifname, dash(h.Held), dash(h.Remembered), hardwareAddrOf(h.HardwareAddr))
		kv := []any{"interface", h.Interface, "hardware_addr", hardwareAddrOf(h.HardwareAddr)}
		if h.Held.IsValid() {
			kv = append(kv, "address", h.Held.String())
		}
		if h.Remembered.IsValid() {
			kv = append(kv, "remembered", h.Remembered.String())
		}
		if err := out.event("address", text, kv...); err != nil {
			return err
		}
	}
	return nil
}

func dash(a netip.Addr) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}
