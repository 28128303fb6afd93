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
	"golang.org/x/sync/errgroup"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/igmp/doctor"
	"github.com/aether-lan/aether/internal/netif"
)

// passiveTimeout is a little over the default query interval.
const passiveTimeout = 132 * time.Second

func igmpDoctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "say whether multicast works on a link, and if not, why and since when",
		Description: "Listens, and has the querier speak: it joins a random group of 239.255/16 and leaves it, which a querier\n" +
			"answers at once (--passive: sends nothing, and waits for up to two minutes instead). Tells who asks and how,\n" +
			"when members will be cut off, which hosts hold the link to an old version, wrong TTLs and missing router\n" +
			"alerts, leaves that nobody follows up, and memberships beside what flows. A capture is judged with --read.\n\n" +
			"--peer HOST adds a proof with a second machine, which runs aether igmp doctor --serve: whether the switch\n" +
			"between them floods, snoops by Ethernet address, snoops by IP address, or drops what was joined. It takes\n" +
			"three seconds.\n\n" +
			"Looks at IPv4, with -6 at IPv6 (MLD), with both flags at both. Needs CAP_NET_RAW, but for --serve and --read.\n" +
			"Exit status: 0 healthy, 1 broken, 3 not permitted, 4 cannot tell." +
			examples("aether igmp doctor -i eth0", "aether igmp doctor --peer 192.0.2.7 --json", "aether igmp doctor --serve -i eth0", "aether igmp doctor --read lan.pcapng"),
		Flags: append(igmpFamilyFlags(),
			interfaceFlag("look at `IF` only (repeatable; default: all that can multicast)"),
			&cli.DurationFlag{Name: "timeout", Usage: "give up waiting for a querier after `TIME` (default: 15s, with --passive 132s)"},
			&cli.DurationFlag{Name: "for", Usage: "listen for `TIME` at least", Value: 3 * time.Second},
			&cli.BoolFlag{Name: "passive", Usage: "send nothing"},
			&cli.StringFlag{Name: "peer", Usage: "make the proof with `HOST[:PORT]`"},
			&cli.BoolFlag{Name: "serve", Usage: "be the other machine of proofs until interrupted"},
			&cli.StringFlag{Name: "listen", Usage: "with --serve: be asked at `ADDR:PORT`"},
			&cli.StringFlag{Name: "read", Usage: "judge the capture `FILE` instead (-: standard input)"}),
		Action: igmpDoctor,
	}
}

func igmpDoctor(c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	out, err := newPrinter(c)
	if err != nil {
		return err
	}
	if c.Duration("timeout") < 0 || c.Duration("for") < 0 {
		return usage("--timeout and --for must not be negative")
	}
	d := &igmpExamining{out: out, families: []bool{false}, status: map[doctor.Verdict]int{}}
	switch four, six := c.Bool("4"), c.Bool("6"); {
	case four && six:
		d.families = []bool{false, true}
	case six:
		d.families = []bool{true}
	}
	modes := 0
	for _, name := range []string{"peer", "serve", "read"} {
		if c.IsSet(name) {
			modes++
		}
	}
	switch {
	case modes > 1:
		return usage("--peer, --serve and --read exclude each other")
	case c.Bool("serve"):
		return d.serve(c)
	case c.String("read") != "":
		return d.read(c)
	}
	return d.examine(c)
}

// igmpExamining is a run of the doctor.
type igmpExamining struct {
	out      *printer
	families []bool // which are IPv6
	status   map[doctor.Verdict]int
	proof    *doctor.Proof
	trouble  error // why there is no proof although one was asked for
}

// read judges a capture as of its last frame.
func (d *igmpExamining) read(c *cli.Context) error {
	var last *igmp.Monitor
	err := readIgmpCapture(c.String("read"), c.App, func(m *igmp.Monitor) error {
		last = m
		m.Events()
		return nil
	})
	if err != nil {
		return &statusError{int(doctor.Unknown), err}
	}
	return d.report([]string{""}, []*igmp.Monitor{last})
}

func (d *igmpExamining) serve(c *cli.Context) error {
	ifi, err := igmpInterface(c)
	if err != nil {
		return err
	}
	cfg := doctor.ServeConfig{Interface: ifi.Name}
	if s := c.String("listen"); s != "" {
		if cfg.Listen, err = netip.ParseAddrPort(s); err != nil {
			return usage("--listen: %w", err)
		}
	}
	ctx, cancel := context.WithCancelCause(c.Context)
	defer cancel(nil)
	if t := c.Duration("timeout"); t > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, t)
		defer stop()
	}
	cfg.Ready = func(at netip.AddrPort) {
		text := fmt.Sprintf("serving proofs on %s at UDP port %d; on the other machine: aether igmp doctor --peer ADDRESS", ifi.Name, at.Port())
		if err := d.out.event("serving", text, "interface", ifi.Name, "address", at.String(), "port", at.Port()); err != nil {
			cancel(err)
		}
	}
	cfg.Event = func(what string, from netip.AddrPort) {
		if err := d.out.event("peer", fmt.Sprintf("%v: %s", from.Addr(), what), "from", from.String(), "what", what); err != nil {
			cancel(err)
		}
	}
	err = doctor.Serve(ctx, cfg)
	return errors.Join(err, d.out.failure())
}

func (d *igmpExamining) examine(c *cli.Context) error {
	list, err := igmpInterfaces(c)
	if err != nil {
		return err
	}
	if len(c.StringSlice("interface")) == 0 {
		// A bridge without ports, say, is no link to judge.
		if alive := slices.DeleteFunc(slices.Clone(list), func(i netif.Interface) bool { return !i.Carrier }); len(alive) > 0 {
			list = alive
		}
	}
	var peer netip.AddrPort
	if s := c.String("peer"); s != "" {
		if peer, err = peerAddress(c.Context, s, d.families); err != nil {
			return err
		}
		if len(c.StringSlice("interface")) == 0 {
			if list, err = towards(peer, list); err != nil {
				return err
			}
		}
	}
	l, err := openIgmpListening(list)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.run(ctx, func(string, igmp.MonitorEvent) error { return nil }) })
	g.Go(func() error {
		defer cancel()
		return d.wait(ctx, c, l, peer)
	})
	if err := g.Wait(); err != nil {
		return err
	}
	names := make([]string, len(list))
	for i, ifi := range list {
		names[i] = ifi.Name
		l.monitors[i].HandleTimeout(time.Now())
	}
	return d.report(names, l.monitors)
}

// wait solicits and makes the proof, and returns when enough was heard.
func (d *igmpExamining) wait(ctx context.Context, c *cli.Context, l *igmpListening, peer netip.AddrPort) error {
	start, passive := time.Now(), c.Bool("passive")
	limit := c.Duration("timeout")
	if limit == 0 {
		if limit = 15 * time.Second; passive {
			limit = passiveTimeout
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := d.provoke(ctx, c, l, peer); err != nil {
		return err
	}
	told := false
	for ctx.Err() == nil {
		if time.Since(start) >= c.Duration("for") && d.settled(ctx, l) {
			return nil
		}
		if !told && time.Since(start) >= c.Duration("for") && isTerminal(c.App.ErrWriter) {
			told = true
			fmt.Fprintf(c.App.ErrWriter, "no querier heard yet; listening for %v more (Ctrl-C: the verdict so far)\n", (limit - time.Since(start)).Round(time.Second))
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// provoke solicits queries on all links, and makes the proof.
func (d *igmpExamining) provoke(ctx context.Context, c *cli.Context, l *igmpListening, peer netip.AddrPort) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range l.taps {
		for _, six := range d.families {
			if c.Bool("passive") {
				continue
			}
			g.Go(func() error {
				if err := doctor.Solicit(ctx, t.Interface(), six, 2); err != nil && ctx.Err() == nil {
					fmt.Fprintln(c.App.ErrWriter, programPrefix+printable(oneLine(err.Error()))) // an interface without an address, say
				}
				return nil
			})
		}
	}
	if peer.IsValid() {
		g.Go(func() error { return d.prove(ctx, l.taps[0].Interface(), peer) })
	}
	return g.Wait()
}

// settled reports whether listening on would teach nothing about any link.
func (d *igmpExamining) settled(ctx context.Context, l *igmpListening) bool {
	all := true
	for i := range l.monitors {
		l.with(ctx, i, func(m *igmp.Monitor) {
			for _, six := range d.families {
				all = all && doctor.Examine(m, six).Settled
			}
		})
	}
	return all && ctx.Err() == nil
}

func (d *igmpExamining) prove(ctx context.Context, ifi string, peer netip.AddrPort) error {
	p, err := doctor.Prove(ctx, doctor.ProveConfig{Interface: ifi, Peer: peer, Step: func(n doctor.Count) {
		text := fmt.Sprintf("%v: %d of %d arrived", n.Step, n.Received, n.Sent)
		_ = d.out.event("step", text, "step", int(n.Step), "name", n.Step.String(), "sent", n.Sent, "received", n.Received) // kept for the end
	}})
	switch {
	case err == nil:
		d.proof = &p
	case isNotPermitted(err):
		return err
	default:
		d.trouble = err
	}
	return d.out.failure()
}

// peerAddress finds the address of HOST[:PORT] in the family to examine.
func peerAddress(ctx context.Context, s string, families []bool) (netip.AddrPort, error) {
	host, port := s, uint16(doctor.Port)
	if h, p, err := net.SplitHostPort(s); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return netip.AddrPort{}, usage("--peer: %q is not a port", p)
		}
		host, port = h, uint16(n)
	}
	host = strings.Trim(host, "[]")
	if a, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(a.Unmap(), port), nil
	}
	network := "ip4"
	if families[0] {
		network = "ip6"
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return netip.AddrPort{}, &statusError{int(doctor.Unknown), err}
	}
	return netip.AddrPortFrom(list[0].Unmap(), port), nil
}

// towards returns the one interface of list that leads to peer.
func towards(peer netip.AddrPort, list []netif.Interface) ([]netif.Interface, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(peer)) // sends nothing
	if err != nil {
		return nil, err
	}
	defer c.Close()
	local := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap().WithZone("")
	for _, i := range list {
		if slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr() == local }) {
			return []netif.Interface{i}, nil
		}
	}
	return nil, fmt.Errorf("no interface that can multicast leads to %v; name one with -i", peer.Addr())
}
