package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/mdns"
)

func mdnsClaimCommand() *cli.Command {
	return &cli.Command{
		Name:      "claim",
		Usage:     "take NAME.local for this machine until interrupted",
		ArgsUsage: "NAME",
		Description: "Probes for NAME.local, announces it with the addresses of each interface, answers for it and\n" +
			"defends it. When another machine has it, takes NAME-2 and so on. Says goodbye at the end.\n" +
			"Exit status: 0 after an interrupt, 1 when no name was claimed within --timeout." +
			examples(`aether mdns claim box -i eth0`, `aether mdns claim box --state /var/lib/aether/name.json`),
		Flags: zeroconfFlags(waitFlag("give up when nothing was claimed within `TIME` (0: never)", 0),
			&cli.StringFlag{Name: "state", Usage: "remember in `FILE` that the name had to become NAME-2, for the next start", TakesFile: true}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			label := strings.TrimSuffix(plainName(c.Args().First()), ".local")
			if label == "" || len(label) > 63 || strings.Contains(label, ".") {
				return usage("%q is not one label of 1 to 63 bytes, or NAME.local", c.Args().First())
			}
			return mdnsClaim(c.Context, label, c.String("state"), z)
		},
	}
}

func mdnsClaim(ctx context.Context, label, state string, z zeroconf) error {
	cfg := z.mdns()
	cfg.StateFile = state
	// The node outlives ctx by its goodbye.
	n, err := mdns.Open(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer n.Close()
	events, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { claimEvents(events, n, z.out) })
	tellShared(events, n, z.out)
	within, cancel := z.within(ctx)
	h, err := n.ClaimHost(within, label)
	cancel()
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s.local was not claimed within %v", label, z.timeout)
		}
		return err
	}
	<-ctx.Done()
	name := plainName(h.Name())
	_ = h.Close()
	_ = n.Close()
	return z.out.event("goodbye", "goodbye "+name, "name", wireText(name))
}

// claimEvents writes what happens on the way to the name and after.
func claimEvents(ctx context.Context, n *mdns.Node, out *printer) {
	for ev, err := range n.Events(ctx) {
		if err != nil {
			return
		}
		name := plainName(ev.Name)
		text := ev.Kind.String() + " " + name
		switch ev.Kind {
		case mdns.EventProbe:
			_ = out.event("probe", text+" on "+ev.Interface, "name", wireText(name), "interface", ev.Interface)
		case mdns.EventConflict:
			_ = out.event("conflict", text+" with "+addressText(ev.From), "name", wireText(name), "from", addressText(ev.From), "interface", ev.Interface)
		case mdns.EventRenamed:
			from := plainName(ev.Previous)
			_ = out.event("renamed", "renamed "+from+" to "+name, "from", wireText(from), "name", wireText(name))
		case mdns.EventClaimed:
			addresses := ownAddresses(ctx, n)
			_ = out.event("claimed", text+" "+strings.Join(addresses, " "), "name", wireText(name), "addresses", addresses)
		}
	}
}

// tellShared says when another program of this machine takes part too.
func tellShared(ctx context.Context, n *mdns.Node, out *printer) {
	links, err := n.Links(ctx)
	if err == nil && slices.ContainsFunc(links, func(l mdns.Link) bool { return l.Shared }) {
		_ = out.event("shared", "shares port 5353 with another program of this machine: asks for no unicast answers", "port", mdns.Port)
	}
}

// ownAddresses are those that a claimed name has, of all interfaces in use.
func ownAddresses(ctx context.Context, n *mdns.Node) []string {
	texts := []string{}
	links, err := n.Links(ctx)
	if err != nil {
		return texts
	}
	for _, link := range links {
		for _, p := range link.Addresses {
			a := p.Addr()
			if a.Is6() && a.IsLinkLocalUnicast() {
				a = a.WithZone(link.Name)
			}
			texts = append(texts, a.String())
		}
	}
	return texts
}
