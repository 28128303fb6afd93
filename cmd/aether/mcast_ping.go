package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/multicast"
	"github.com/aether-lan/aether/multicast/probe"
)

// pingName is what the default group of mcast ping is picked by.
const pingName = "aether mcast ping"

func mcastPingCommand() *cli.Command {
	return &cli.Command{
		Name:      "ping",
		Usage:     "measure unicast beside multicast to the hosts that run it too",
		ArgsUsage: "[HOST...]",
		Description: "Run it on two or more hosts, or with --serve on all but one. They find each other by multicast;\n" +
			"a HOST named is asked by unicast too, so that it is found when multicast is broken. Every\n" +
			"question takes three paths: \"unicast\" both ways, \"multicast\" where the answer comes by multicast,\n" +
			"and \"outward\" where the question goes by multicast. Loss of the first question (seq 1) is\n" +
			"shown and not judged, as switches may still be learning.\n" +
			"Exit status: 0 multicast is as good as unicast; 1 it is broken, or loses more than --max-loss\n" +
			"and more than unicast does beyond chance; 4 nobody answered, or a HOST named did not." +
			examples(`aether mcast ping -i eth0`, `aether mcast ping --serve`, `aether mcast ping -c 600 -f 1000 -q 192.0.2.7 192.0.2.8`),
		Flags: mcastFlags(
			&cli.StringFlag{Name: "group", Aliases: []string{"g", "m"}, Usage: "meet in `GROUP` (default: one that is picked by a name, the same everywhere)"},
			&cli.IntFlag{Name: "port", Aliases: []string{"p"}, Value: 4321, Usage: "UDP `PORT` of the group and of the hosts"},
			&cli.Uint64Flag{Name: "count", Aliases: []string{"c"}, Value: 10, Usage: "ask `N` times (0: until interrupted)"},
			&cli.StringFlag{Name: "f", Value: "1000", Usage: "ask every `MSEC` milliseconds"},
			secondsFlag("w", "wait `SECONDS` for the last answers (default 1)"),
			secondsFlag("W", "end after `SECONDS` in any case (0: never)"),
			&cli.IntFlag{Name: "ttl", Aliases: []string{"t"}, Value: 1, Usage: "send with TTL or hop limit `N`"},
			&cli.IntFlag{Name: "bytes", Aliases: []string{"b"}, Value: 69, Usage: "payload of `N` bytes, at least 56"},
			&cli.Float64Flag{Name: "max-loss", Value: 100 * probe.DefaultMaxLoss, Usage: "loss of multicast that is still good, in `PERCENT`"},
			&cli.BoolFlag{Name: "serve", Aliases: []string{"s"}, Usage: "only answer, until interrupted"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the summary only"}),
		Action: func(c *cli.Context) error {
			p, err := pingOf(c)
			if err != nil {
				return err
			}
			return mcastPing(c.Context, p)
		},
	}
}

// pinging is what mcast ping's command line says.
type pinging struct {
	mcast
	cfg     probe.PingConfig
	within  time.Duration
	maxLoss float64 // of 1
	quiet   bool
}

func pingOf(c *cli.Context) (p pinging, err error) {
	if p.mcast, err = mcastOf(c); err != nil {
		return p, err
	}
	p.quiet, p.maxLoss = c.Bool("quiet"), c.Float64("max-loss")/100
	q := probe.PingerConfig{Count: c.Uint64("count"), Bytes: c.Int("bytes"), HopLimit: c.Int("ttl"), Serve: c.Bool("serve")}
	if q.Interval, err = quantity(c, "f", time.Millisecond); err != nil {
		return p, err
	}
	if q.Wait, err = secondsOf(c, "w"); err != nil {
		return p, err
	}
	if p.within, err = secondsOf(c, "W"); err != nil {
		return p, err
	}
	port, err := groupPort(c.Int("port"))
	if err != nil {
		return p, err
	}
	for _, word := range c.Args().Slice() {
		a, err := p.hostAddr(c.Context, word)
		if err != nil {
			return p, err
		}
		q.Hosts = append(q.Hosts, a)
	}
	group, err := p.pingGroup(c.String("group"), q.Hosts)
	if err != nil {
		return p, err
	}
	p.warnFlooded(group)
	p.cfg = probe.PingConfig{Conn: multicast.Config{Group: netip.AddrPortFrom(group, port)}, Pinger: q}
	if err := p.check(); err != nil {
		return p, err
	}
	p.cfg.Conn.Interface, err = p.interfaceFor(multicast.FamilyOf(group))
	return p, err
}

// hostAddr returns the address of a host, which the system is asked for when word is
// a name.
func (p pinging) hostAddr(ctx context.Context, word string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(word); err == nil {
		if a.IsMulticast() || a.IsUnspecified() {
			return a, usage("%q is not the address of a host; a group is given with --group", word)
		}
		return a.Unmap(), nil
	}
	network := "ip"
	switch {
	case p.ipv4:
		network = "ip4"
	case p.ipv6:
		network = "ip6"
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, network, word)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("host %q: %w", word, err)
	}
	slices.SortStableFunc(all, func(a, b netip.Addr) int { // an IPv4 address first
		return int(multicast.FamilyOf(a)) - int(multicast.FamilyOf(b))
	})
	return all[0].Unmap(), nil
}

// pingGroup returns the group to meet in: the one named, or the one picked for the
// family of the hosts.
func (p pinging) pingGroup(name string, hosts []netip.Addr) (netip.Addr, error) {
	if name == "" {
		family := p.family()
		if len(hosts) > 0 && !p.ipv4 && !p.ipv6 {
			family = multicast.FamilyOf(hosts[0])
		}
		return multicast.Pick(pingName, family), nil
	}
	ch, n, err := parseChannel(name)
	if err != nil {
		return ch.Group, err
	}
	if n != 1 || ch.Source.IsValid() || multicast.SourceSpecific(ch.Group) {
		return ch.Group, usage("%s: want one group that any host may send to", name)
	}
	return ch.Group, p.allows(ch.Group)
}

// check makes what is wrong with the numbers a mistake of usage.
func (p pinging) check() error {
	q := p.cfg.Pinger
	q.Group = p.cfg.Conn.Group
	if q.HopLimit < 1 {
		return usage("TTL %d is not in 1 to 255", q.HopLimit)
	}
	if p.maxLoss < 0 || p.maxLoss > 1 {
		return usage("--max-loss takes 0 to 100")
	}
	if _, err := probe.NewPinger(q, time.Time{}); err != nil {
		return usage("%s", strings.TrimPrefix(err.Error(), "probe: "))
	}
	return nil
}

func mcastPing(ctx context.Context, p pinging) error {
	if p.within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.within)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p.cfg.Event = func(e probe.Event) {
		if p.printEvent(e) != nil {
			cancel()
		}
	}
	p.cfg.Ready = func() {
		if p.printReady() != nil {
			cancel()
		}
	}
	hosts, err := probe.Ping(ctx, p.cfg)
	if errors.Is(err, probe.ErrPortTaken) {
		return fmt.Errorf("another program on this machine has port %d on %s: end it, or use -p on all hosts", p.cfg.Conn.Group.Port(), p.cfg.Conn.Interface)
	}
	if err != nil || p.cfg.Pinger.Serve {
		return err
	}
	return p.judge(hosts)
}

// printReady tells where the group was joined.
func (p pinging) printReady() error {
	if p.quiet {
		return nil
	}
	doing := "asking"
	if p.cfg.Pinger.Serve {
		doing = "answering"
	}
	g := p.cfg.Conn.Group
	return p.out.event(doing, fmt.Sprintf("%s in %v on %s", doing, g, p.cfg.Conn.Interface), "group", g.Addr(), "port", g.Port(), "interface", p.cfg.Conn.Interface)
}

func (p pinging) printEvent(e probe.Event) error {
	switch e.Kind {
	case probe.Replied:
		if p.quiet {
			return nil
		}
		text := fmt.Sprintf("%v : %9v, seq=%d, size=%d bytes", e.From.Addr(), e.Path, e.Seq, e.Bytes)
		kv := []any{"from", e.From.Addr(), "seq", e.Seq, "rtt_ms", millis(e.RTT), "path", e.Path.String(), "bytes", e.Bytes, "outcome", e.Outcome.String()}
		if e.Hops >= 0 {
			text += ", dist=" + strconv.Itoa(e.Hops)
			kv = append(kv, "hops", e.Hops)
		}
		text += fmt.Sprintf(", time=%.3fms", millis(e.RTT))
		if e.Outcome != probe.InOrder {
			text += ", " + e.Outcome.String()
		}
		return p.out.event("reply", text, kv...)
	case probe.Appeared, probe.Left, probe.Restarted:
		if p.quiet && !p.out.json {
			return nil
		}
		return p.out.event(e.Kind.String(), fmt.Sprintf("%v : %v", e.From.Addr(), e.Kind), "from", e.From.Addr())
	}
	return nil
}

// judge prints the summaries and the verdict, which is the exit status.
func (p pinging) judge(hosts []probe.HostReport) error {
	for _, h := range hosts {
		for _, path := range probe.Paths {
			if err := p.printPath(h, path); err != nil {
				return err
			}
		}
	}
	v := probe.Judge(hosts, p.maxLoss)
	status := map[probe.Verdict]int{probe.Good: statusDone, probe.Silent: statusUnknown}
	s, ok := status[v]
	if !ok {
		s = statusFailed
	}
	if err := p.out.event("verdict", verdictText(hosts, v, p.maxLoss), "verdict", v.String(), "status", s, "hosts", len(hosts), "max_loss", p.maxLoss); err != nil {
		return err
	}
	if s != statusDone {
		return &statusError{s, errQuiet}
	}
	return nil
}

func (p pinging) printPath(h probe.HostReport, path probe.Path) error {
	r := h.Paths[path]
	later := r.SentLater - r.ReceivedLater
	text := fmt.Sprintf("%v : %9v, xmt/rcv/%%loss = %d/%s/%s (seq>=2 %s), min/avg/max/std-dev = %.3f/%.3f/%.3f/%.3f ms, jitter %.3f ms",
		h.Host.Addr(), path, r.Sent, withCopies(r.Received, r.Duplicate), percent(r.Lost, r.Sent), percent(later, r.SentLater),
		millis(r.RTT.Min), millis(r.RTT.Mean()), millis(r.RTT.Max), millis(r.RTT.StdDev()), millis(r.Jitter))
	if r.Reordered+r.Late > 0 {
		text += fmt.Sprintf(", reordered %d, late %d", r.Reordered, r.Late)
	}
	kv := []any{
		"from", h.Host.Addr(), "path", path.String(), "sent", r.Sent, "received", r.Received, "lost", r.Lost,
		"duplicate", r.Duplicate, "reordered", r.Reordered, "late", r.Late, "loss", ratio(r.Lost, r.Sent), "loss_later", ratio(later, r.SentLater),
		"rtt_ms", map[string]float64{"min": millis(r.RTT.Min), "avg": millis(r.RTT.Mean()), "max": millis(r.RTT.Max), "stddev": millis(r.RTT.StdDev())},
		"jitter_ms", millis(r.Jitter), "left", h.Left, "restarts", h.Restarts, "verdict", h.Verdict(p.maxLoss).String(),
	}
	if r.Hops >= 0 {
		kv = append(kv, "hops", r.Hops)
		text += fmt.Sprintf(", dist=%d", r.Hops)
	}
	return p.out.event("summary", text, kv...)
}

// verdictText says the verdict in a sentence, and of whom it is.
func verdictText(hosts []probe.HostReport, v probe.Verdict, maxLoss float64) string {
	var who []string
	for _, h := range hosts {
		if v != probe.Good && h.Verdict(maxLoss) == v {
			who = append(who, h.Host.Addr().String())
		}
	}
	names := strings.Join(who, ", ")
	switch {
	case v == probe.Good:
		return "good: multicast is as good as unicast, with " + counted(int64(len(hosts)), "host", "hosts")
	case v == probe.Silent && names == "":
		return "silent: nobody answered; is mcast ping running on another host, and does multicast pass? Name a HOST to ask by unicast too"
	case v == probe.Silent:
		return "silent: no answer from " + names
	case v == probe.Lossy:
		return fmt.Sprintf("lossy: multicast loses more than %.3g%%, and more than unicast: %s", 100*maxLoss, names)
	}
	return "broken: unicast works and multicast does not: " + names
}
