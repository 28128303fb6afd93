package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/mdns"
)

func mdnsResolveCommand() *cli.Command {
	return &cli.Command{
		Name:      "resolve",
		Usage:     "print the addresses of NAME.local",
		ArgsUsage: "NAME",
		Description: "Exit status: 0 when there is an address, 1 when nobody answered within --timeout." +
			examples(`aether mdns resolve box.local`),
		Flags: zeroconfFlags(waitFlag("wait `TIME` for an answer", 3*time.Second)),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			return mdnsResolve(c.Context, c.Args().First(), z)
		},
	}
}

func mdnsResolve(ctx context.Context, name string, z zeroconf) error {
	ctx, cancel := z.within(ctx)
	defer cancel()
	list, err := mdns.Resolve(ctx, name, z.mdns())
	if err != nil {
		return err
	}
	found := 0
	for _, a := range list {
		if z.ipv4 && !a.Addr.Is4() || z.ipv6 && !a.Addr.Is6() {
			continue
		}
		found++
		err := z.out.event("address", plainName(name)+"\t"+a.Addr.String(),
			"name", wireText(plainName(name)), "address", a.Addr.String(),
			"interface", a.Interface, "ttl", int(a.TTL/time.Second))
		if err != nil {
			return err
		}
	}
	if found == 0 {
		return fmt.Errorf("%s has no address of that family: %w", name, mdns.ErrNotFound)
	}
	return nil
}
