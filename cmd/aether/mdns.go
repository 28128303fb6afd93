package main

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/mdns"
)

func mdnsCommand() *cli.Command {
	return &cli.Command{
		Name:  "mdns",
		Usage: "names on a network without a DNS server (RFC 6762)",
		Subcommands: []*cli.Command{
			mdnsClaimCommand(), mdnsResolveCommand(), mdnsQueryCommand(), mdnsMonitorCommand(), mdnsConformCommand(), mdnsDoctorCommand(),
		},
	}
}

// zeroconfFlags are the flags of every command that takes part in multicast DNS.
func zeroconfFlags(more ...cli.Flag) []cli.Flag {
	return append(more,
		interfaceFlag("use `IF` only (repeatable; default: all that can multicast)"),
		&cli.BoolFlag{Name: "4", Usage: "IPv4 only"},
		&cli.BoolFlag{Name: "6", Usage: "IPv6 only"},
		&cli.BoolFlag{Name: "explain", Usage: "say on standard error why each packet is sent, delayed, suppressed or dropped"},
	)
}

func waitFlag(usage string, value time.Duration) cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Usage: usage, Value: value}
}

// zeroconf is what zeroconfFlags and the common flags say.
type zeroconf struct {
	interfaces []string
	ipv4, ipv6 bool
	log        *slog.Logger
	out        *printer
	errw       io.Writer
	timeout    time.Duration // 0 is without end
	explain    func(mdns.Note)
	domain     string         // of dnssd; "" is the default of the command
	server     netip.AddrPort // of dnssd, for other domains than local
}

func zeroconfOf(c *cli.Context) (z zeroconf, err error) {
	z = zeroconf{
		interfaces: c.StringSlice("interface"), ipv4: c.Bool("4"), ipv6: c.Bool("6"),
		log: newLogger(c), errw: c.App.ErrWriter, timeout: c.Duration("timeout"),
	}
	if z.ipv4 && z.ipv6 {
		z.ipv4, z.ipv6 = false, false // both is the same as neither
	}
	if z.timeout < 0 {
		return z, usage("--timeout must not be negative")
	}
	if z.out, err = newPrinter(c); err != nil {
		return z, err
	}
	if c.Bool("explain") {
		z.explain = explainTo(&printer{out: z.errw, json: z.out.json})
	}
	return z, nil
}

func (z zeroconf) mdns() mdns.Config {
	return mdns.Config{Interfaces: z.interfaces, IPv4: z.ipv4, IPv6: z.ipv6, Logger: z.log, Explain: z.explain}
}

// within bounds ctx by --timeout.
func (z zeroconf) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if z.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, z.timeout)
}

// wantArgs checks the number of arguments; most < 0 is any number.
func wantArgs(c *cli.Context, least, most int) error {
	if n := c.NArg(); n < least || most >= 0 && n > most {
		if c.Command.ArgsUsage == "" {
			return usage("want no arguments, got %q", c.Args().First())
		}
		return usage("want %s", c.Command.ArgsUsage)
	}
	return nil
}
