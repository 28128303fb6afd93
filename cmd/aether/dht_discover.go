package main

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht/peer"
	"github.com/aether-lan/aether/dnssd"
)

// dhtService is what nodes of rings offer.
const dhtService = "_aether-dht._tcp"

// dhtDiscover offers the node, and has it join the nodes of the same ring that it finds,
// until the command ends. stop takes the offer back.
func dhtDiscover(c *cli.Context, n *peer.Node, wg *sync.WaitGroup) (stop func(), err error) {
	zc := dnssd.Config{Interfaces: c.StringSlice("interface")}
	ring, id := c.String("ring"), peer.Space().Format(n.Self().ID)
	offer, err := dnssd.Register(context.WithoutCancel(c.Context), dnssd.Instance{
		Name: fmt.Sprintf("%s %s", ring, shortID(id)), Service: dhtService, Port: n.Addr().Port(),
		TXT: dnssd.TXT{{Key: "ring", Value: []byte(ring)}, {Key: "id", Value: []byte(id)}},
	}, zc)
	if err != nil {
		return nil, err
	}
	wg.Go(func() {
		for ev, err := range dnssd.Browse(c.Context, dhtService, zc) {
			if err != nil {
				fmt.Fprintln(c.App.ErrWriter, "aether: the search for nodes ended:", err)
				return
			}
			if at, ok := discoveredRing(ev, ring, id); ok {
				n.Join(at)
			}
		}
	})
	return func() { _ = offer.Close() }, nil
}

// discoveredRing returns where a node of a ring is that an event tells of, other than self.
func discoveredRing(ev dnssd.Event, ring, self string) (at netip.AddrPort, ok bool) {
	i := ev.Instance
	if ev.Op == dnssd.Remove || i.Port == 0 || len(i.Addresses) == 0 {
		return at, false
	}
	for _, a := range i.TXT {
		switch a.Key {
		case "ring":
			ok = string(a.Value) == ring
		case "id":
			if string(a.Value) == self {
				return at, false
			}
		}
	}
	best := i.Addresses[0]
	for _, a := range i.Addresses { // IPv4 first: it needs no zone
		if a.Is4() && !best.Is4() {
			best = a
		}
	}
	return netip.AddrPortFrom(best, i.Port), ok
}
