package main

import (
	"net/netip"

	"github.com/miekg/dns"
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
	"github.com/aether-lan/aether/mdns"
)

func dnssdCommand() *cli.Command {
	return &cli.Command{
		Name:  "dnssd",
		Usage: "services on a network without a server (RFC 6763)",
		Subcommands: []*cli.Command{
			dnssdBrowseCommand(), dnssdResolveCommand(), dnssdRegisterCommand(), dnssdTypesCommand(), dnssdDomainsCommand(),
		},
	}
}

// domainFlags are the flags of the commands that can ask DNS servers too.
func domainFlags(more ...cli.Flag) []cli.Flag {
	return zeroconfFlags(append(more,
		&cli.StringFlag{Name: "domain", Aliases: []string{"d"}, Usage: "look in `DOMAIN`, at DNS servers unless it is local"},
		&cli.StringFlag{Name: "server", Usage: "ask the DNS server `ADDR[:PORT]` (default: those of the system)"},
	)...)
}

// dnssdOf reads domainFlags and those below them.
func dnssdOf(c *cli.Context) (z zeroconf, err error) {
	if z, err = zeroconfOf(c); err != nil {
		return z, err
	}
	z.domain = c.String("domain")
	s := c.String("server")
	if s == "" {
		return z, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		z.server = netip.AddrPortFrom(a, 53)
	} else if z.server, err = netip.ParseAddrPort(s); err != nil {
		return z, usage("--server takes an address, with or without a port, not %q", s)
	}
	return z, nil
}

func (z zeroconf) dnssd() dnssd.Config {
	return dnssd.Config{
		Interfaces: z.interfaces, IPv4: z.ipv4, IPv6: z.ipv6, Logger: z.log, Explain: z.explain,
		Domain: z.domain, Server: z.server, StateFile: z.state,
	}
}

// isLocal reports whether multicast DNS is asked.
func (z zeroconf) isLocal() bool { return z.domain == "" || mdns.IsLocal(dns.Fqdn(z.domain)) }
