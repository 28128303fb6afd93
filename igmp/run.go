package igmp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netif"
)

// PacketConn is what the functions of this file run engines on: a [Conn], or the
// end of a simulated wire. After Close, ReadPacket returns an error that wraps
// net.ErrClosed.
type PacketConn interface {
	ReadPacket() (Packet, error)
	WritePacket(p Packet) error
	Close() error
}

// leaveGrace is how long a host that stops goes on repeating its leaves.
const leaveGrace = UnsolicitedReportInterval + 100*time.Millisecond

// RunConfig says what to do beside running an engine whose events are E. Its zero
// value is silent.
type RunConfig[E any] struct {
	// Event hears each event, and Sent each packet that was sent, on the engine's
	// goroutine; they must not block. Nil drops them.
	Event func(E)
	Sent  func(Packet)
	// Do carries calls to be made on the engine's goroutine. Nil means none.
	Do <-chan func(now time.Time)
	// Logger hears of packets that could not be sent. Nil is silent.
	Logger *slog.Logger
}

// RunHost runs h on c until ctx ends, then leaves all groups, which takes up to a
// second, and closes c. It returns the cause of ctx's end or an error of c.
func RunHost(ctx context.Context, h *Host, c PacketConn, cfg RunConfig[HostEvent]) error {
	return run(ctx, h, c, cfg, h.Stop, leaveGrace)
}

// RunQuerier starts q and runs it on c until ctx ends, then closes c. It returns
// the cause of ctx's end or an error of c.
func RunQuerier(ctx context.Context, q *Querier, c PacketConn, cfg RunConfig[QuerierEvent]) error {
	if q.Role() == RoleNone {
		q.Start(time.Now())
	}
	return run(ctx, q, c, cfg, nil, 0)
}

func run[E any](ctx context.Context, e loop.Engine[Packet, E], c PacketConn, cfg RunConfig[E], stop func(time.Time), grace time.Duration) error {
	logger := cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))
	return loop.Run(ctx, e, loop.Conn[Packet](sending{c, cfg.Sent}), loop.Config[Packet, E]{
		Do: cfg.Do, Event: cfg.Event, Stop: stop, Grace: grace,
		WriteError: func(p Packet, err error) error {
			if !passing(err) {
				return err
			}
			logger.Warn("packet not sent", "packet", p.String(), "error", err)
			return nil
		},
	})
}

// sending is a PacketConn that tells what was sent.
type sending struct {
	PacketConn
	sent func(Packet)
}

func (s sending) WritePacket(p Packet) error {
	err := s.PacketConn.WritePacket(p)
	if err == nil && s.sent != nil {
		s.sent(p)
	}
	return err
}

// JoinConfig says what [Join] listens to.
type JoinConfig struct {
	// Interface is its name. It must be set.
	Interface string
	// Filters are the groups, all of one family, each once.
	Filters []InterfaceFilter
	// Host is the host's configuration. Family follows from the groups; Address
	// and MTU, when they are zero, from the interface.
	Host HostConfig
	// Run says whom to tell; its Do is not used.
	Run RunConfig[HostEvent]
}

// Join makes this machine a member of groups as far as routers and switches can
// tell, until ctx ends; then it leaves them. The kernel has no part in it: what is
// sent to the groups reaches the interface, and no socket. When the link comes
// back, or the machine has slept, all is told again.
//
// It needs CAP_NET_RAW. It returns the cause of ctx's end, or an error that wraps
// one of those of [Open] and [Host.SetFilter].
func Join(ctx context.Context, cfg JoinConfig) error {
	if len(cfg.Filters) == 0 {
		return fmt.Errorf("igmp: join: %w: none given", ErrGroup)
	}
	cfg.Host.Family = FamilyOf(cfg.Filters[0].Group)
	c, err := Open(context.WithoutCancel(ctx), cfg.Interface, cfg.Host.Family)
	if err != nil {
		return err
	}
	defer c.Close()
	fixed := cfg.Host.Address.IsValid()
	if !fixed {
		cfg.Host.Address = c.Addr(cfg.Host.Family)
	}
	cfg.Host.MTU = cmp.Or(cfg.Host.MTU, min(c.MTU(), maxReportMTU))
	h, err := NewHost(cfg.Host)
	if err != nil {
		return err
	}
	for _, f := range cfg.Filters {
		if err := h.SetFilter(time.Now(), 0, f.Group, f.Mode, f.Sources...); err != nil {
			return err
		}
	}
	return watched(ctx, cfg.Interface, linkWatch{
		family: cfg.Host.Family,
		up:     h.Rejoin,
		address: func(_ time.Time, a netip.Addr) {
			if !fixed {
				h.SetAddress(a)
			}
		},
	}, func(ctx context.Context, do <-chan func(time.Time)) error {
		cfg.Run.Do = do
		return RunHost(ctx, h, c, cfg.Run)
	})
}

// maxReportMTU is the largest MTU that is made use of: 64 KB on loopback would
// make packets that no other link carries.
const maxReportMTU = 9000

// ServeConfig says how [Serve] asks.
type ServeConfig struct {
	// Interface is its name. It must be set.
	Interface string
	// Querier is the querier's configuration. Address, when it is zero, follows
	// from the interface.
	Querier QuerierConfig
	// Run says whom to tell; its Do is served beside what Serve itself does.
	Run RunConfig[QuerierEvent]
	// Ready, if it is not nil, hears the Querier before it is started. What it does
	// with it later must be done on the engine's goroutine: in Event or by Do.
	Ready func(*Querier)
}

// Serve is a querier on an interface until ctx ends: it takes part in the
// election, asks when it wins, and knows who listens. When the link comes back or
// the address changes, it begins again. This machine's own kernel is asked like
// any other host, unless the interface has no address to ask from.
//
// It needs CAP_NET_RAW. It returns the cause of ctx's end, or an error that wraps
// one of those of [Open].
func Serve(ctx context.Context, cfg ServeConfig) error {
	cfg.Querier.Family = cfg.Querier.Family.orIPv4()
	c, err := Open(context.WithoutCancel(ctx), cfg.Interface, cfg.Querier.Family)
	if err != nil {
		return err
	}
	defer c.Close()
	fixed := cfg.Querier.Address.IsValid()
	if !fixed {
		cfg.Querier.Address = c.Addr(cfg.Querier.Family)
	}
	q, err := NewQuerier(cfg.Querier)
	if err != nil {
		return err
	}
	if cfg.Ready != nil {
		cfg.Ready(q)
	}
	return watched(ctx, cfg.Interface, linkWatch{
		family: cfg.Querier.Family,
		calls:  cfg.Run.Do,
		up:     q.Start,
		address: func(now time.Time, a netip.Addr) {
			if !fixed {
				q.SetAddress(now, a)
			}
		},
	}, func(ctx context.Context, do <-chan func(time.Time)) error {
		cfg.Run.Do = do
		return RunQuerier(ctx, q, c, cfg.Run)
	})
}

// linkWatch is what an engine wants to hear of its link, on its own goroutine.
type linkWatch struct {
	family  Family
	calls   <-chan func(time.Time) // of the user, passed on
	up      func(now time.Time)    // the link is back
	address func(now time.Time, a netip.Addr)

	down bool
	addr netip.Addr
}

// watched runs an engine while it watches the interface called name.
func watched(ctx context.Context, name string, w linkWatch, engine func(context.Context, <-chan func(time.Time)) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	do, ended := make(chan func(time.Time)), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := netif.Watch(ctx, func(e netif.Event) {
			if f := w.see(name, e); f != nil {
				_ = loop.Call(ctx, do, ended, f)
			}
			if e.Kind == netif.Removed && e.Interface.Name == name {
				fail(fmt.Errorf("igmp: %s: %w any more", name, ErrNoInterface))
			}
		})
		if ctx.Err() == nil && !errors.Is(err, netif.ErrNotSupported) {
			fail(fmt.Errorf("igmp: watch %s: %w", name, err))
		}
	})
	if w.calls != nil {
		wg.Go(func() {
			for {
				select {
				case f := <-w.calls:
					_ = loop.Call(ctx, do, ended, f)
				case <-ended:
					return
				}
			}
		})
	}
	err := engine(ctx, do)
	close(ended)
	fail(err) // ends the watch when it was the engine that failed
	wg.Wait()
	return err
}

// see returns what is to be done about e, nil for nothing.
func (w *linkWatch) see(name string, e netif.Event) func(now time.Time) {
	if e.Kind == netif.Resumed {
		return w.up
	}
	if e.Interface.Name != name {
		return nil
	}
	back := w.down && e.Interface.Carrier
	w.down = !e.Interface.Carrier
	a := sourceAddr(e.Interface, w.family)
	moved := a != w.addr && e.Kind != netif.Removed
	w.addr = a
	if !back && !moved {
		return nil
	}
	return func(now time.Time) {
		if moved {
			w.address(now, a)
		}
		if back {
			w.up(now)
		}
	}
}

// sourceAddr returns the address of i to send from: of IPv4 the first that wins
// elections, if there is one; of IPv6 the link-local one (RFC 9777 section 5.1.14);
// the zero Addr if there is none.
func sourceAddr(i netif.Interface, family Family) (best netip.Addr) {
	for _, p := range i.Addresses {
		a := p.Addr()
		if FamilyOf(a) == family.orIPv4() && (a.Is4() || a.IsLinkLocalUnicast()) && (!best.IsValid() || electable(a) > electable(best)) {
			best = a
		}
	}
	return best
}
