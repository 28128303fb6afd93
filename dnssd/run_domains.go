package dnssd

import (
	"context"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/aether-lan/aether/mdns"
)

// sourceMax is the most domains in which [Domains] asks.
const sourceMax = 32

// Domains lists the domains that are recommended for kind (RFC 6763 section 11) for as
// long as the loop over it runs: first those that are known, then each change, until
// ctx ends. They are advice, no more. With Config.Domain, only that one is asked; ""
// asks in local, in the domains that the system searches, and for the subnets of this
// machine's interfaces, so that a domain may come once from each of these sources. A
// source that cannot be asked is then left out and logged; the loop ends with an error
// when that is all of them, or the one of Config.Domain.
func Domains(ctx context.Context, kind DomainKind, cfg Config) iter.Seq2[DomainEvent, error] {
	return func(yield func(DomainEvent, error) bool) {
		sources, err := cfg.sources()
		if err == nil {
			err = domains(ctx, kind, cfg, sources, yield)
		}
		if err != nil {
			yield(DomainEvent{}, fmt.Errorf("dnssd: domains %v: %w", kind, err))
		}
	}
}

// sources returns in which domains to ask.
func (c Config) sources() ([]string, error) {
	domain, err := c.domain()
	if err != nil || c.Domain != "" {
		return []string{domain}, err
	}
	list := []string{Local}
	conf, err := readResolvConf()
	if err != nil {
		c.logger().Warn("dnssd: domains to search are unknown", "error", err)
	}
	list = append(list, conf.search...)
	for _, p := range c.prefixes() {
		if d, ok := SubnetDomain(p); ok {
			list = append(list, trimDot(d))
		}
	}
	for i := range list {
		list[i] = fold(list[i])
	}
	slices.Sort(list[1:])
	rest := slices.DeleteFunc(slices.Compact(list[1:]), func(s string) bool { return s == Local })
	list = list[:1+len(rest)]
	return list[:min(len(list), sourceMax)], nil
}

// prefixes returns the addresses of this machine with their subnets.
func (c Config) prefixes() (list []netip.Prefix) {
	all, err := net.Interfaces()
	if err != nil {
		c.logger().Warn("dnssd: subnets are unknown", "error", err)
	}
	for _, ifi := range all {
		if ifi.Flags&net.FlagUp == 0 || len(c.Interfaces) > 0 && !slices.Contains(c.Interfaces, ifi.Name) {
			continue
		}
		addrs, _ := ifi.Addrs() // an interface that has gone has none
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			both := c.IPv4 == c.IPv6
			if err == nil && (both || p.Addr().Is4() == c.IPv4) {
				list = append(list, p)
			}
		}
	}
	return list
}

// domainPump is what the goroutines of one [Domains] share.
type domainPump struct {
	cfg    Config
	wg     sync.WaitGroup
	events chan DomainEvent
	failed chan error // one for each source that cannot be asked
}

// domains asks in all sources at once.
func domains(ctx context.Context, kind DomainKind, cfg Config, sources []string, yield func(DomainEvent, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	p := domainPump{cfg: cfg, events: make(chan DomainEvent), failed: make(chan error, len(sources))}
	defer p.wg.Wait()
	defer cancel()
	link, far, closeAll, err := cfg.watchers(ctx, sources)
	defer closeAll()
	if link == nil && far == nil {
		return err
	}
	for _, s := range sources {
		n := far
		if mdns.IsLocal(s) {
			n = link
		}
		if n == nil {
			p.failed <- err
			continue
		}
		p.wg.Go(func() { p.follow(ctx, n, NewDomainEnumerator(kind, s)) })
	}
	left := len(sources)
	for left > 0 {
		select {
		case ev := <-p.events:
			if !yield(ev, nil) {
				return nil
			}
		case err = <-p.failed:
			left--
			cfg.logger().Info("dnssd: domains cannot be asked for", "error", err)
		case <-ctx.Done():
			return nil
		}
	}
	return err
}

// follow hands on what one source says.
func (p *domainPump) follow(ctx context.Context, n watcher, e *DomainEnumerator) {
	for c, err := range n.Watch(ctx, e.Question()) {
		if err != nil {
			p.failed <- err
			return
		}
		e.HandleChange(time.Now(), c)
		for _, ev := range e.Events() {
			select {
			case p.events <- ev:
			case <-ctx.Done():
				return
			}
		}
	}
}

// watchers opens what the sources need: multicast DNS, DNS servers, or both. One that
// cannot be had is nil, and err says why.
func (c Config) watchers(ctx context.Context, sources []string) (link, far watcher, closeAll func(), err error) {
	closeAll = func() {}
	if slices.ContainsFunc(sources, mdns.IsLocal) {
		n, done, failed := c.open(ctx)
		if err = failed; failed == nil {
			link, closeAll = n, done
		}
	}
	if slices.ContainsFunc(sources, func(s string) bool { return !mdns.IsLocal(s) }) {
		// Each has a unicast of its own, so that one answer does not excuse the others.
		servers, failed := c.unicastServers()
		if failed != nil {
			return link, nil, closeAll, failed
		}
		far = eachUnicast{newExchanger(servers), c}
	}
	return link, far, closeAll, err
}

// eachUnicast watches every question as if it were the only one.
type eachUnicast struct {
	x   *exchanger
	cfg Config
}

// Watch asks a DNS server q.
func (u eachUnicast) Watch(ctx context.Context, q mdns.Question) iter.Seq2[mdns.Change, error] {
	return (&unicast{ask: u.x.ask, log: u.cfg.logger()}).Watch(ctx, q)
}
