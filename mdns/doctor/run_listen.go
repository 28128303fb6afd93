package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/mdns"
	"github.com/aether-lan/aether/multicast"
)

// groups are those of multicast DNS (RFC 6762 section 3).
var groups = []netip.Addr{netip.MustParseAddr("224.0.0.251"), netip.MustParseAddr("ff02::fb")}

// Config says where to listen.
type Config struct {
	// Interfaces are names; none means all that are up and can multicast, without
	// loopback and point-to-point interfaces.
	Interfaces []string
	// IPv4 and IPv6 choose the families; neither means both.
	IPv4, IPv6 bool
	// Found is told each finding when it is first worth reporting; nil tells nobody.
	// It must not block.
	Found func(Finding)
}

// ErrNoLink reports that there is no interface to listen on.
var ErrNoLink = errors.New("no interface to listen on")

// Listen joins the groups and lets d hear all that comes until ctx ends, which is
// no error. It sends no multicast DNS; only the kernel reports the memberships. It
// needs no privileges. Datagrams sent to this machine alone are left to its responder,
// which would miss them. It fails with [ErrNoLink] when no group could be joined.
func Listen(ctx context.Context, d *Doctor, cfg Config) error {
	l := &listener{in: make(chan Packet), closed: make(chan struct{})}
	defer l.Close()
	if err := l.join(ctx, cfg); err != nil {
		return fmt.Errorf("doctor: listen: %w", err)
	}
	err := loop.Run(ctx, d, l, loop.Config[Packet, Finding]{Event: cfg.Found})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the end that was asked for
	}
	return fmt.Errorf("doctor: listen: %w", err)
}

// listener is the sockets of all interfaces and families as one.
type listener struct {
	conns  []*multicast.Conn
	in     chan Packet
	closed chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
}

func (l *listener) join(ctx context.Context, cfg Config) error {
	all, err := netif.List()
	if err != nil {
		return err
	}
	for _, name := range cfg.Interfaces {
		if !slices.ContainsFunc(all, func(i netif.Interface) bool { return i.Name == name }) {
			return fmt.Errorf("interface %q: %w", name, netif.ErrNoInterface)
		}
	}
	failed := ErrNoLink
	for _, ifi := range all {
		if !cfg.wants(ifi) {
			continue
		}
		for _, g := range groups {
			if cfg.IPv4 != cfg.IPv6 && cfg.IPv4 != g.Is4() {
				continue
			}
			c, err := multicast.Listen(ctx, multicast.Config{
				Interface: ifi.Name, Group: netip.AddrPortFrom(g, mdns.Port),
			})
			if err != nil {
				failed = fmt.Errorf("%w: %w", ErrNoLink, err)
				continue
			}
			l.conns = append(l.conns, c)
			l.wg.Go(func() { l.read(c) })
		}
	}
	if len(l.conns) == 0 {
		return failed
	}
	return nil
}

func (c Config) wants(ifi netif.Interface) bool {
	if len(c.Interfaces) > 0 {
		return slices.Contains(c.Interfaces, ifi.Name)
	}
	return ifi.Up && ifi.Multicast && !ifi.Loopback && !ifi.PointToPoint
}

func (l *listener) read(c *multicast.Conn) {
	for {
		d, err := c.ReadPacket()
		if err != nil {
			return
		}
		p := Packet{Payload: d.Payload, From: d.From, To: netip.AddrPortFrom(d.To, mdns.Port), HopLimit: d.HopLimit}
		select {
		case l.in <- p:
		case <-l.closed:
			return
		}
	}
}

// ReadPacket waits for a datagram on any socket.
func (l *listener) ReadPacket() (Packet, error) {
	select {
	case p := <-l.in:
		return p, nil
	case <-l.closed:
		return Packet{}, net.ErrClosed
	}
}

// WritePacket refuses: nothing is sent.
func (l *listener) WritePacket(Packet) error { return errors.ErrUnsupported }

// Close closes the sockets and waits for their readers.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		for _, c := range l.conns {
			_ = c.Close()
		}
	})
	l.wg.Wait()
	return nil
}
