package dnssd

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/aether-lan/aether/mdns"
)

// Browse lists the instances of a service, "_ipp._tcp" or with a subtype
// "_color._sub._ipp._tcp" (RFC 6763 section 4), for as long as the loop over it runs:
// first those that are there, then each change, until ctx ends. An instance that is
// found on two interfaces comes twice. Each Add has host, port, addresses and
// attributes, unless they could not be had within a second; an Update brings them
// later. A slow loop body delays nobody: what happens meanwhile to one instance is
// told as one event. The loop ends with an error when service is none ([ErrService]),
// Config.Domain is none ([ErrName]), multicast DNS fails, or, in another domain than
// local, no server is known ([ErrNoServer]) or none answers the first time ([ErrServer]).
func Browse(ctx context.Context, service string, cfg Config) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		services, err := parseFleet(service, cfg.Fleet)
		if err != nil {
			yield(Event{}, err)
			return
		}
		s := services[0]
		domain, err := cfg.domain()
		if err != nil {
			yield(Event{}, err)
			return
		}
		n, done, err := cfg.watch(ctx, domain)
		if err != nil {
			yield(Event{}, fmt.Errorf("dnssd: browse %s: %w", s, err))
			return
		}
		defer done()
		var browsers []*Browser
		for _, s := range services {
			browsers = append(browsers, NewBrowser(BrowserConfig{
				Service: s, Domain: domain, Unicast: !mdns.IsLocal(domain), NamesOnly: cfg.NamesOnly, IPv4: cfg.IPv4, IPv6: cfg.IPv6,
			}))
		}
		if err := browse(ctx, n, browsers, yield); err != nil {
			yield(Event{}, fmt.Errorf("dnssd: browse %s: %w", s, err))
		}
		for i, b := range browsers {
			if stats := b.Stats(); stats != (BrowserStats{}) {
				cfg.logger().Warn("dnssd: browse left records aside", "service", services[i].String(), "dropped", stats.Dropped, "malformed", stats.Malformed)
			}
		}
	}
}

// browse turns the browsers of one fleet and yields its events. It returns nil when ctx
// or the reader ended it.
func browse(ctx context.Context, n watcher, browsers []*Browser, yield func(Event, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	box := newMailbox(len(browsers))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for rank, b := range browsers {
		wg.Go(func() { box.end(turn(ctx, n, b, func(ev Event) { box.push(rank, ev) })) })
	}
	for {
		events, ended, err := box.take()
		for _, ev := range events {
			if !yield(ev, nil) {
				return nil
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		if ended {
			return err
		}
		select {
		case <-box.wake:
		case <-ctx.Done():
		}
	}
}

// mailbox is an outbox between two goroutines.
type mailbox struct {
	mu    sync.Mutex
	fleet *fleet
	box   *outbox[instanceKey, Event]
	ended bool
	err   error
	wake  chan struct{}
}

func newMailbox(services int) *mailbox {
	f := newFleet(services)
	return &mailbox{
		fleet: f, box: newOutbox(f.key, func(ev *Event) *Op { return &ev.Op }), wake: make(chan struct{}, 1),
	}
}

func (m *mailbox) push(rank int, ev Event) {
	m.mu.Lock()
	if ev, tell := m.fleet.handle(rank, ev); tell {
		m.box.push(ev)
	}
	m.mu.Unlock()
	m.ring()
}

func (m *mailbox) end(err error) {
	m.mu.Lock()
	if m.ended = true; m.err == nil {
		m.err = err
	}
	m.mu.Unlock()
	m.ring()
}

func (m *mailbox) ring() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mailbox) take() (events []Event, ended bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.box.take(), m.ended, m.err
}

// turn drives b on n until ctx ends (nil) or a question cannot be asked. All its
// goroutines have ended when it returns.
func turn(ctx context.Context, n watcher, b *Browser, tell func(Event)) error {
	ctx, cancel := context.WithCancel(ctx)
	p := pumps{n: n, running: make(map[mdns.Question]context.CancelFunc), changes: make(chan pumped), failed: make(chan error, 1)}
	defer p.wg.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		start, stop := b.Outgoing()
		for _, q := range stop {
			p.stop(q)
		}
		for _, q := range start {
			p.start(ctx, q)
		}
		for _, ev := range b.Events() {
			tell(ev)
		}
		var due <-chan time.Time
		if t, ok := b.NextTimeout(); ok {
			timer.Reset(time.Until(t))
			due = timer.C
		}
		select {
		case <-ctx.Done():
			return nil
		case c := <-p.changes:
			if c.ctx.Err() == nil { // else its question was taken back meanwhile
				b.HandleChange(time.Now(), c.Change)
			}
		case <-due:
			b.HandleTimeout(time.Now())
		case err := <-p.failed:
			return err
		}
	}
}

// pumps are the running Watches, whose changes meet in one channel.
type pumps struct {
	n       watcher
	running map[mdns.Question]context.CancelFunc
	changes chan pumped
	failed  chan error
	wg      sync.WaitGroup
}

// pumped is a change and the context of the Watch it comes from.
type pumped struct {
	mdns.Change
	ctx context.Context
}

func (p *pumps) start(ctx context.Context, q mdns.Question) {
	ctx, cancel := context.WithCancel(ctx)
	p.running[q] = cancel
	p.wg.Go(func() {
		for c, err := range p.n.Watch(ctx, q) {
			if err != nil {
				if ctx.Err() == nil {
					p.fail(err)
				}
				return
			}
			select {
			case p.changes <- pumped{c, ctx}:
			case <-ctx.Done():
				return
			}
		}
	})
}

// fail keeps the first error.
func (p *pumps) fail(err error) {
	select {
	case p.failed <- err:
	default:
	}
}

func (p *pumps) stop(q mdns.Question) {
	if cancel := p.running[q]; cancel != nil {
		cancel()
		delete(p.running, q)
	}
}
