package main

import (
	"context"
	"net/netip"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/linklocal"
)

func linklocalClaimCommand() *cli.Command {
	return &cli.Command{
		Name:  "claim",
		Usage: "give an interface an address in 169.254/16 and defend it until interrupted",
		Description: "Tests an address for 4 to 7 seconds, announces it, puts it on the interface, answers for it and defends\n" +
			"it; takes it off again at the end. Starts anew when the link comes back, and steps aside while the\n" +
			"interface has a routable address.\n" +
			"The hook is run with EVENT INTERFACE ADDRESS; EVENT is BIND, CONFLICT, UNBIND, DEPRECATE or STOP.\n" +
			"Needs CAP_NET_RAW, and CAP_NET_ADMIN unless --no-configure is given.\n" +
			"Exit status: 0 after an interrupt, 1 when the interface is missing or unusable, 3 without the rights." +
			examples("aether linklocal claim -i eth0 --json"),
		Flags: []cli.Flag{
			linklocalInterfaceFlag(),
			linklocalStateFlag(),
			&cli.StringFlag{Name: "hook", Usage: "run `PROGRAM` when something happens"},
			&cli.StringFlag{Name: "address", Usage: "try `ADDR` first (default: the remembered one)"},
			&cli.StringFlag{Name: "policy", Value: "defend-once", Usage: "on a conflict: `POLICY` give-up, defend-once or never-give-up"},
			&cli.BoolFlag{Name: "no-configure", Usage: "do not touch the interface; only claim and defend"},
			&cli.BoolFlag{Name: "default-route", Usage: "send traffic without a better route out of the interface"},
			&cli.BoolFlag{Name: "broadcast-only", Usage: "keep the kernel from answering ARP by unicast while the address is the only one"},
			&cli.BoolFlag{Name: "always", Usage: "claim even beside a routable address"},
			&cli.DurationFlag{Name: "linger", Value: linklocal.DefaultLinger, Usage: "keep the address for `TIME` after a routable one appeared (0: not at all)"},
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			cfg, err := linklocalClaimConfig(c)
			if err != nil {
				return err
			}
			return linklocalClaim(c.Context, cfg, out)
		},
	}
}

// linklocalClaimConfig reads the flags. Bad values are usage errors.
func linklocalClaimConfig(c *cli.Context) (linklocal.Config, error) {
	cfg := linklocal.Config{
		StateDir: c.String("state"), Hook: c.String("hook"), NoConfigure: c.Bool("no-configure"),
		DefaultRoute: c.Bool("default-route"), BroadcastOnly: c.Bool("broadcast-only"), Always: c.Bool("always"),
		Linger: c.Duration("linger"), Logger: newLogger(c),
	}
	if cfg.Linger <= 0 {
		cfg.Linger = -1
	}
	var err error
	if s := c.String("address"); s != "" {
		if cfg.Address, err = netip.ParseAddr(s); err != nil || !linklocal.Selectable(cfg.Address) {
			return cfg, usage("%q is not an address from 169.254.1.0 to 169.254.254.255", s)
		}
	}
	if cfg.Policy, err = linklocal.ParsePolicy(c.String("policy")); err != nil {
		return cfg, usage("%w", err)
	}
	cfg.Interface, err = linklocalInterface(c.String("interface"), netip.Addr{})
	return cfg, err
}

// linklocalClaim claims until ctx ends, which is success.
func linklocalClaim(ctx context.Context, cfg linklocal.Config, out *printer) error {
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cfg.Event = func(e linklocal.Event) {
		if err := linklocalEvent(out, cfg.Interface, e); err != nil {
			cancel(err) // nobody reads us any more
		}
	}
	err := linklocal.Claim(work, cfg)
	if ctx.Err() != nil {
		return nil
	}
	return linklocalStatus(err)
}
