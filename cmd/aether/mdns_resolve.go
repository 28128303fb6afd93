package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/mdns"
)

func mdnsResolveCommand() *cli.Command {
	return &cli.Command{
		Name:      "resolve",
		Usage:     "print the addresses of names, and the names of addresses",
		ArgsUsage: "NAME|ADDRESS...",
		Description: "A line is what was asked for, a tab and what was found. NAME is box.local or box.\n" +
			"Exit status: 0 when everything was found, 1 when nobody answered for some of it within --timeout." +
			examples(`aether mdns resolve box.local`, `aether mdns resolve -4 box printer.local 169.254.7.9`),
		Flags: zeroconfFlags(waitFlag("wait `TIME` for an answer", 3*time.Second)),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1); err != nil {
				return err
			}
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			return mdnsResolve(c.Context, c.Args().Slice(), z)
		},
	}
}

// mdnsResolve asks for all at once.
func mdnsResolve(ctx context.Context, asked []string, z zeroconf) error {
	n, err := mdns.Open(ctx, z.mdns())
	if err != nil {
		return err
	}
	defer n.Close()
	ctx, cancel := z.within(ctx)
	defer cancel()
	errs := make([]error, len(asked))
	var wg sync.WaitGroup
	for i, name := range asked {
		wg.Go(func() {
			if a, err := netip.ParseAddr(name); err == nil {
				errs[i] = z.resolveAddress(ctx, n, a)
			} else {
				errs[i] = z.resolveName(ctx, n, name)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (z zeroconf) resolveName(ctx context.Context, n *mdns.Node, name string) error {
	list, err := n.Resolve(ctx, name)
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

func (z zeroconf) resolveAddress(ctx context.Context, n *mdns.Node, a netip.Addr) error {
	names, err := n.ResolveAddress(ctx, a)
	for _, name := range names {
		if err == nil {
			err = z.out.event("name", a.String()+"\t"+plainName(name), "address", a.String(), "name", wireText(plainName(name)))
		}
	}
	return err
}
