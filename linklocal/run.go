package linklocal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netif"
)

// DefaultMetric is the metric of the default route: worse than that of any
// route with a router behind it.
const DefaultMetric = 10000

// Config says how [Claim] gets and keeps an address.
type Config struct {
	// Interface is the name of the interface. It must be set.
	Interface string
	// Address is the first candidate. Zero means the address in StateDir, or else
	// the first of the sequence that follows from the hardware address.
	Address netip.Addr
	// StateDir is a directory in which the address claimed is remembered, in one
	// file for each hardware address. Empty means that it is not.
	StateDir string
	// Hook is a program that is told what happens; see [Hook]. Empty means none.
	Hook string
	// NoConfigure leaves the interface alone: the address is claimed and
	// defended, and given to it by somebody else.
	NoConfigure bool
	// DefaultRoute sends all traffic without a better route out of the interface
	// while the address is held, with DefaultMetric (RFC 3927 section 2.6.2).
	DefaultRoute bool
	// BroadcastOnly silences the kernel's own unicast ARP replies while the
	// address is the interface's only one; see the package comment.
	BroadcastOnly bool
	// Policy, Linger and Always are those of ClaimerConfig.
	Policy Policy
	Linger time.Duration
	Always bool
	// Event hears what happens, one call at a time. It must not block. Nil drops.
	Event func(Event)
	// Logger hears complaints that do not end the claim. Nil is silent.
	Logger *slog.Logger
}

// Claim gets a link-local address for an interface, puts it there and keeps it
// until ctx ends, then takes it off again. It switches the interface on if it is
// off, and leaves it on. The first announcement leaves 4 to 7
// seconds after the link is up (RFC 3927 section 9). While the interface has no
// link or has a routable address, Claim waits.
//
// It returns context.Cause(ctx), or an error that may wrap [ErrNotPermitted],
// [ErrNotSupported], [ErrNoInterface] or [ErrInterface].
func Claim(ctx context.Context, cfg Config) error {
	ifi, hw, err := ethernetInterface(cfg.Interface)
	if err != nil {
		return err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	first := cfg.Address
	if !first.IsValid() && cfg.StateDir != "" {
		if first, err = Remembered(cfg.StateDir, hw); err != nil {
			cfg.Logger.Warn("remembered address not used", "error", err)
		}
	}
	c, err := NewClaimer(ClaimerConfig{HardwareAddr: hw, First: first, Policy: cfg.Policy, Linger: cfg.Linger, Always: cfg.Always})
	if err != nil {
		return err
	}
	all, err := netif.List()
	if err != nil {
		return fmt.Errorf("linklocal: claim on %s: %w", cfg.Interface, err)
	}
	wire, err := listen(ifi)
	if err != nil {
		return err
	}
	if !ifi.Up && !cfg.NoConfigure {
		if err := netif.SetUp(cfg.Interface); err != nil {
			_ = wire.Close()
			return configureError(err)
		}
	}
	hook := startHook(cfg.Hook, cfg.Interface, hw, cfg.Logger)
	defer hook.stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k := &keeper{cfg: cfg, hw: hw, claimer: c, hook: hook, fail: cancel}
	defer k.cleanUp()
	return k.run(ctx, wire, newViewer(cfg.Interface, hw, all))
}

// run turns the engine, with a second goroutine that watches the interfaces.
func (k *keeper) run(ctx context.Context, wire conn, v *viewer) error {
	do, ended := make(chan func(time.Time)), make(chan struct{})
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		err := netif.Watch(ctx, func(e netif.Event) {
			s, err := v.apply(e)
			if err != nil {
				k.fail(err)
				return
			}
			_ = loop.Call(ctx, do, ended, func(now time.Time) { k.see(now, s) })
		})
		if ctx.Err() == nil {
			k.fail(err)
		}
	}()
	err := loop.Run(ctx, k.claimer, wire, loop.Config[Packet, Event]{
		Do: do, Event: k.hear, Stop: k.claimer.Stop, WriteError: k.writeError,
	})
	close(ended)
	k.fail(err) // ends the watch when it was the loop that failed
	<-watching
	return err
}

func (k *keeper) writeError(p Packet, err error) error {
	if !passing(err) {
		return err
	}
	k.cfg.Logger.Warn("packet not sent", "packet", p.String(), "error", err)
	return nil
}

// Result is what [Probe] found out.
type Result struct {
	Address netip.Addr
	// InUse tells whether another station, or an interface of this host, has the
	// address.
	InUse bool
	// HardwareAddr is that station's; zero when the address is free.
	HardwareAddr HardwareAddr
}

// Probe tests whether any station on the link of an interface has addr, or is
// about to claim it, as RFC 5227 section 2.1.1 says. It takes 4 to 7 seconds
// when the address is free. Any IPv4 address will do. Errors are those of
// [Claim]. The interface needs no address.
func Probe(ctx context.Context, ifname string, addr netip.Addr, event func(Event)) (Result, error) {
	ifi, hw, err := ethernetInterface(ifname)
	if err != nil {
		return Result{}, err
	}
	all, err := netif.List()
	if err != nil {
		return Result{}, fmt.Errorf("linklocal: probe %v: %w", addr, err)
	}
	if by, ok := holder(all, addr); ok {
		return Result{addr, true, by}, nil
	}
	if !ifi.Carrier {
		return Result{}, fmt.Errorf("linklocal: probe %v on %s: %w: no link", addr, ifname, ErrInterface)
	}
	d, err := NewDetector(DetectorConfig{Address: addr, HardwareAddr: hw, Own: stations(all), CheckOnly: true})
	if err != nil {
		return Result{}, err
	}
	wire, err := listen(ifi)
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	res := Result{Address: addr}
	d.Start(time.Now())
	err = loop.Run(ctx, d, wire, loop.Config[Packet, Event]{Event: func(e Event) {
		if event != nil {
			event(e)
		}
		switch e.Kind {
		case EventConflict:
			res.InUse, res.HardwareAddr = true, e.HardwareAddr
			cancel(errProbed)
		case EventFree:
			cancel(errProbed)
		}
	}})
	if errors.Is(err, errProbed) {
		return res, nil
	}
	return Result{}, err
}

// errProbed ends the loop of Probe.
var errProbed = errors.New("linklocal: probed")

// Watch listens on an interface and tells event what [Monitor] reports, until
// ctx ends. It sends nothing. Errors are those of [Claim].
func Watch(ctx context.Context, ifname string, linkLocalOnly bool, event func(Event)) error {
	ifi, _, err := ethernetInterface(ifname)
	if err != nil {
		return err
	}
	wire, err := listen(ifi)
	if err != nil {
		return err
	}
	return loop.Run(ctx, NewMonitor(linkLocalOnly), wire, loop.Config[Packet, Event]{Event: event})
}
