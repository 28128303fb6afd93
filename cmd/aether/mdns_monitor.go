package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/mdns"
)

func mdnsMonitorCommand() *cli.Command {
	return &cli.Command{
		Name:  "monitor",
		Usage: "print every record that is heard, asking nothing",
		Description: "Runs until interrupted or --timeout. A record that is withdrawn has the TTL 0.\n" +
			"Exit status: 0." +
			examples(`aether mdns monitor -i eth0 --json`),
		Flags: zeroconfFlags(waitFlag("end after `TIME` (0: never)", 0)),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			return mdnsMonitor(c.Context, z)
		},
	}
}

func mdnsMonitor(ctx context.Context, z zeroconf) error {
	ctx, cancel := z.within(ctx)
	defer cancel()
	n, err := mdns.Open(ctx, z.mdns())
	if err != nil {
		return err
	}
	defer n.Close()
	for h, err := range n.Monitor(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		if err := printRecord(z.out, h.Record, h.Interface, h.From.Addr()); err != nil {
			return err
		}
	}
	return nil
}
