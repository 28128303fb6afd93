package chat

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/aether-lan/aether/internal/netif"
)

// follower keeps the group joined on the interfaces that cfg asks for, as they
// come and go.
type follower struct {
	cfg   Config
	wires *wires
}

// start joins on the interfaces there are. It fails when an interface was asked
// for and cannot be used.
func (f *follower) start(ctx context.Context) error {
	all, err := netif.List()
	if err != nil {
		return err
	}
	for _, name := range f.cfg.Interfaces {
		if !slices.ContainsFunc(all, func(i netif.Interface) bool { return i.Name == name }) {
			return fmt.Errorf("interface %q: %w", name, netif.ErrNoInterface)
		}
	}
	var failed error
	for _, ifi := range all {
		if err := f.adjust(ctx, ifi); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if len(f.cfg.Interfaces) > 0 {
		return failed
	}
	return f.fallBack(ctx, all)
}

// fallBack uses the loopback interface while there is no other, so that members on
// the same machine meet.
func (f *follower) fallBack(ctx context.Context, all []netif.Interface) error {
	if len(f.cfg.Interfaces) > 0 || slices.ContainsFunc(all, func(i netif.Interface) bool { return !i.Loopback && f.wires.has(i.Index) }) {
		return nil
	}
	for _, ifi := range all {
		if ifi.Loopback && ifi.Up && f.hasFamily(ifi) && !f.wires.has(ifi.Index) {
			return f.wires.add(ctx, ifi)
		}
	}
	return nil
}

// wanted reports whether the configuration asks for ifi as it is.
func (f *follower) wanted(ifi netif.Interface) bool {
	if !ifi.Up || !f.hasFamily(ifi) {
		return false
	}
	if len(f.cfg.Interfaces) > 0 {
		return slices.Contains(f.cfg.Interfaces, ifi.Name)
	}
	return ifi.Multicast && !ifi.Loopback && !ifi.PointToPoint
}

// hasFamily reports whether ifi has an address to send from.
func (f *follower) hasFamily(ifi netif.Interface) bool {
	return slices.ContainsFunc(ifi.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() == f.cfg.IPv6 })
}

// adjust joins or leaves as the interface's state asks for.
func (f *follower) adjust(ctx context.Context, ifi netif.Interface) error {
	switch open := f.wires.has(ifi.Index); {
	case !f.wanted(ifi) && open && !ifi.Loopback:
		f.wires.remove(ifi.Index)
	case f.wanted(ifi) && !open:
		if err := f.wires.add(ctx, ifi); err != nil {
			f.cfg.Logger.Warn("chat: cannot use interface", "interface", ifi.Name, "error", err)
			return err
		}
	}
	return nil
}

// follow watches the interfaces until ctx ends. The loopback interface, once in
// use, stays in use.
func (f *follower) follow(ctx context.Context) {
	err := netif.Watch(ctx, func(ev netif.Event) {
		switch ev.Kind {
		case netif.Removed:
			f.wires.remove(ev.Interface.Index)
		case netif.Resumed:
		case netif.CarrierUp: // join again: this may be another switch, which must hear the report
			f.wires.remove(ev.Interface.Index)
			_ = f.adjust(ctx, ev.Interface) // logged
		default:
			_ = f.adjust(ctx, ev.Interface) // logged
		}
	})
	if ctx.Err() == nil {
		f.cfg.Logger.Error("chat: changes of interfaces go unseen from now on", "error", err)
	}
}
