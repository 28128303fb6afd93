package main

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/mdns"
)

func mdnsMonitorCommand() *cli.Command {
	return &cli.Command{
		Name:  "monitor",
		Usage: "print every record that is heard, asking nothing",
		Description: "Runs until interrupted or --timeout. A record that is withdrawn has the TTL 0.\n" +
			"Exit status: 0." +
			examples(`aether mdns monitor -i eth0 --json`, `aether mdns monitor --name printer --type SRV,TXT`),
		Flags: zeroconfFlags(waitFlag("end after `TIME` (0: never)", 0),
			&cli.StringFlag{Name: "name", Usage: "only records whose name matches `REGEX`"},
			&cli.StringFlag{Name: "type", Usage: "only records of `TYPE[,TYPE...]`"},
			&cli.StringFlag{Name: "from", Usage: "only what `ADDR[/BITS]` says"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			only, err := recordFilterOf(c)
			if err != nil {
				return usage("%w", err)
			}
			return mdnsMonitor(c.Context, only, z)
		},
	}
}

// recordFilter says which records monitor shows: those that pass all of it.
type recordFilter struct {
	name  *regexp.Regexp // nil passes all
	types []uint16       // none passes all
	from  netip.Prefix   // the zero value passes all
}

func recordFilterOf(c *cli.Context) (f recordFilter, err error) {
	if s := c.String("name"); s != "" {
		if f.name, err = regexp.Compile("(?i)" + s); err != nil {
			return f, err
		}
	}
	if s := c.String("type"); s != "" {
		if f.types, err = recordTypes(s); err != nil {
			return f, err
		}
	}
	switch s := c.String("from"); {
	case strings.Contains(s, "/"):
		f.from, err = netip.ParsePrefix(s)
	case s != "":
		var a netip.Addr
		if a, err = netip.ParseAddr(s); err == nil {
			f.from = netip.PrefixFrom(a.WithZone(""), a.BitLen())
		}
	}
	return f, err
}

// recordTypes reads a list such as "SRV,TXT".
func recordTypes(list string) (types []uint16, err error) {
	for s := range strings.SplitSeq(list, ",") {
		t, ok := dns.StringToType[strings.ToUpper(s)]
		if !ok {
			return nil, fmt.Errorf("unknown record type %q", s)
		}
		types = append(types, t)
	}
	return types, nil
}

func (f recordFilter) passes(h mdns.Heard) bool {
	return (f.name == nil || f.name.MatchString(plainName(h.Record.Name))) &&
		(len(f.types) == 0 || slices.Contains(f.types, h.Record.Type)) &&
		(!f.from.IsValid() || f.from.Contains(h.From.Addr().Unmap().WithZone("")))
}

func mdnsMonitor(ctx context.Context, only recordFilter, z zeroconf) error {
	ctx, cancel := z.within(ctx)
	defer cancel()
	n, err := mdns.Open(ctx, z.mdns())
	if err != nil {
		return err
	}
	defer n.Close()
	for h, err := range n.Monitor(ctx) {
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		if !only.passes(h) {
			continue
		}
		if err := printRecord(z.out, h.Record, h.Interface, h.From.Addr()); err != nil {
			return err
		}
	}
	return nil
}
