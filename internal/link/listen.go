package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits bound what machines that have not yet proven anything can use up.
type Limits struct {
	// Pending is how many connections may be in their handshake. Zero means 64.
	Pending int
	// PerSource is how many of them from one address. Zero means 8.
	PerSource int
}

// Counters say what became of incoming connections.
type Counters struct {
	// Accepted connections were taken from the system.
	Accepted uint64
	// Established ones passed TLS, admission and hello.
	Established uint64
	// OverLimit ones were closed at once, see Limits.
	OverLimit uint64
	// NotAdmitted ones passed TLS but proved nothing.
	NotAdmitted uint64
	// TooSlow ones did not finish within the handshake timeout.
	TooSlow uint64
	// Garbage counts all others that failed: no TLS, wrong certificate, gone.
	Garbage uint64
}

// Listener accepts authenticated connections.
type Listener struct {
	cfg    Config
	limits Limits
	ln     net.Listener
	ready  chan *Conn
	ctx    context.Context
	wg     sync.WaitGroup
	report func(error)

	mu      sync.Mutex
	sources map[netip.Addr]int
	pending int
	count   Counters
}

// Listen accepts TCP connections at addr until ctx ends; port 0 means any free
// port. Connections it hands out live until ctx ends, too.
func Listen(ctx context.Context, addr netip.AddrPort, cfg Config, limits Limits) (*Listener, error) {
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("link: listen: %w", err)
	}
	return NewListener(ctx, ln, cfg, limits, nil)
}

// NewListener accepts from ln, which it owns; see [Listen]. refused, when not nil,
// hears of each connection that failed, from several goroutines at once.
func NewListener(ctx context.Context, ln net.Listener, cfg Config, limits Limits, refused func(error)) (*Listener, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		ln.Close()
		return nil, err
	}
	orDefault(&limits.Pending, 64)
	orDefault(&limits.PerSource, 8)
	if refused == nil {
		refused = func(error) {}
	}
	l := &Listener{
		cfg: cfg, limits: limits, ln: ln, ctx: ctx, report: refused,
		ready: make(chan *Conn), sources: make(map[netip.Addr]int),
	}
	l.wg.Go(func() {
		defer ln.Close()
		stop := context.AfterFunc(ctx, func() { ln.Close() })
		defer stop()
		l.acceptLoop()
	})
	return l, nil
}

// Addr returns where l listens; invalid for a listener that has no such address.
func (l *Listener) Addr() netip.AddrPort { return addrPort(l.ln.Addr()) }

// Counters returns what became of incoming connections so far.
func (l *Listener) Counters() Counters {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// Accept waits for the next connection that passed everything. It fails when ctx
// or the Listener's context ends.
func (l *Listener) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-l.ctx.Done():
		return nil, fmt.Errorf("link: accept: %w", net.ErrClosed)
	}
}

// Wait returns once the Listener's context has ended and no goroutine of it is
// left.
func (l *Listener) Wait() { l.wg.Wait() }

func (l *Listener) acceptLoop() {
	for {
		nc, err := l.ln.Accept()
		if l.ctx.Err() != nil {
			if err == nil {
				nc.Close()
			}
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, or gone before it was accepted: go on, but
			// never in a busy loop.
			l.report(fmt.Errorf("link: accept: %w", err))
			select {
			case <-time.After(50 * time.Millisecond):
			case <-l.ctx.Done():
			}
			continue
		}
		source := addrPort(nc.RemoteAddr()).Addr()
		if !l.enter(source) {
			nc.Close()
			continue
		}
		l.wg.Go(func() { l.welcome(nc, source) })
	}
}

// enter counts a new connection and reports whether there is room for it.
func (l *Listener) enter(source netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count.Accepted++
	if l.pending >= l.limits.Pending || l.sources[source] >= l.limits.PerSource {
		l.count.OverLimit++
		return false
	}
	l.pending++
	l.sources[source]++
	return true
}

// leave is the reverse of enter, and counts how it went.
func (l *Listener) leave(source netip.Addr, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending--
	if l.sources[source]--; l.sources[source] == 0 {
		delete(l.sources, source)
	}
	switch {
	case err == nil:
		l.count.Established++
	case errors.Is(err, ErrNotAdmitted):
		l.count.NotAdmitted++
	case errors.Is(err, ErrPeerSilent):
		l.count.TooSlow++
	default:
		l.count.Garbage++
	}
}

func (l *Listener) welcome(nc net.Conn, source netip.Addr) {
	c, err := Server(l.ctx, nc, l.cfg)
	l.leave(source, err)
	if err != nil {
		if l.ctx.Err() == nil {
			l.report(err)
		}
		return
	}
	select {
	case l.ready <- c:
	case <-c.Done():
	case <-l.ctx.Done():
		<-c.Done() // it ends with the same context
	}
}
