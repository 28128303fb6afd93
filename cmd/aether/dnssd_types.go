package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
)

func dnssdTypesCommand() *cli.Command {
	return &cli.Command{
		Name:  "types",
		Usage: "list the services on offer",
		Description: "Prints each service once, _ipp._tcp say. Runs until interrupted, --terminate or --timeout.\n" +
			"Exit status: 0, or 1 when there is none." +
			examples(`aether dnssd types --terminate`),
		Flags: domainFlags(
			waitFlag("end after `TIME` (0: never)", 0),
			&cli.BoolFlag{Name: "terminate", Aliases: []string{"t"}, Usage: "end when no more come, after about a second"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			z, err := dnssdOf(c)
			if err != nil {
				return err
			}
			return dnssdTypes(c.Context, c.Bool("terminate"), z)
		},
	}
}

func dnssdTypes(ctx context.Context, terminate bool, z zeroconf) error {
	within, cancel := z.within(ctx)
	defer cancel()
	quiet := time.AfterFunc(browseFirst, func() {
		if terminate {
			cancel()
		}
	})
	defer quiet.Stop()
	told := make(map[string]bool) // by service, as many as a machine cares to have
	for ev, err := range dnssd.Types(within, z.dnssd()) {
		if err != nil {
			return err
		}
		quiet.Reset(browseQuiet)
		if ev.Op != dnssd.Add || told[ev.Service] {
			continue
		}
		if len(told) < dnssd.TypeMax {
			told[ev.Service] = true
		}
		err := z.out.event("type", printable(ev.Service),
			"service", wireText(ev.Service), "domain", wireText(ev.Domain), "interface", ev.Interface)
		if err != nil {
			return err
		}
	}
	if len(told) == 0 && ctx.Err() == nil {
		return fmt.Errorf("services: %w", dnssd.ErrNotFound)
	}
	return nil
}
