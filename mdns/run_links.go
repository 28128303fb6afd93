package mdns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/aether-lan/aether/internal/netif"
)

// follow keeps the Node's links as the machine's interfaces are, until ctx ends.
func (n *Node) follow(ctx context.Context, network network) {
	err := network.watch(ctx, func(ev netif.Event) {
		switch ev.Kind {
		case netif.Removed:
			n.drop(ctx, ev.Interface.Index)
		case netif.Resumed:
			n.restart(ctx, 0)
		case netif.Added, netif.Changed:
			n.adjust(ctx, network, ev.Interface)
		case netif.CarrierDown:
			_ = n.call(ctx, func(now time.Time) { n.host.LinkLost(now, ev.Interface.Index) })
		case netif.CarrierUp:
			n.adjust(ctx, network, ev.Interface)
			n.restart(ctx, ev.Interface.Index)
		}
	})
	if ctx.Err() == nil {
		n.cfg.Logger.Error("mdns: changes of interfaces go unseen from now on", "error", err)
	}
}

// checkNames fails when an interface that was asked for is not there.
func (n *Node) checkNames(all []netif.Interface) error {
	for _, name := range n.cfg.Interfaces {
		if !slices.ContainsFunc(all, func(i netif.Interface) bool { return i.Name == name }) {
			return fmt.Errorf("interface %q: %w", name, netif.ErrNoInterface)
		}
	}
	return nil
}

// wanted reports whether the configuration asks for ifi.
func (n *Node) wanted(ifi netif.Interface) bool {
	if len(n.cfg.Interfaces) > 0 {
		return ifi.Up && slices.Contains(n.cfg.Interfaces, ifi.Name)
	}
	return ifi.Up && ifi.Multicast && !ifi.Loopback && !ifi.PointToPoint
}

// adjust opens and closes sockets as ifi's state asks for, and tells the Host. A
// family is served while the interface has an address of it to send from: an
// IPv4 address, an IPv6 link-local address. Records follow the addresses.
func (n *Node) adjust(ctx context.Context, network network, ifi netif.Interface) {
	link := Link{Index: ifi.Index, Name: ifi.Name, MTU: ifi.MTU}
	if n.wanted(ifi) {
		link.IPv4 = n.cfg.IPv4 && slices.ContainsFunc(ifi.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() })
		link.IPv6 = n.cfg.IPv6 && slices.ContainsFunc(ifi.Addresses, func(p netip.Prefix) bool {
			return p.Addr().Is6() && (p.Addr().IsLinkLocalUnicast() || ifi.Loopback)
		})
	}
	for _, p := range ifi.Addresses {
		if p.Addr().Is4() && n.cfg.IPv4 || p.Addr().Is6() && n.cfg.IPv6 {
			link.Addresses = append(link.Addresses, p)
		}
	}
	if !link.IPv4 && !link.IPv6 {
		n.drop(ctx, ifi.Index) // says goodbye, so before the sockets close
		return
	}
	link.Unicast = true
	link.IPv4 = n.serve(ctx, network, ifi, link.IPv4, group4, &link.Unicast)
	link.IPv6 = n.serve(ctx, network, ifi, link.IPv6, group6, &link.Unicast)
	if !link.IPv4 && !link.IPv6 {
		n.drop(ctx, ifi.Index)
		return
	}
	link.Shared = n.shared
	_ = n.call(ctx, func(now time.Time) { n.host.SetLink(now, link) })
}

// coexist notes that w, just opened, found another program on the port. A family's
// first wire alone can tell: the later ones may have found that one.
func (n *Node) coexist(w wire, first bool) {
	if n.shared || !first || !w.Shared() {
		return
	}
	n.shared = true
	n.cfg.Logger.Info("mdns: another program is bound to port 5353 too, so no unicast answers are asked for (RFC 6762 section 15.1)")
}

// serve opens or closes the wire of one group and reports whether it is open.
func (n *Node) serve(ctx context.Context, network network, ifi netif.Interface, want bool, group netip.AddrPort, unicast *bool) bool {
	at := place{ifi.Index, group.Addr().Is6()}
	w, open := n.wires.has(at)
	if !want {
		if open {
			n.wires.remove(at)
		}
		return false
	}
	if !open {
		var err error
		if w, err = network.join(ctx, ifi, group); err != nil {
			n.cfg.Logger.Warn("mdns: cannot use interface", "interface", ifi.Name, "group", group.Addr(), "error", err)
			return false
		}
		n.coexist(w, n.wires.none(at.six))
		n.wires.add(at, w)
	}
	*unicast = *unicast && w.Unicast()
	return true
}

// drop takes an interface away.
func (n *Node) drop(ctx context.Context, index int) {
	_ = n.call(ctx, func(now time.Time) { n.host.RemoveLink(now, index) })
	// The loop sends between two calls: once it takes this one the goodbyes are out.
	_ = n.call(ctx, func(time.Time) {})
	n.wires.remove(place{index, false})
	n.wires.remove(place{index, true})
}

func (n *Node) restart(ctx context.Context, index int) {
	_ = n.call(ctx, func(now time.Time) { n.host.Restart(now, index) })
}
