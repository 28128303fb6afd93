package main

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/multicast"
)

func mcastMACCommand() *cli.Command {
	return &cli.Command{
		Name:      "mac",
		Usage:     "print the Ethernet address of a group and what shares it",
		ArgsUsage: "GROUP...",
		Description: "Tells each group's Ethernet address and scope, the 32 IPv4 groups that network cards and\n" +
			"switches keyed by hardware address cannot tell apart from it, and whether it must be joined with\n" +
			"a source. A group that shares its address with 224.0.0.x is flooded to every port (RFC 4541\n" +
			"section 2.1.2), or held back by some switches: it is warned about. A group that is safe is named\n" +
			"beside it, the one that every program picks by that name. With --pick the arguments are names.\n" +
			"Exit status: 0." +
			examples(`aether mcast mac 239.1.2.3`, `aether mcast mac 239.128.0.1 ff02::fb --json`, `aether mcast mac --pick "my application"`),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "pick", Usage: "take the arguments for names, and pick a group for each"},
			&cli.BoolFlag{Name: "4", Usage: "with --pick: an IPv4 group only"},
			&cli.BoolFlag{Name: "6", Usage: "with --pick: an IPv6 group only"},
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			groups, err := groupsToTell(c)
			if err != nil {
				return err
			}
			return mcastMAC(groups, out)
		},
	}
}

// told is a group to tell about, and the name under which a safe one is picked.
type told struct {
	group netip.Addr
	name  string
}

func groupsToTell(c *cli.Context) (groups []told, err error) {
	for _, word := range c.Args().Slice() {
		if c.Bool("pick") {
			if c.Bool("4") || !c.Bool("6") {
				groups = append(groups, told{multicast.Pick(word, multicast.IPv4), word})
			}
			if c.Bool("6") || !c.Bool("4") {
				groups = append(groups, told{multicast.Pick(word, multicast.IPv6), word})
			}
			continue
		}
		a, err := netip.ParseAddr(word)
		if err != nil || !a.Unmap().IsMulticast() {
			return nil, usage("%q is not a group: want an address of 224.0.0.0/4 or ff00::/8", word)
		}
		groups = append(groups, told{a.Unmap().WithZone(""), word})
	}
	return groups, nil
}

func mcastMAC(groups []told, out *printer) error {
	for i, t := range groups {
		g := t.group
		hw, err := multicast.EthernetAddr(g)
		if err != nil {
			return err
		}
		aliases, bad := multicast.Aliases(g), multicast.Flooded(g)
		safe := multicast.Pick(t.name, multicast.FamilyOf(g))
		err = out.event("group", groupText(g, hw, aliases, safe, i),
			"group", g, "hardware_addr", hw.String(), "scope", multicast.ScopeOf(g).String(),
			"aliases", append([]netip.Addr{}, aliases...), "flooded", bad,
			"source_specific", multicast.SourceSpecific(g), "safe", safe)
		if err != nil {
			return err
		}
	}
	return nil
}

// groupText is what a person reads about one group.
func groupText(g netip.Addr, hw multicast.HardwareAddr, aliases []netip.Addr, safe netip.Addr, i int) string {
	var b strings.Builder
	if i > 0 {
		b.WriteByte('\n')
	}
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s"+format+"\n", append([]any{key}, args...)...)
	}
	line("group", "%v", g)
	line("address", "%v", hw)
	line("scope", "%v", multicast.ScopeOf(g))
	if multicast.SourceSpecific(g) {
		line("source", "must be named: SOURCE,%v (RFC 4607)", g)
	}
	if aliases == nil {
		line("aliases", "every IPv6 group that ends in the same 32 bits")
	}
	for row := range slices.Chunk(aliases, 4) {
		key := ""
		if row[0] == aliases[0] {
			key = "aliases"
		}
		fmt.Fprintf(&b, "%-10s", key)
		for _, a := range row {
			fmt.Fprintf(&b, "%-16v", a)
		}
		b.WriteByte('\n')
	}
	switch last := g.As16()[15]; {
	case multicast.Flooded(g) && multicast.ScopeOf(g) == multicast.ScopeLinkLocal:
		line("warning", "switches send 224.0.0.x to every port, members or not (RFC 4541 section 2.1.2)")
	case multicast.Flooded(g):
		line("warning", "shares its address with 224.0.0.%d: switches flood it to every port, or hold it back", last)
	}
	line("safe", "%v", safe)
	return trimLines(b.String())
}

// trimLines takes the blanks off the ends of s's lines.
func trimLines(s string) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
