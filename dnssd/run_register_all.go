package dnssd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/aether-lan/aether/mdns"
)

// registerMax is the most instances that [RegisterAll] takes.
const registerMax = 4096

// RegisterAll offers several instances at once, as [Register] does each: all by one
// node and under one host name, so that what is offered for another host, with its
// Addresses, is published once however many instances name it. It returns when all are
// announced, one Registration for each instance in their order; each may be closed
// alone, and the node is let go with the last. When one cannot be registered, none is,
// and the error names it; [ErrName] also reports two of the same name and service, or
// more than 4096.
func RegisterAll(ctx context.Context, instances []Instance, cfg Config) ([]*Registration, error) {
	if len(instances) == 0 {
		return nil, nil
	}
	list, err := normalizeAll(instances)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	n, done, err := cfg.open(ctx)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("dnssd: register: %w", err)
	}
	return registerAll(ctx, cancel, n, done, list, cfg.logger())
}

// normalizeAll checks all instances before anything is sent.
func normalizeAll(instances []Instance) ([]Instance, error) {
	if len(instances) > registerMax {
		return nil, fmt.Errorf("%w: %d instances at once, limit %d", ErrName, len(instances), registerMax)
	}
	names := make(map[string]bool)
	var list []Instance
	for n, i := range instances {
		i, err := i.normalize()
		if err != nil {
			return nil, fmt.Errorf("dnssd: register number %d, %q: %w", n+1, instances[n].Name, err)
		}
		name := fold(i.FullName().Presentation())
		if names[name] {
			return nil, fmt.Errorf("%w: %s is there twice", ErrName, i.FullName())
		}
		names[name] = true
		list = append(list, i)
	}
	for n := range list { // who offers the flagship itself needs no stake
		if p, ok := list[n].stake(); ok && names[fold(p.Presentation())] {
			list[n].Flagship = ""
		}
	}
	return list, nil
}

// proxied is a node on which other hosts' addresses are published already.
type proxied struct{ node }

// lease is what several registrations use, until the last of them ends.
type lease struct {
	mu     sync.Mutex
	left   int
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup // who watches the hosts
	closer []func()       // run in reverse order
}

func (l *lease) release() {
	l.mu.Lock()
	l.left--
	last := l.left == 0
	l.mu.Unlock()
	if last {
		l.end()
	}
}

func (l *lease) end() {
	l.cancel(nil)
	l.wg.Wait()
	for _, f := range slices.Backward(l.closer) {
		f()
	}
}

// registerAll registers what is normalized. It owns cancel and done.
func registerAll(ctx context.Context, cancel context.CancelCauseFunc, n node, done func(), list []Instance, log *slog.Logger) ([]*Registration, error) {
	l := &lease{left: len(list), cancel: cancel, closer: []func(){done}}
	if err := l.hosts(ctx, n, list); err != nil {
		l.end()
		return nil, fmt.Errorf("dnssd: register: %w", err)
	}
	regs, errs := make([]*Registration, len(list)), make([]error, len(list))
	var wg sync.WaitGroup
	for i, inst := range list {
		wg.Go(func() {
			ctx, stop := context.WithCancel(ctx)
			if regs[i], errs[i] = register(ctx, stop, proxied{n}, l.release, inst, log); errs[i] != nil {
				errs[i] = fmt.Errorf("dnssd: register %s: %w", inst.FullName(), errs[i])
				cancel(errs[i]) // the others need not go on
			}
		})
	}
	wg.Wait()
	err := context.Cause(ctx)
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i < 0 {
		return regs, nil
	} else if err == nil {
		err = errs[i]
	}
	for _, r := range regs {
		if r != nil {
			_ = r.Close()
		}
	}
	return nil, err
}

// hosts takes a name for this machine, if the node has none and an instance needs it,
// and publishes the addresses of other hosts.
func (l *lease) hosts(ctx context.Context, n node, list []Instance) error {
	addresses := make(map[string][]netip.Addr)
	for _, i := range list {
		host := i.foreignHost()
		if host == "" && n.Hostname() == "" {
			claim, err := n.ClaimHost(ctx, HostLabel())
			if err != nil {
				return err
			}
			l.closer = append(l.closer, func() { _ = claim.Close() })
		}
		if host != "" && mdns.IsLocal(host) && len(i.Addresses) > 0 {
			addresses[fold(host)] = append(addresses[fold(host)], i.Addresses...)
		}
	}
	errs := make(chan error, len(addresses))
	var wg sync.WaitGroup
	for host, list := range addresses {
		slices.SortFunc(list, netip.Addr.Compare)
		wg.Go(func() { errs <- l.publish(ctx, n, host, slices.Compact(list)) })
	}
	wg.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

// publish publishes the addresses of another host. Should somebody else claim its
// name, all registrations end.
func (l *lease) publish(ctx context.Context, n node, host string, list []netip.Addr) error {
	pub, err := n.Publish(ctx, Instance{Addresses: list}.hostRecords(host))
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.closer = append(l.closer, func() { _ = pub.Close() })
	l.mu.Unlock()
	l.wg.Go(func() {
		select {
		case c := <-pub.Conflict():
			l.cancel(&c)
		case <-ctx.Done():
		}
	})
	return nil
}
