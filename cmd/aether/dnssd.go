package main

import (
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
)

func dnssdCommand() *cli.Command {
	return &cli.Command{
		Name:  "dnssd",
		Usage: "services on a network without a server (RFC 6763)",
		Subcommands: []*cli.Command{
			dnssdBrowseCommand(), dnssdResolveCommand(), dnssdRegisterCommand(), dnssdTypesCommand(),
		},
	}
}

func (z zeroconf) dnssd() dnssd.Config {
	return dnssd.Config{Interfaces: z.interfaces, IPv4: z.ipv4, IPv6: z.ipv6, Logger: z.log, Explain: z.explain}
}
