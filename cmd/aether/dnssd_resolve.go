package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
)

func dnssdResolveCommand() *cli.Command {
	return &cli.Command{
		Name:      "resolve",
		Usage:     "print host, addresses, port and attributes of an instance",
		ArgsUsage: "NAME TYPE, or NAME.TYPE.DOMAIN",
		Description: "JSON: one event resolved.\n" +
			"Exit status: 0 when it has an address, 1 when nobody answered within --timeout." +
			examples(`aether dnssd resolve 'Front Office' _ipp._tcp`),
		Flags: domainFlags(waitFlag("wait `TIME` for an answer", 3*time.Second)),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 2); err != nil {
				return err
			}
			z, err := dnssdOf(c)
			if err != nil {
				return err
			}
			name, service := c.Args().First(), c.Args().Get(1)
			if c.NArg() == 1 {
				full, err := dnssd.ParseName(name)
				if err != nil {
					return usage("%w", err)
				}
				name, service = full.Instance, full.Service
				if z.domain == "" {
					z.domain = full.Domain
				}
			}
			if _, err := dnssd.ParseService(service); err != nil {
				return usage("%w", err)
			}
			if _, err := dnssd.NormalizeInstance(name); err != nil {
				return usage("%w", err)
			}
			return dnssdResolve(c.Context, name, service, z)
		},
	}
}

func dnssdResolve(ctx context.Context, name, service string, z zeroconf) error {
	ctx, cancel := z.within(ctx)
	defer cancel()
	i, err := dnssd.Resolve(ctx, name, service, z.dnssd())
	if err != nil {
		return err
	}
	return z.out.event("resolved", instanceBlock(i), instanceFields(i)...)
}
