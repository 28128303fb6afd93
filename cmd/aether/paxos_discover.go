package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/replica"
)

// paxosService is what nodes of clusters offer.
const paxosService = "_aether-paxos._tcp"

// discoverPeers offers this node and looks for the others until all of the new
// cluster are there. stop takes the offer back.
func discoverPeers(c *cli.Context, cfg *replica.Config, out *printer) (stop func(), err error) {
	port := uint16(cfg.Listener.Addr().(*net.TCPAddr).Port)
	size := c.Int("size")
	zc := dnssd.Config{Interfaces: c.StringSlice("interface")}
	offer, err := dnssd.Register(context.WithoutCancel(c.Context), dnssd.Instance{
		Name: fmt.Sprintf("%s %v", cfg.Cluster, cfg.ID), Service: paxosService, Port: port,
		TXT: dnssd.TXT{{Key: "cluster", Value: []byte(cfg.Cluster)}, {Key: "id", Value: []byte(cfg.ID.String())}},
	}, zc)
	if err != nil {
		return nil, err
	}
	stop = func() { _ = offer.Close() }
	cfg.Members = map[paxos.NodeID]netip.AddrPort{cfg.ID: netip.AddrPortFrom(netip.IPv6Unspecified(), port)}
	_ = out.event("looking", fmt.Sprintf("looking for nodes 1 to %d of cluster %s", size, cfg.Cluster), "size", size, "cluster", cfg.Cluster)
	for ev, err := range dnssd.Browse(c.Context, paxosService, zc) {
		if err != nil {
			stop()
			return nil, err
		}
		id, at, ok := discovered(ev, cfg.Cluster)
		if !ok || id == cfg.ID || id > paxos.NodeID(size) {
			continue
		}
		if _, known := cfg.Members[id]; !known {
			_ = out.event("found", fmt.Sprintf("found node %v at %v", id, at), "id", uint64(id), "address", at.String())
		}
		cfg.Members[id] = at
		if len(cfg.Members) == size {
			break
		}
	}
	if len(cfg.Members) < size && len(cfg.Members) != size {
		stop()
		if c.Context.Err() != nil {
			return nil, context.Cause(c.Context)
		}
		return nil, errors.New("the search for nodes ended")
	}
	return stop, nil
}

// discovered returns which node of a cluster an event tells of, and where it is.
func discovered(ev dnssd.Event, cluster string) (id paxos.NodeID, at netip.AddrPort, ok bool) {
	i := ev.Instance
	if ev.Op == dnssd.Remove || i.Port == 0 || len(i.Addresses) == 0 {
		return 0, at, false
	}
	for _, a := range i.TXT {
		switch a.Key {
		case "cluster":
			ok = string(a.Value) == cluster
		case "id":
			n, err := strconv.ParseUint(string(a.Value), 10, 64)
			if err != nil {
				return 0, at, false
			}
			id = paxos.NodeID(n)
		}
	}
	best := i.Addresses[0]
	for _, a := range i.Addresses { // IPv4 first: it needs no zone
		if a.Is4() && !best.Is4() {
			best = a
		}
	}
	return id, netip.AddrPortFrom(best, i.Port), ok && id != 0
}
