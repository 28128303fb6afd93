package dnssd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"github.com/aether-lan/aether/mdns"
)

// ErrNotFound says that nobody answered for an instance, or for its host's addresses.
var ErrNotFound = errors.New("dnssd: no answer")

// resolveTimeout is for calls without a deadline (RFC 6762 section 5.1).
const resolveTimeout = 3 * time.Second

// Resolve looks the instance with that name and service up: host, port, addresses and
// attributes (RFC 6763 section 5). Of several SRV records it chooses as RFC 2782 says.
// It waits for ctx, or three seconds where ctx has no deadline, and fails with
// [ErrNotFound]; what was found is returned when only the addresses are missing. It
// fails with [ErrService] and [ErrName] for arguments that cannot be asked for.
func Resolve(ctx context.Context, name, service string, cfg Config) (Instance, error) {
	domain, err := cfg.domain()
	if err != nil {
		return Instance{}, err
	}
	pinned, err := spellings(name, service, domain)
	if err != nil {
		return Instance{}, err
	}
	n, done, err := cfg.watch(ctx, domain)
	if err != nil {
		return Instance{}, fmt.Errorf("dnssd: resolve %s: %w", pinned[0], err)
	}
	defer done()
	inst, err := resolve(ctx, n, BrowserConfig{
		Pinned: pinned, Domain: domain, Unicast: !mdns.IsLocal(domain), IPv4: cfg.IPv4, IPv6: cfg.IPv6, Rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	})
	if err != nil {
		return inst, fmt.Errorf("dnssd: resolve %s: %w", pinned[0], err)
	}
	return inst, nil
}

// spellings returns the names to ask for: in Normalization Form C, as they should be
// on the network, and also as given where that differs.
func spellings(name, service, domain string) ([]FullName, error) {
	s, err := ParseService(service)
	if err != nil {
		return nil, err
	}
	norm, err := NormalizeInstance(name)
	if err != nil {
		return nil, err
	}
	pinned := []FullName{{norm, s.Type, domain}}
	if name != norm && len(name) <= labelMax {
		pinned = append(pinned, FullName{name, s.Type, domain})
	}
	return pinned, nil
}

func resolve(ctx context.Context, n watcher, cfg BrowserConfig) (Instance, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
	}
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	var best Instance
	err := turn(within, n, NewBrowser(cfg), func(ev Event) {
		if ev.Op == Remove || len(best.Addresses) > 0 {
			return
		}
		if best = ev.Instance; len(best.Addresses) > 0 {
			cancel()
		}
	})
	switch {
	case err != nil:
		return best, err
	case len(best.Addresses) > 0:
		return best, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return best, context.Cause(ctx)
	case best.Host != "":
		return best, fmt.Errorf("%w for the addresses of %s", ErrNotFound, best.Host)
	}
	return best, ErrNotFound
}

// Types lists the services on offer (RFC 6763 section 9) for as long as the loop over
// it runs: first those that are there, then each change, until ctx ends. It is for
// looking around: a program that wants a service browses for it.
func Types(ctx context.Context, cfg Config) iter.Seq2[TypeEvent, error] {
	return func(yield func(TypeEvent, error) bool) {
		domain, err := cfg.domain()
		if err != nil {
			yield(TypeEvent{}, err)
			return
		}
		n, done, err := cfg.watch(ctx, domain)
		if err != nil {
			yield(TypeEvent{}, fmt.Errorf("dnssd: types: %w", err))
			return
		}
		defer done()
		e := NewEnumerator(domain)
		if err := enumerate(ctx, n, e, yield); err != nil {
			yield(TypeEvent{}, fmt.Errorf("dnssd: types: %w", err))
		}
		if e.Dropped() > 0 {
			cfg.logger().Warn("dnssd: types left records aside", "dropped", e.Dropped())
		}
	}
}

// enumerate needs no goroutine of its own: the node's queue is the buffer.
func enumerate(ctx context.Context, n watcher, e *Enumerator, yield func(TypeEvent, error) bool) error {
	for c, err := range n.Watch(ctx, e.Question()) {
		if err != nil {
			return err
		}
		e.HandleChange(time.Now(), c)
		for _, ev := range e.Events() {
			if !yield(ev, nil) {
				return nil
			}
		}
	}
	return nil
}
