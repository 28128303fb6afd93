package multicast

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/aether-lan/aether/internal/netif"
)

// ErrNoInterface says that no interface can carry multicast.
var ErrNoInterface = errors.New("no interface that is up, can multicast and has an address")

// Interfaces returns the interfaces that multicast can use, the one to prefer
// first: those that are up, can multicast and have an address, beginning with the
// one that the default route leaves by, then those whose cable is in, then by
// index. The loopback interface is returned when there is nothing else, and an
// error that wraps [ErrNoInterface] when there is not even that.
func Interfaces() ([]net.Interface, error) { return interfacesFor(0) }

// DefaultInterface returns the interface that a program uses which was not told
// one: the first of [Interfaces] that has an address of family. Family zero asks
// for an address of either.
func DefaultInterface(family Family) (net.Interface, error) {
	all, err := interfacesFor(family)
	if err != nil {
		return net.Interface{}, err
	}
	return all[0], nil
}

func interfacesFor(family Family) ([]net.Interface, error) {
	all, err := netif.List()
	if err != nil {
		return nil, fmt.Errorf("multicast: interfaces: %w", err)
	}
	found := choose(all, family, defaultSources())
	if len(found) == 0 {
		return nil, fmt.Errorf("multicast: interfaces: %w", ErrNoInterface)
	}
	list := make([]net.Interface, 0, len(found))
	for _, f := range found {
		if ifi, err := net.InterfaceByIndex(f.Index); err == nil { // else it went away meanwhile
			list = append(list, *ifi)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("multicast: interfaces: %w", ErrNoInterface)
	}
	return list, nil
}

// choose picks from all what can carry family, best first. sources are addresses
// that this machine's default routes send from.
func choose(all []netif.Interface, family Family, sources []netip.Addr) []netif.Interface {
	can := func(i netif.Interface) bool {
		return i.Up && (i.Multicast || i.Loopback) && slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool {
			return family == 0 || FamilyOf(p.Addr()) == family
		})
	}
	rank := func(i netif.Interface) int {
		switch {
		case slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return slices.Contains(sources, p.Addr()) }):
			return 0
		case i.Carrier:
			return 1
		}
		return 2
	}
	var found, loopback []netif.Interface
	for _, i := range all {
		switch {
		case !can(i):
		case i.Loopback:
			loopback = append(loopback, i)
		default:
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return loopback
	}
	slices.SortStableFunc(found, func(a, b netif.Interface) int {
		return cmp.Or(rank(a)-rank(b), a.Index-b.Index)
	})
	return found
}

// defaultSources returns the addresses that datagrams to far away would leave
// from. Connecting a UDP socket makes the system choose a route and sends nothing;
// the destinations are those of documentation (RFC 5737, RFC 3849).
func defaultSources() (found []netip.Addr) {
	for _, to := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
		if err != nil {
			continue // no default route of that family
		}
		found = append(found, addrPort(c.LocalAddr()).Addr().WithZone(""))
		_ = c.Close()
	}
	return found
}
