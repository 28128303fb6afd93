package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
)

func dnssdDomainsCommand() *cli.Command {
	return &cli.Command{
		Name:  "domains",
		Usage: "list the domains in which to look for services",
		Description: "Prints what this link, the system's search domains and the DNS of this machine's subnets recommend\n" +
			"(RFC 6763 section 11), one domain a line. KIND is b (to browse), db (to browse first), r (to\n" +
			"register in), dr (to register in first) or lb (to browse without being told to).\n\n" +
			"Runs until interrupted, --terminate or --timeout. Exit status: 0, or 1 when there is none." +
			examples(`aether dnssd domains --terminate`, `aether dnssd domains --kind r --domain example.com -t`),
		Flags: domainFlags(
			waitFlag("end after `TIME` (0: never)", 0),
			&cli.StringFlag{Name: "kind", Aliases: []string{"k"}, Usage: "which domains: `KIND` is b, db, r, dr or lb", Value: "b"},
			&cli.BoolFlag{Name: "terminate", Aliases: []string{"t"}, Usage: "end when no more come, after about three seconds"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			z, err := dnssdOf(c)
			if err != nil {
				return err
			}
			kind, err := dnssd.ParseDomainKind(c.String("kind"))
			if err != nil {
				return usage("%w", err)
			}
			return dnssdDomains(c.Context, kind, c.Bool("terminate"), z)
		},
	}
}

// domainsQuiet is longer than browseFirst: DNS servers are slower than a link.
const domainsQuiet = 3 * time.Second

func dnssdDomains(ctx context.Context, kind dnssd.DomainKind, terminate bool, z zeroconf) error {
	within, cancel := z.within(ctx)
	defer cancel()
	quiet := time.AfterFunc(domainsQuiet, func() {
		if terminate {
			cancel()
		}
	})
	defer quiet.Stop()
	seen := 0
	for ev, err := range dnssd.Domains(within, kind, z.dnssd()) {
		if err != nil {
			return err
		}
		quiet.Reset(domainsQuiet)
		text := ""
		if ev.Op == dnssd.Add {
			seen++
			text = printable(ev.Domain)
		}
		err := z.out.event(ev.Op.String(), text, "domain", wireText(ev.Domain), "kind", ev.Kind.String(),
			"source", wireText(ev.Source), "interface", ev.Interface, "reason", ev.Reason.String())
		if err != nil {
			return err
		}
	}
	if seen == 0 && ctx.Err() == nil {
		return fmt.Errorf("domains: %w", dnssd.ErrNotFound)
	}
	return nil
}
