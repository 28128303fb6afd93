package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
	"github.com/aether-lan/aether/mdns"
)

const (
	// browseFirst is when all is told for now if nothing came: the question is asked
	// again a second after it was asked first (RFC 6762 section 5.2), and shared answers
	// take 120 ms.
	browseFirst = 1500 * time.Millisecond
	// browseQuiet is when all is told after the last that came: an instance of which a
	// part is missing is told after a second.
	browseQuiet = 1100 * time.Millisecond
)

func dnssdBrowseCommand() *cli.Command {
	return &cli.Command{
		Name:      "browse",
		Usage:     "list the instances of services, and what becomes of them",
		ArgsUsage: "TYPE... [-- ARG...], or --all",
		Description: "TYPE is _ipp._tcp or, with a subtype, _color._sub._ipp._tcp. Text: a line begins with + for what\n" +
			"is new, - for what is gone and, with --resolve, = for what was found out about it. JSON: events\n" +
			"add, update and remove, with everything that is known.\n\n" +
			"--parsable prints the lines of avahi-browse -p: op;interface;protocol;name;type;domain and, with\n" +
			"--resolve, ;host;address;port;txt. Unlike there ';', quotes and control characters in texts are \\DDD.\n\n" +
			"--exec runs a program for each instance, without a shell. In it and in every ARG {} is the URI,\n" +
			"{service_name}, {service_regtype}, {service_domain}, {service_hostname}, {service_port},\n" +
			"{service_scheme}, {service_uri} and {txt_KEY} are what they say. Its environment has the same as\n" +
			"IPPFIND_SERVICE_NAME and so on, and IPPFIND_TXT_KEY.\n\n" +
			"--flagship takes all TYPEs for one fleet, such as _ipp._tcp and _printer._tcp: a device that offers\n" +
			"several of them under one name is listed once.\n\n" +
			"Runs until interrupted, --terminate, --timeout or --wait-for. Exit status: 0, or 1 when nothing\n" +
			"was found, or fewer than --wait-for, or when a program of --exec has failed." +
			examples(`aether dnssd browse _ipp._tcp --resolve --terminate`,
				`aether dnssd browse --all -rpt`,
				`aether dnssd browse _http._tcp --name '^Wiki' -t --exec curl -- -s {}`,
				`aether dnssd browse _http._tcp --domain example.com --server 192.0.2.53 -t`),
		Flags: domainFlags(append(filterFlags(),
			waitFlag("end after `TIME` (0: never)", 0),
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "all services on offer"},
			&cli.BoolFlag{Name: "resolve", Aliases: []string{"r"}, Usage: "print host, addresses, port and attributes"},
			&cli.BoolFlag{Name: "terminate", Aliases: []string{"t"}, Usage: "end when no more come, after about a second"},
			&cli.IntFlag{Name: "wait-for", Usage: "end as soon as `N` instances are there"},
			&cli.BoolFlag{Name: "parsable", Aliases: []string{"p"}, Usage: "print lines as avahi-browse does for programs"},
			&cli.StringFlag{Name: "exec", Aliases: []string{"x"}, Usage: "run `PROGRAM` for each instance"},
			&cli.BoolFlag{Name: "flagship", Usage: "list a device once that offers several of the services"},
			&cli.BoolFlag{Name: "zone", Usage: "print a zone file of what there is, and end"},
		)...),
		Action: func(c *cli.Context) error {
			z, err := dnssdOf(c)
			if err != nil {
				return err
			}
			b, err := browsingOf(c)
			if err != nil {
				return err
			}
			return b.run(c.Context, z)
		},
	}
}

// browsing is one run of browse.
type browsing struct {
	services           []string // none is all
	fleet              []string // more services of the first
	resolve, terminate bool
	parsable, zone     bool
	waitFor            int
	filter             instanceFilter
	exec               *execution // nil runs nothing

	shown map[instancePlace]dnssd.Instance
	names map[dnssd.FullName]int // on how many interfaces
	seen  int
}

// instancePlace is an instance on an interface.
type instancePlace struct {
	name dnssd.FullName
	ifi  string
}

func browsingOf(c *cli.Context) (*browsing, error) {
	b := &browsing{
		resolve: c.Bool("resolve"), zone: c.Bool("zone"), terminate: c.Bool("terminate") || c.Bool("zone"),
		parsable: c.Bool("parsable"), waitFor: c.Int("wait-for"),
	}
	args := c.Args().Slice()
	for len(args) > 0 {
		if _, err := dnssd.ParseService(args[0]); err != nil {
			if c.String("exec") != "" && len(b.services) > 0 {
				break
			}
			return nil, usage("%w", err)
		}
		b.services, args = append(b.services, args[0]), args[1:]
	}
	var err error
	if b.filter, err = filterOf(c); err != nil {
		return nil, usage("%w", err)
	}
	if s := c.String("exec"); s != "" {
		if b.exec, err = newExecution(s, args, c.App.Writer, c.App.ErrWriter); err != nil {
			return nil, usage("%w", err)
		}
	}
	switch {
	case c.Bool("all") == (len(b.services) > 0):
		return nil, usage("want %s", c.Command.ArgsUsage)
	case b.waitFor < 0:
		return nil, usage("--wait-for must not be negative")
	case c.Bool("json") && (b.parsable || b.zone), b.parsable && b.zone:
		return nil, usage("--json, --parsable and --zone exclude each other")
	case c.Bool("flagship") && len(b.services) < 2:
		return nil, usage("--flagship needs two TYPEs or more")
	}
	if c.Bool("flagship") {
		b.services, b.fleet = b.services[:1], b.services[1:]
	}
	return b, nil
}

// browsed is an event, or why there will be no more.
type browsed struct {
	event dnssd.Event
	err   error
}

func (b *browsing) run(ctx context.Context, z zeroconf) error {
	within, cancel := z.within(ctx)
	defer cancel()
	cfg := z.dnssd()
	cfg.Fleet = b.fleet
	cfg.NamesOnly = !b.resolve && !z.out.json && !b.zone && b.exec == nil && !b.filter.resolves()
	if z.isLocal() && len(b.services) != 1 {
		n, err := mdns.Open(context.WithoutCancel(ctx), z.mdns()) // one for all services, which outlives their browsing
		if err != nil {
			return err
		}
		defer n.Close()
		cfg.Node = n
	}
	quiet := time.AfterFunc(browseFirst, func() {
		if b.terminate {
			cancel()
		}
	})
	defer quiet.Stop()
	b.shown, b.names = make(map[instancePlace]dnssd.Instance), make(map[dnssd.FullName]int)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	var last held
	for f := range b.source(within, cfg, &wg) {
		quiet.Stop()
		if f.err != nil {
			return f.err
		}
		if b.terminate && len(b.fleet) > 0 { // which of its services a device is listed under shows at the end
			last.put(f.event)
		} else if err := b.take(ctx, z.out, f.event); err != nil {
			return err
		}
		if b.waitFor > 0 && len(b.names) >= b.waitFor {
			break
		}
		quiet.Reset(browseQuiet)
	}
	for _, ev := range last.events {
		if err := b.take(ctx, z.out, ev); err != nil {
			return err
		}
	}
	return b.verdict(ctx, z)
}

// held is the last event of each device, in the order in which they were first heard of.
type held struct{ events []dnssd.Event }

func (h *held) put(ev dnssd.Event) {
	at := slices.IndexFunc(h.events, func(o dnssd.Event) bool {
		return o.Instance.Interface == ev.Instance.Interface && strings.EqualFold(o.Instance.Name, ev.Instance.Name)
	})
	switch {
	case at < 0:
		h.events = append(h.events, ev)
	default:
		h.events[at] = ev
	}
}

// source browses all services and sends what it hears; the channel is closed when ctx
// has ended.
func (b *browsing) source(ctx context.Context, cfg dnssd.Config, wg *sync.WaitGroup) <-chan browsed {
	all := make(chan browsed)
	send := func(f browsed) bool {
		select {
		case all <- f:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var each sync.WaitGroup
	browse := func(service string) {
		each.Go(func() {
			for ev, err := range dnssd.Browse(ctx, service, cfg) {
				if !send(browsed{ev, err}) {
					return
				}
			}
		})
	}
	for _, s := range b.services {
		browse(s)
	}
	if len(b.services) == 0 {
		each.Go(func() {
			known := make(map[string]bool) // as many as Types keeps
			for ev, err := range dnssd.Types(ctx, cfg) {
				if err != nil {
					send(browsed{err: err})
					return
				}
				if ev.Op == dnssd.Add && !known[ev.Service] && len(known) < dnssd.TypeMax {
					known[ev.Service] = true
					browse(ev.Service)
				}
			}
		})
	}
	wg.Go(func() {
		each.Wait()
		close(all)
	})
	return all
}

// take shows an event if its instance passes the filter. One that passes no longer is
// gone, one that passes only now is new.
func (b *browsing) take(ctx context.Context, out *printer, ev dnssd.Event) error {
	i := ev.Instance
	at := instancePlace{i.FullName(), i.Interface}
	_, was := b.shown[at]
	is := ev.Op != dnssd.Remove && b.filter.passes(i)
	switch {
	case is && was:
		ev.Op = dnssd.Update
	case is:
		ev.Op = dnssd.Add
		b.names[at.name]++
		b.seen++
	case was:
		ev.Op = dnssd.Remove
		delete(b.shown, at)
		if b.names[at.name]--; b.names[at.name] <= 0 {
			delete(b.names, at.name)
		}
	default:
		return nil
	}
	if is {
		b.shown[at] = i
	}
	if err := b.print(out, ev); err != nil || b.exec == nil || !is || i.Host == "" {
		return err
	}
	return b.exec.run(ctx, i)
}

// verdict is the error of the whole run.
func (b *browsing) verdict(ctx context.Context, z zeroconf) error {
	if b.zone {
		if err := b.printZone(z); err != nil {
			return err
		}
	}
	what := "services"
	if len(b.services) > 0 {
		what = b.services[0]
	}
	switch {
	case b.exec != nil && b.exec.failed > 0:
		return fmt.Errorf("%s failed for %d of %d instances", b.exec.argv[0], b.exec.failed, len(b.exec.done))
	case b.waitFor > 0 && len(b.names) < b.waitFor:
		return fmt.Errorf("%s: %d of %d instances found", what, len(b.names), b.waitFor)
	case b.seen == 0 && ctx.Err() == nil:
		return fmt.Errorf("%s: %w", what, dnssd.ErrNotFound)
	}
	return nil
}

func (b *browsing) printZone(z zeroconf) error {
	var list []dnssd.Instance
	told := make(map[dnssd.FullName]bool)
	for at, i := range b.shown {
		if !told[at.name] && i.Host != "" {
			told[at.name] = true
			list = append(list, i)
		}
	}
	var text bytes.Buffer
	domain := z.domain
	if domain == "" {
		domain = dnssd.Local
	}
	return errors.Join(dnssd.WriteZone(&text, domain, list), z.out.write(text.Bytes()))
}

func (b *browsing) print(out *printer, ev dnssd.Event) error {
	if b.zone {
		return nil
	}
	i, text := ev.Instance, ""
	resolved := b.resolve && ev.Op != dnssd.Remove && i.Host != ""
	mark := map[dnssd.Op]string{dnssd.Add: "+", dnssd.Remove: "-"}[ev.Op]
	switch {
	case b.parsable:
		var lines []string
		if mark != "" {
			lines = parsableLines(mark, i)
		}
		if resolved {
			lines = append(lines, parsableLines("=", i)...)
		}
		for _, l := range lines {
			if err := out.line(l); err != nil {
				return err
			}
		}
		return nil
	case mark != "":
		text = instanceLine(mark, i)
	}
	if resolved {
		if text != "" {
			text += "\n"
		}
		text += instanceBlock(i)
	}
	return out.event(ev.Op.String(), text, append(instanceFields(i), "reason", ev.Reason.String())...)
}
