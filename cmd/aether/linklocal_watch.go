package main

import (
	"context"
	"net/netip"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/linklocal"
)

func linklocalWatchCommand() *cli.Command {
	return &cli.Command{
		Name:  "watch",
		Usage: "show who claims which address on the link, and who quarrels",
		Description: "Listens to ARP and sends nothing. Writes probe, announce, claimed (a station is first heard with an\n" +
			"address) and conflict (another station is heard with it).\n" +
			"Needs CAP_NET_RAW.\n" +
			"Exit status: 0 after an interrupt, 1 when the interface is unusable, 3 without the rights." +
			examples("aether linklocal watch -i eth0 --all"),
		Flags: []cli.Flag{
			linklocalInterfaceFlag(),
			&cli.BoolFlag{Name: "all", Usage: "all IPv4 addresses, not only those of 169.254/16"},
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			ifname, err := linklocalInterface(c.String("interface"), netip.Addr{})
			if err != nil {
				return err
			}
			return linklocalWatch(c.Context, ifname, !c.Bool("all"), out)
		},
	}
}

// linklocalWatch listens until ctx ends, which is success.
func linklocalWatch(ctx context.Context, ifname string, linkLocalOnly bool, out *printer) error {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := linklocal.Watch(work, ifname, linkLocalOnly, func(e linklocal.Event) {
		if err := linklocalEvent(out, ifname, e); err != nil {
			cancel(err) // nobody reads us any more
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return linklocalStatus(err)
}
