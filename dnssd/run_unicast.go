package dnssd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// retryMax is the longest wait between queries to servers that fail, starting from
// refreshMin.
const retryMax = 5 * time.Minute

// ErrNoServer says that the system names no DNS server and Config.Server is not set.
var ErrNoServer = errors.New("dnssd: no DNS server is configured: give one")

// watcher tells what becomes of the answers to questions.
type watcher interface {
	// Watch yields the records that answer q and what becomes of them.
	Watch(ctx context.Context, q mdns.Question) iter.Seq2[mdns.Change, error]
}

// unicast is DNS-SD by DNS servers (RFC 6763 section 3: any domain). It asks
// again when an answer has grown old, and tells what has changed since.
type unicast struct {
	ask      func(context.Context, mdns.Question) (answer, error)
	log      *slog.Logger
	answered atomic.Bool // a server has answered, so that a failure is a passing one
}

// Watch asks a DNS server q, again and again. It ends with an error when no question
// has been answered ever; after that, failures are logged and records stay for as
// long as they are good.
func (u *unicast) Watch(ctx context.Context, q mdns.Question) iter.Seq2[mdns.Change, error] {
	return func(yield func(mdns.Change, error) bool) {
		var have []mdns.Record
		var until time.Time // the records are good
		retry := refreshMin
		for {
			wait := retry
			a, err := u.ask(ctx, q)
			reason := mdns.Flushed
			switch {
			case ctx.Err() != nil:
				return
			case err == nil:
				u.answered.Store(true)
				wait, retry, until = a.good, refreshMin, time.Now().Add(a.good)
			case !u.answered.Load():
				yield(mdns.Change{}, err)
				return
			default: // old answers are better than none (RFC 8767), for a while
				u.log.Warn("dnssd: query failed", "question", q.Name, "type", dns.Type(q.Type).String(), "error", err)
				retry = min(2*retry, retryMax)
				if a.records = have; !time.Now().Before(until.Add(retryMax)) {
					a.records, reason = nil, mdns.Expired
				}
			}
			for _, c := range changesTo(have, a.records, reason) {
				if !yield(c, nil) {
					return
				}
			}
			have = a.records
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
	}
}

// unicastServers returns the servers that cfg names, or the system's.
func (c Config) unicastServers() ([]netip.AddrPort, error) {
	if c.Server.IsValid() {
		s := c.Server
		if s.Port() == 0 {
			s = netip.AddrPortFrom(s.Addr(), dnsPort)
		}
		return []netip.AddrPort{s}, nil
	}
	conf, err := readResolvConf()
	if err != nil {
		return nil, fmt.Errorf("dnssd: %w", err)
	}
	list := conf.addresses()
	if len(list) == 0 {
		return nil, ErrNoServer
	}
	return list, nil
}

func (c Config) openUnicast() (*unicast, error) {
	servers, err := c.unicastServers()
	if err != nil {
		return nil, err
	}
	return &unicast{ask: newExchanger(servers).ask, log: c.logger()}, nil
}

// domain returns the domain to look in, in zone file form.
func (c Config) domain() (string, error) {
	labels, err := splitLabels(c.Domain)
	if err != nil {
		return "", err
	}
	if len(labels) == 0 {
		return Local, nil
	}
	return joinLabels(labels, escapeZone), nil
}

// watch returns what serves a domain, and how to let it go: multicast DNS for local,
// DNS servers for every other.
func (c Config) watch(ctx context.Context, domain string) (watcher, func(), error) {
	if mdns.IsLocal(domain) {
		return c.open(ctx)
	}
	u, err := c.openUnicast()
	if err != nil {
		return nil, nil, err
	}
	return u, func() {}, nil
}
