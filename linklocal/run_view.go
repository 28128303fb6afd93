package linklocal

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/aether-lan/aether/internal/netif"
)

// view is what the interfaces of the host mean for a claim on one of them.
type view struct {
	link     bool
	routable bool
	resumed  bool           // the machine has just slept
	own      []HardwareAddr // of all interfaces
	taken    []netip.Addr   // on the other interfaces
	here     []netip.Addr   // on this one
}

// has reports whether the address is on the interface.
func (v view) has(a netip.Addr) bool { return slices.Contains(v.here, a) }

// viewer makes views from the events of package netif.
type viewer struct {
	ifname string
	hw     HardwareAddr
	all    map[int]netif.Interface
}

// newViewer returns a viewer that knows the interfaces in all already.
func newViewer(ifname string, hw HardwareAddr, all []netif.Interface) *viewer {
	v := &viewer{ifname: ifname, hw: hw, all: make(map[int]netif.Interface)}
	for _, i := range all {
		v.all[i.Index] = i
	}
	return v
}

// apply returns the view after e. It fails when the claim cannot go on.
func (v *viewer) apply(e netif.Event) (view, error) {
	i := e.Interface
	switch {
	case e.Kind == netif.Resumed:
	case e.Kind == netif.Removed && i.Name == v.ifname:
		return view{}, fmt.Errorf("linklocal: %s was removed: %w", v.ifname, ErrInterface)
	case e.Kind == netif.Removed:
		delete(v.all, i.Index)
	case i.Name == v.ifname && station(i) != v.hw:
		return view{}, fmt.Errorf("linklocal: the hardware address of %s changed from %v to %v: %w", v.ifname, v.hw, station(i), ErrInterface)
	default:
		v.all[i.Index] = i
	}
	out := view{resumed: e.Kind == netif.Resumed}
	for _, i := range v.all {
		if i.Name == v.ifname {
			out.link = i.Carrier
			out.here = ipv4(i)
			out.routable = slices.ContainsFunc(out.here, routable)
			continue
		}
		if h := station(i); h.IsStation() {
			out.own = append(out.own, h)
		}
		out.taken = append(out.taken, ipv4(i)...)
	}
	return out, nil
}

// routable reports whether an address makes a link-local one needless.
func routable(a netip.Addr) bool { return !Prefix.Contains(a) && !a.IsLoopback() }

func ipv4(i netif.Interface) []netip.Addr {
	var out []netip.Addr
	for _, p := range i.Addresses {
		if p.Addr().Is4() {
			out = append(out, p.Addr())
		}
	}
	return out
}

// station returns the hardware address of i, zero if it is not six bytes long.
func station(i netif.Interface) HardwareAddr {
	if len(i.HardwareAddr) != len(HardwareAddr{}) {
		return HardwareAddr{}
	}
	return HardwareAddr(i.HardwareAddr)
}

// stations returns the hardware addresses of all.
func stations(all []netif.Interface) []HardwareAddr {
	var out []HardwareAddr
	for _, i := range all {
		if h := station(i); h.IsStation() {
			out = append(out, h)
		}
	}
	return out
}

// holder returns the interface of this host that has the address.
func holder(all []netif.Interface, addr netip.Addr) (HardwareAddr, bool) {
	for _, i := range all {
		if slices.Contains(ipv4(i), addr) {
			return station(i), true
		}
	}
	return HardwareAddr{}, false
}

// ethernetInterface returns the interface called name if it can carry ARP.
func ethernetInterface(name string) (netif.Interface, HardwareAddr, error) {
	i, err := netif.ByName(name)
	if errors.Is(err, netif.ErrNoInterface) {
		return i, HardwareAddr{}, fmt.Errorf("linklocal: %w: %q", ErrNoInterface, name)
	}
	if err != nil {
		return i, HardwareAddr{}, fmt.Errorf("linklocal: interface %s: %w", name, err)
	}
	hw := station(i)
	if i.Loopback || i.PointToPoint || !hw.IsStation() {
		return i, hw, fmt.Errorf("linklocal: %s: %w: not an Ethernet interface", name, ErrInterface)
	}
	return i, hw, nil
}
