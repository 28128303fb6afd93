package main

import (
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/igmp"
)

func igmpQueryCommand() *cli.Command {
	return &cli.Command{
		Name:      "query",
		Usage:     "ask once who listens, and list the answers",
		ArgsUsage: "[GROUP]",
		Description: "Asks for all groups, or for GROUP, or for sources of it. IGMP is asked from 0.0.0.0, which wins no election, so that\n" +
			"the querier of the link keeps its office; --from own takes the interface's address, as MLD always must. Queries of\n" +
			"version 3 tell routers not to lower their timers. Hosts of version 1 and 2 keep silent when another has answered for\n" +
			"a group; this machine's own kernel does not hear the question. Needs CAP_NET_RAW.\n" +
			"Exit status: 0 when somebody answered, 1 when nobody did." +
			examples("aether igmp query -i eth0", "aether igmp query 239.1.2.3 --json", "aether igmp query 232.1.2.3 --source 192.0.2.7 --max-response 500ms"),
		Flags: append(igmpFamilyFlags(),
			interfaceFlag("ask on `IF` (default: the one that can multicast)"),
			&cli.IntFlag{Name: "version", Usage: "ask in IGMP `VERSION` 1, 2 or 3 (MLDv1 is 2, MLDv2 is 3)", Value: 3},
			&cli.StringSliceFlag{Name: "source", Aliases: []string{"s"}, Usage: "ask for `ADDR` as a source of GROUP (repeatable)"},
			&cli.DurationFlag{Name: "max-response", Usage: "have hosts answer within `TIME`", Value: time.Second},
			&cli.StringFlag{Name: "from", Usage: "ask from `ADDR`; own is the interface's address"},
			waitFlag("listen for `TIME` (default: a second more than --max-response)", 0)),
		Action: igmpQuery,
	}
}

func igmpQuery(c *cli.Context) error {
	if err := wantArgs(c, 0, 1); err != nil {
		return err
	}
	out, err := newPrinter(c)
	if err != nil {
		return err
	}
	q, family, err := igmpQueryOf(c)
	if err != nil {
		return err
	}
	dst := family.AllSystems()
	if q.Group.IsValid() {
		dst = q.Group
	}
	x := &igmpExchange{out: out, family: family, wait: c.Duration("timeout"), packets: []igmp.Packet{igmp.NewPacket(netip.Addr{}, dst, q)}}
	if x.wait == 0 {
		if x.wait = q.MaxResponse + time.Second; q.Version == igmp.V1 {
			x.wait = 11 * time.Second // version 1 has 10 s (RFC 1112 appendix I)
		}
	}
	if x.from, err = fromAddress(c, family); err != nil {
		return err
	}
	if family == igmp.IPv4 && c.String("from") == "" {
		x.from = netip.IPv4Unspecified()
	}
	ifi, err := igmpInterface(c)
	if err != nil {
		return err
	}
	x.ifi = ifi.Name
	x.wanted = func(e igmp.MonitorEvent) bool {
		return e.Kind == igmp.HeardReport && (!q.Group.IsValid() || e.Group == q.Group) && igmp.FamilyOf(e.Group) == family
	}
	n, err := x.run(c.Context)
	if err == nil && n == 0 {
		return failed()
	}
	return err
}

// igmpQueryOf reads the question.
func igmpQueryOf(c *cli.Context) (q *igmp.Query, family igmp.Family, err error) {
	q, family = &igmp.Query{MaxResponse: c.Duration("max-response")}, igmp.IPv4
	if c.Bool("6") {
		family = igmp.IPv6
	}
	if c.NArg() == 1 {
		if q.Group, err = igmpGroup(c.Args().First()); err != nil {
			return nil, 0, err
		}
		if family = igmp.FamilyOf(q.Group); c.Bool("6") && family == igmp.IPv4 || c.Bool("4") && !c.Bool("6") && family == igmp.IPv6 {
			return nil, 0, usage("%v is of the other family", q.Group)
		}
		if q.Sources, err = igmpSources(c, q.Group); err != nil {
			return nil, 0, err
		}
	} else if c.IsSet("source") {
		return nil, 0, usage("--source needs a GROUP")
	}
	v := c.Int("version")
	switch q.Version = igmp.Version(min(max(v, 0), 4)); {
	case v < 1 || v > 3 || v == 1 && family == igmp.IPv6:
		return nil, 0, usage("there is no version %d; MLDv1 is 2, MLDv2 is 3", v)
	case v == 1 && q.Group.IsValid():
		return nil, 0, usage("version 1 cannot ask for one group")
	case v < 3 && len(q.Sources) > 0:
		return nil, 0, usage("version %d cannot ask for sources", v)
	case q.MaxResponse < 100*time.Millisecond || q.MaxResponse > time.Minute:
		return nil, 0, usage("--max-response must be from 100ms to 1m")
	case c.Duration("timeout") < 0:
		return nil, 0, usage("--timeout must not be negative")
	}
	if q.Version == igmp.V3 {
		q.Robustness, q.Interval, q.Suppress = igmp.DefaultRobustness, igmp.DefaultQueryInterval, true
	}
	if q.Version == igmp.V1 {
		q.MaxResponse = 0
	}
	return q, family, nil
}
