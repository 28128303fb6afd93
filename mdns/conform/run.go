package conform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/mdns"
	"github.com/aether-lan/aether/multicast"
	"github.com/miekg/dns"
)

// Config says what [Run] tests and how.
type Config struct {
	// Target is a host, "box" or "box.local", or an instance, "Wiki._http._tcp.local".
	Target string
	// Interface is the name of the interface to use. Empty is the one on which the
	// target answers first.
	Interface string
	// IPv6 prefers IPv6 where the target answers by both families.
	IPv6 bool
	// Checks are those to run. Nil means all; see [Checks].
	Checks []Check
	// Restart ends the target and starts it again; it may return before the target is
	// up. Nil means that it cannot be restarted, and the checks that need it are skipped.
	Restart func(context.Context) error
	// Idle is how long the target is watched in silence. 0 means 5 s.
	Idle time.Duration
	// Event hears what happens as it does. Nil means that only the results count.
	Event func(Event)
	// Logger hears what happens below. Nil means silence.
	Logger *slog.Logger
}

// findTimeout is how long a target is looked for.
const findTimeout = 5 * time.Second

// Run tests a responder and returns one Result for each check. It fails with
// [mdns.ErrNotFound] when the target does not answer at all, with what is wrong with the
// interface, and with the error of Restart.
func Run(ctx context.Context, cfg Config) ([]Result, error) {
	if !strings.Contains(strings.TrimSuffix(cfg.Target, "."), ".") {
		cfg.Target += ".local"
	}
	ifi, set, err := find(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("conform: %s: %w", cfg.Target, err)
	}
	checks := cfg.Checks
	if checks == nil {
		checks = Checks()
	}
	c, err := open(ctx, ifi, set)
	if err != nil {
		return nil, fmt.Errorf("conform: %w", err)
	}
	set.Unicast = c.group.Unicast()
	t := NewTester(set, checks)
	defer t.Close()
	return turn(ctx, t, c, cfg)
}

// errDone ends the loop when all checks have run.
var errDone = errors.New("conform: done")

func turn(ctx context.Context, t *Tester, c *conn, cfg Config) (results []Result, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	err = loop.Run(ctx, t, c, loop.Config[Packet, Event]{
		Event: func(e Event) {
			switch e.Kind {
			case EventResult:
				results = append(results, e.Result)
			case EventRestart:
				wg.Go(func() {
					if err := cfg.Restart(ctx); err != nil {
						cancel(fmt.Errorf("conform: restart of the target: %w", err))
					}
				})
			case EventDone:
				cancel(errDone)
			}
			if cfg.Event != nil {
				cfg.Event(e)
			}
		},
		WriteError: func(p Packet, err error) error {
			if len(p.Data) == 0 {
				return nil // an empty datagram that the system does not send
			}
			return err
		},
	})
	if errors.Is(err, errDone) {
		return results, nil
	}
	return results, err
}

// find asks on all interfaces that come into question who the target is.
func find(ctx context.Context, cfg Config) (ifi netif.Interface, set Setting, err error) {
	mcfg := mdns.Config{Logger: cfg.Logger}
	if cfg.Interface != "" {
		mcfg.Interfaces = []string{cfg.Interface}
	}
	n, err := mdns.Open(ctx, mcfg)
	if err != nil {
		return ifi, set, err
	}
	defer n.Close()
	within, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	name := dns.Fqdn(cfg.Target)
	var found *mdns.Change
	for c, err := range n.WatchAll(within, mdns.Question{Name: name, Type: dns.TypeSRV}, mdns.Question{Name: name, Type: dns.TypeA}, mdns.Question{Name: name, Type: dns.TypeAAAA}) {
		if err != nil {
			return ifi, set, err
		}
		if c.Op == mdns.Remove || c.Local {
			continue
		}
		if found == nil {
			time.AfterFunc(300*time.Millisecond, cancel) // the other family may be a moment later
		}
		if six := c.From.Is6() && !c.From.Is4In6(); found == nil || six == cfg.IPv6 {
			found = &c
		}
	}
	if found == nil {
		return ifi, set, mdns.ErrNotFound
	}
	all, err := netif.List()
	if err != nil {
		return ifi, set, err
	}
	for _, x := range all {
		if x.Index == found.IfIndex {
			ifi = x
		}
	}
	set = Setting{
		Target: name, Address: found.From.Unmap(), CanRestart: cfg.Restart != nil, Idle: cfg.Idle,
		Group: netip.AddrPortFrom(netip.AddrFrom4([4]byte{224, 0, 0, 251}), Port),
		Rand:  rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
	}
	if set.Address.Is6() {
		set.Group = netip.AddrPortFrom(netip.MustParseAddr("ff02::fb"), Port)
	}
	for _, p := range ifi.Addresses {
		a := p.Addr()
		if a.Is4() == set.Address.Is4() && (a.Is4() || a.IsLinkLocalUnicast()) {
			set.Own = a
			if a.Is6() {
				set.Own = a.WithZone(ifi.Name)
			}
			break
		}
	}
	return ifi, set, nil
}

// conn is the group and a socket of a plain DNS resolver.
type conn struct {
	group  *multicast.Conn
	legacy *net.UDPConn
	to     netip.AddrPort
	in     chan Packet
	quit   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
}

func open(ctx context.Context, ifi netif.Interface, set Setting) (*conn, error) {
	g, err := multicast.Listen(ctx, multicast.Config{Interface: ifi.Name, Group: set.Group, Unicast: true, HopLimit: 255})
	if err != nil {
		return nil, err
	}
	l, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(set.Own, 0)))
	if err != nil {
		_ = g.Close()
		return nil, err
	}
	to := set.Group
	if to.Addr().Is6() {
		to = netip.AddrPortFrom(to.Addr().WithZone(ifi.Name), to.Port())
	}
	c := &conn{group: g, legacy: l, to: to, in: make(chan Packet), quit: make(chan struct{})}
	c.wg.Go(c.readGroup)
	c.wg.Go(c.readLegacy)
	return c, nil
}

func (c *conn) give(p Packet) bool {
	select {
	case c.in <- p:
		return true
	case <-c.quit:
		return false
	}
}

func (c *conn) readGroup() {
	for {
		d, err := c.group.ReadPacket()
		if err != nil || !c.give(Packet{Data: d.Payload, From: d.From, To: netip.AddrPortFrom(d.To, Port), HopLimit: d.HopLimit}) {
			return
		}
	}
}

func (c *conn) readLegacy() {
	b := make([]byte, 65535)
	for {
		n, from, err := c.legacy.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // such as that nobody listens where a query went
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if !c.give(Packet{Data: append([]byte(nil), b[:n]...), From: from, Legacy: true}) {
			return
		}
	}
}

// ReadPacket waits for a packet from either socket.
func (c *conn) ReadPacket() (Packet, error) {
	select {
	case p := <-c.in:
		return p, nil
	case <-c.quit:
		return Packet{}, net.ErrClosed
	}
}

// WritePacket sends p by the socket that it is for.
func (c *conn) WritePacket(p Packet) error {
	if !p.Legacy {
		return c.group.SendTo(p.Data, p.To)
	}
	_, err := c.legacy.WriteToUDPAddrPort(p.Data, c.to)
	return err
}

// Close closes both sockets and waits for their readers.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.quit)
		_ = c.group.Close()
		_ = c.legacy.Close()
	})
	c.wg.Wait()
	return nil
}
