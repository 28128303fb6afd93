//go:build !linux

package netif

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// poll is how often interfaces are looked at; sleepFelt is how far wall and
// monotonic clock must drift apart between two looks to be taken for a sleep.
const (
	poll      = 2 * time.Second
	sleepFelt = 5 * time.Second
)

func list() ([]Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var found []Interface
	for _, ifi := range all {
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		found = append(found, Interface{
			Index:        ifi.Index,
			Name:         ifi.Name,
			HardwareAddr: slices.Clone(ifi.HardwareAddr),
			MTU:          ifi.MTU,
			Up:           ifi.Flags&net.FlagUp != 0,
			Carrier:      ifi.Flags&(net.FlagUp|net.FlagRunning) == net.FlagUp|net.FlagRunning,
			Loopback:     ifi.Flags&net.FlagLoopback != 0,
			Multicast:    ifi.Flags&net.FlagMulticast != 0,
			PointToPoint: ifi.Flags&net.FlagPointToPoint != 0,
			Addresses:    prefixes(addrs),
		})
	}
	slices.SortFunc(found, func(a, b Interface) int { return a.Index - b.Index })
	return found, nil
}

func prefixes(addrs []net.Addr) []netip.Prefix {
	var found []netip.Prefix
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok {
			ones, _ := n.Mask.Size()
			found = append(found, netip.PrefixFrom(ip.Unmap(), ones))
		}
	}
	return sortAddresses(found)
}

func watch(ctx context.Context, heard func(Event)) error {
	var t table
	tick := time.NewTicker(poll)
	defer tick.Stop()
	last := time.Now()
	for {
		found, err := list()
		if err != nil {
			return err
		}
		states := make([]state, len(found))
		for i, f := range found {
			states[i].Interface = f
		}
		for _, e := range t.update(states) {
			heard(e)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := time.Now()
		// Round(0) strips the monotonic reading, which may stand still in sleep.
		// A wall clock set forward looks the same, and does no harm.
		if now.Round(0).Sub(last.Round(0))-poll > sleepFelt {
			heard(Event{Kind: Resumed})
		}
		last = now
	}
}

// refuse names the alternative to configuring from here.
func refuse(how string) error {
	return fmt.Errorf("%w; use %s", ErrNotSupported, how)
}

func addAddress(string, Address) error { return refuse("the system's own tools (ifconfig, netsh)") }

func removeAddress(string, netip.Prefix) error {
	return refuse("the system's own tools (ifconfig, netsh)")
}

func resetConnections(netip.Addr) error    { return ErrNotSupported }
func addDefaultRoute(string, int) error    { return refuse("the system's own tools (route)") }
func removeDefaultRoute(string, int) error { return refuse("the system's own tools (route)") }
func setUp(string) error                   { return refuse("the system's own tools (ifconfig, netsh)") }
