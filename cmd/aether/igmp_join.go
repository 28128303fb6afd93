package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/multicast"
)

func igmpJoinCommand() *cli.Command {
	return &cli.Command{
		Name:      "join",
		Usage:     "be a member of groups until interrupted",
		ArgsUsage: "GROUP...",
		Description: "The kernel joins, reports and leaves, as for any program; it needs no rights. With --version or --raw aether\n" +
			"speaks the protocol itself, in that version at most, and prints what it sends: routers and switches see a\n" +
			"member, though no socket of this machine receives anything. That needs CAP_NET_RAW.\n" +
			"Exit status: 0 after the groups were left; 1 when one could not be joined." +
			examples("aether igmp join 239.1.2.3 -i eth0", "aether igmp join 232.1.2.3 --source 192.0.2.7 -i eth0", "aether igmp join 239.1.2.3 --version 2 --timeout 10m --json"),
		Flags: []cli.Flag{
			interfaceFlag("join on `IF` (default: the one that can multicast)"),
			&cli.StringSliceFlag{Name: "source", Aliases: []string{"s"}, Usage: "only what `ADDR` sends (repeatable)"},
			&cli.IntFlag{Name: "version", Usage: "speak IGMP `VERSION` 1, 2 or 3 (MLDv1 is 2, MLDv2 is 3)"},
			&cli.BoolFlag{Name: "raw", Usage: "speak the protocol without the kernel"},
			waitFlag("leave after `TIME` (0: when interrupted)", 0),
		},
		Action: func(c *cli.Context) error {
			j, err := igmpJoiningOf(c)
			if err != nil {
				return err
			}
			ctx := c.Context
			if t := c.Duration("timeout"); t > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, t)
				defer cancel()
			}
			if j.raw {
				return j.speak(ctx)
			}
			return j.kernel(ctx)
		},
	}
}

// igmpJoining is what to join and how.
type igmpJoining struct {
	out     *printer
	ifi     netif.Interface
	groups  []netip.Addr
	sources []netip.Addr
	version igmp.Version // 0 where it does not matter
	raw     bool
}

func igmpJoiningOf(c *cli.Context) (j *igmpJoining, err error) {
	j = &igmpJoining{raw: c.Bool("raw") || c.IsSet("version")}
	if err := wantArgs(c, 1, -1); err != nil {
		return nil, err
	}
	if j.out, err = newPrinter(c); err != nil {
		return nil, err
	}
	if c.Duration("timeout") < 0 {
		return nil, usage("--timeout must not be negative")
	}
	for _, s := range c.Args().Slice() {
		g, err := igmpGroup(s)
		if err != nil {
			return nil, err
		}
		j.groups = append(j.groups, g)
		if multicast.Flooded(g) && multicast.ScopeOf(g) != multicast.ScopeLinkLocal {
			fmt.Fprintf(c.App.ErrWriter, "%s%v has the Ethernet address of a group 224.0.0.x: switches flood it\n", programPrefix, g)
		}
	}
	if j.sources, err = igmpSources(c, j.groups[0]); err != nil {
		return nil, err
	}
	if j.version, err = igmpVersion(c, j.groups[0].Is6()); err != nil {
		return nil, err
	}
	for _, g := range j.groups {
		switch {
		case g.Is6() != j.groups[0].Is6():
			return nil, usage("%v and %v are of different families", j.groups[0], g)
		case multicast.SourceSpecific(g) && len(j.sources) == 0:
			return nil, usage("%v needs a --source (RFC 4607)", g)
		}
	}
	if len(j.sources) > 0 && j.version != 0 && j.version < igmp.V3 {
		return nil, usage("version %d cannot choose sources", j.version)
	}
	j.ifi, err = igmpInterface(c)
	return j, err
}

// igmpSources reads --source, of group's family.
func igmpSources(c *cli.Context, group netip.Addr) (list []netip.Addr, err error) {
	for _, s := range c.StringSlice("source") {
		a, err := netip.ParseAddr(s)
		switch {
		case err != nil:
			return nil, usage("%q is not an address", s)
		case a.Unmap().Is4() != group.Is4():
			return nil, usage("source %v and group %v are of different families", a, group)
		case a.IsMulticast() || a.IsUnspecified():
			return nil, usage("%v is not the address of a sender", a)
		}
		list = append(list, a.Unmap().WithZone(""))
	}
	return list, nil
}

// igmpVersion reads --version: 0 when it is not given.
func igmpVersion(c *cli.Context, six bool) (igmp.Version, error) {
	v := c.Int("version")
	if !c.IsSet("version") {
		return 0, nil
	}
	if v < 1 || v > 3 || six && v == 1 {
		return 0, usage("there is no version %d; MLDv1 is 2, MLDv2 is 3", v)
	}
	return igmp.Version(v), nil
}

// tell prints joined or left for all channels.
func (j *igmpJoining) tell(event, method string, version igmp.Version) error {
	for _, g := range j.groups {
		sources := j.sources
		if len(sources) == 0 {
			sources = []netip.Addr{{}}
		}
		for _, s := range sources {
			what := g.String()
			if s.IsValid() {
				what = fmt.Sprintf("(%v,%v)", s, g)
			}
			kv := []any{"group", g.String(), "source", addressText(s), "interface", j.ifi.Name, "method", method}
			if version != 0 {
				kv = append(kv, "version", version)
			}
			if err := j.out.event(event, fmt.Sprintf("%s %s on %s", event, what, j.ifi.Name), kv...); err != nil {
				return err
			}
		}
	}
	return nil
}

// kernel holds a socket for each channel.
func (j *igmpJoining) kernel(ctx context.Context) (err error) {
	var conns []*multicast.Conn
	leave := func() {
		for _, c := range conns {
			err = errors.Join(err, c.Close())
		}
		conns = nil
	}
	defer leave()
	for _, g := range j.groups {
		sources := j.sources
		if len(sources) == 0 {
			sources = []netip.Addr{{}}
		}
		for _, s := range sources {
			// Nobody reads what arrives; a short queue is soon full.
			c, err := multicast.Listen(ctx, multicast.Config{Interface: j.ifi.Name, Group: netip.AddrPortFrom(g, 0), Source: s, Queue: 1})
			if err != nil {
				return err
			}
			conns = append(conns, c)
		}
	}
	if err := j.tell("joined", "kernel", 0); err != nil {
		return err
	}
	<-ctx.Done()
	leave()
	return errors.Join(err, j.tell("left", "kernel", 0))
}

// speak has an engine of our own report.
func (j *igmpJoining) speak(ctx context.Context) error {
	cfg := igmp.JoinConfig{Interface: j.ifi.Name, Host: igmp.HostConfig{Version: j.version}}
	for _, g := range j.groups {
		f := igmp.InterfaceFilter{Group: g, Mode: igmp.Exclude}
		if len(j.sources) > 0 {
			f.Mode, f.Sources = igmp.Include, j.sources
		}
		cfg.Filters = append(cfg.Filters, f)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	told := false
	cfg.Run.Sent = func(p igmp.Packet) {
		if !told {
			told = true
			if err := j.tell("joined", "raw", max(j.version, 0)); err != nil {
				cancel(err)
			}
		}
		if err := printIgmpSent(j.out, j.ifi.Name, p); err != nil {
			cancel(err)
		}
	}
	cfg.Run.Event = func(e igmp.HostEvent) {
		err := j.out.event(e.Kind.String(), e.String(), "group", addressText(e.Group), "from", addressText(e.From), "version", e.Version, "interface", j.ifi.Name)
		if err != nil {
			cancel(err)
		}
	}
	err := igmp.Join(ctx, cfg)
	if ctx.Err() == nil {
		return err
	}
	return errors.Join(j.out.failure(), j.tell("left", "raw", j.version))
}

// printIgmpSent prints a packet of ours.
func printIgmpSent(out *printer, ifi string, p igmp.Packet) error {
	version := igmp.Version(0)
	switch m := p.Message.(type) {
	case *igmp.Query:
		version = m.Version
	case *igmp.Report:
		version = m.Version
	case *igmp.Leave:
		version = igmp.V2
	}
	return out.event("sent", fmt.Sprintf("sent %v on %s", p, ifi), "message", p.Message.Kind(), "version", version,
		"groups", addressTexts(p.Groups()), "src", addressText(p.Src), "dst", addressText(p.Dst), "interface", ifi)
}

func igmpLeaveCommand() *cli.Command {
	return &cli.Command{
		Name:      "leave",
		Usage:     "tell the link that this machine leaves a group, and show who asks after it",
		ArgsUsage: "GROUP",
		Description: "Sends a leave (version 2) or a record to_in without sources (version 3), as a host does, and prints what\n" +
			"follows within --timeout: the querier's group-specific query, and the reports of those who stay. The memberships of\n" +
			"other programs here are theirs: only they can end them (aether igmp join ends its own when interrupted), and the\n" +
			"kernel reports them when the querier asks; a warning says so. Needs CAP_NET_RAW.\n" +
			"Exit status: 0 when it was sent." +
			examples("aether igmp leave 239.1.2.3 -i eth0", "aether igmp leave 239.1.2.3 --version 2 --json"),
		Flags: []cli.Flag{
			interfaceFlag("send on `IF` (default: the one that can multicast)"),
			&cli.IntFlag{Name: "version", Usage: "send IGMP `VERSION` 2 or 3 (MLDv1 is 2, MLDv2 is 3)", Value: 3},
			&cli.StringFlag{Name: "from", Usage: "send from `ADDR` (default: the interface's address)"},
			waitFlag("listen for `TIME`", 2*time.Second),
		},
		Action: igmpLeave,
	}
}

func igmpLeave(c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	group, err := igmpGroup(c.Args().First())
	if err != nil {
		return err
	}
	out, err := newPrinter(c)
	if err != nil {
		return err
	}
	version := igmp.Version(c.Int("version"))
	if version != igmp.V2 && version != igmp.V3 {
		return usage("version %d has no leave; take 2 or 3", c.Int("version"))
	}
	ifi, err := igmpInterface(c)
	if err != nil {
		return err
	}
	if kernelJoined(ifi, group) {
		fmt.Fprintf(c.App.ErrWriter, "%sa program here has joined %v on %s: the kernel will report it when asked, until that program ends\n", programPrefix, group, ifi.Name)
	}
	family := igmp.FamilyOf(group)
	p := igmp.NewPacket(netip.Addr{}, family.AllRouters(), &igmp.Leave{Group: group})
	if version == igmp.V3 {
		p = igmp.NewPacket(netip.Addr{}, family.AllReports(), &igmp.Report{Version: igmp.V3, Records: []igmp.Record{{Type: igmp.ChangeToInclude, Group: group}}})
	}
	x := &igmpExchange{out: out, ifi: ifi.Name, family: family, wait: c.Duration("timeout"), packets: []igmp.Packet{p}}
	if x.from, err = fromAddress(c, family); err != nil {
		return err
	}
	x.wanted = func(e igmp.MonitorEvent) bool { return e.Group == group }
	_, err = x.run(c.Context)
	return err
}

// fromAddress reads --from: invalid for the interface's own.
func fromAddress(c *cli.Context, family igmp.Family) (netip.Addr, error) {
	s := c.String("from")
	if s == "" || s == "own" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || igmp.FamilyOf(a.Unmap()) != family {
		return a, usage("--from: %q is not an address of %v", s, family)
	}
	return a.Unmap().WithZone(""), nil
}

// igmpExchange sends packets and prints what is heard for a while.
type igmpExchange struct {
	out     *printer
	ifi     string
	family  igmp.Family
	from    netip.Addr // invalid: the interface's own
	wait    time.Duration
	packets []igmp.Packet
	wanted  func(igmp.MonitorEvent) bool
}

// run returns how many events of others were heard that are wanted.
func (x *igmpExchange) run(ctx context.Context) (heard int, err error) {
	ctx, cancel := context.WithTimeout(ctx, x.wait)
	defer cancel()
	conn, err := igmp.Open(ctx, x.ifi, x.family)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if !x.from.IsValid() {
		if x.from = conn.Addr(x.family); !x.from.IsValid() && x.family == igmp.IPv6 {
			return 0, fmt.Errorf("%s has no link-local address to send from", x.ifi)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		heard, err = x.listen(ctx, conn)
		return err
	})
	for _, p := range x.packets {
		p.Src = x.from
		if err := errors.Join(conn.WritePacket(p), printIgmpSent(x.out, x.ifi, p)); err != nil {
			cancel()
			return 0, errors.Join(err, g.Wait())
		}
	}
	return heard, g.Wait()
}

func (x *igmpExchange) listen(ctx context.Context, conn *igmp.Conn) (heard int, err error) {
	m := igmp.NewMonitor(time.Now(), igmp.MonitorConfig{})
	for {
		f, err := conn.ReadFrame()
		if ctx.Err() != nil {
			return heard, nil //nolint:nilerr // the time is over
		}
		if err != nil {
			return heard, err
		}
		if f.Err != nil {
			continue
		}
		m.HandleFrame(time.Now(), igmp.EthernetFrame(f.Source, f.Bytes))
		for _, e := range m.Events() {
			if e.Kind == igmp.Joined || e.Kind == igmp.Expired || !x.wanted(e) {
				continue
			}
			heard++
			if err := printMonitored(x.out, x.ifi, e); err != nil {
				return heard, err
			}
		}
	}
}
