package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
)

// browseQuiet is when all is told for now: a new instance is told after a second at
// the latest, and the question is asked again a second after it was asked first.
const browseQuiet = 2 * time.Second

func dnssdBrowseCommand() *cli.Command {
	return &cli.Command{
		Name:      "browse",
		Usage:     "list the instances of a service, and what becomes of them",
		ArgsUsage: "TYPE",
		Description: "TYPE is _ipp._tcp or, with a subtype, _color._sub._ipp._tcp. Text: a line begins with + for what\n" +
			"is new, - for what is gone and, with --resolve, = for what was found out about it. JSON: events\n" +
			"add, update and remove, with everything that is known.\n\n" +
			"Runs until interrupted, --terminate, --timeout or --wait-for. Exit status: 0, or 1 when nothing\n" +
			"was found, or fewer than --wait-for." +
			examples(`aether dnssd browse _ipp._tcp --resolve --terminate`),
		Flags: zeroconfFlags(
			waitFlag("end after `TIME` (0: never)", 0),
			&cli.BoolFlag{Name: "resolve", Aliases: []string{"r"}, Usage: "print host, addresses, port and attributes"},
			&cli.BoolFlag{Name: "terminate", Aliases: []string{"t"}, Usage: "end when no more come, after about two seconds"},
			&cli.IntFlag{Name: "wait-for", Usage: "end as soon as `N` instances are there"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			if _, err := dnssd.ParseService(c.Args().First()); err != nil {
				return usage("%w", err)
			}
			if c.Int("wait-for") < 0 {
				return usage("--wait-for must not be negative")
			}
			b := browsing{resolve: c.Bool("resolve"), terminate: c.Bool("terminate"), waitFor: c.Int("wait-for")}
			return b.run(c.Context, c.Args().First(), z)
		},
	}
}

// browsing is one run of browse.
type browsing struct {
	resolve, terminate bool
	waitFor            int
}

func (b browsing) run(ctx context.Context, service string, z zeroconf) error {
	within, cancel := z.within(ctx)
	defer cancel()
	quiet := time.AfterFunc(browseQuiet, func() {
		if b.terminate {
			cancel()
		}
	})
	defer quiet.Stop()
	there := make(map[dnssd.FullName]int) // on how many interfaces
	seen := 0
	for ev, err := range dnssd.Browse(within, service, z.dnssd()) {
		if err != nil {
			return err
		}
		quiet.Reset(browseQuiet)
		switch name := ev.Instance.FullName(); ev.Op {
		case dnssd.Add:
			there[name]++
			seen++
		case dnssd.Remove:
			if there[name]--; there[name] <= 0 {
				delete(there, name)
			}
		}
		if err := b.print(z.out, ev); err != nil {
			return err
		}
		if b.waitFor > 0 && len(there) >= b.waitFor {
			return nil
		}
	}
	switch {
	case ctx.Err() != nil && b.waitFor == 0:
		return nil
	case b.waitFor > 0:
		return fmt.Errorf("%s: %d of %d instances found", service, len(there), b.waitFor)
	case seen == 0:
		return fmt.Errorf("%s: %w", service, dnssd.ErrNotFound)
	}
	return nil
}

func (b browsing) print(out *printer, ev dnssd.Event) error {
	i, text := ev.Instance, ""
	switch ev.Op {
	case dnssd.Add:
		text = instanceLine("+", i)
	case dnssd.Remove:
		text = instanceLine("-", i)
	}
	if b.resolve && ev.Op != dnssd.Remove && i.Host != "" {
		if text != "" {
			text += "\n"
		}
		text += instanceBlock(i)
	}
	return out.event(ev.Op.String(), text, append(instanceFields(i), "reason", ev.Reason.String())...)
}
