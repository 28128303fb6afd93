package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/replica"
)

// paxosService is what nodes of clusters offer.
const paxosService = "_aether-paxos._tcp"

// discoverPatience is how long a node that was in a cluster before looks for the
// others: it knows where they were, and some may be gone.
const discoverPatience = 3 * time.Second

// discoverPeers offers this node and looks for the others: for all of a new cluster,
// or for one if this node joins. stop takes the offer back.
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
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	_, err = os.Stat(filepath.Join(cfg.Dir, "identity"))
	again := err == nil
	if again {
		ctx, cancel = context.WithTimeout(ctx, discoverPatience)
		defer cancel()
	}
	_ = out.event("looking", fmt.Sprintf("looking for nodes 1 to %d of cluster %s", size, cfg.Cluster), "size", size, "cluster", cfg.Cluster)
	cfg.Members = map[paxos.NodeID]netip.AddrPort{}
	for ev, err := range dnssd.Browse(ctx, paxosService, zc) {
		if err != nil && ctx.Err() == nil {
			stop()
			return nil, err
		}
		if id, at, ok := discovered(ev, cfg.Cluster); err == nil && ok && (id <= paxos.NodeID(size) || cfg.Join) {
			if _, known := cfg.Members[id]; !known && id != cfg.ID {
				_ = out.event("found", fmt.Sprintf("found node %v at %v", id, at), "id", uint64(id), "address", at.String())
			}
			cfg.Members[id] = at // this node's, too: others must be able to reach it there
		}
		if foundEnough(*cfg, size) {
			break
		}
	}
	if c.Context.Err() != nil {
		stop()
		return nil, context.Cause(c.Context)
	}
	switch {
	case foundEnough(*cfg, size):
	case again: // who they are is on the disk
		cfg.Join = true
	default:
		stop()
		return nil, errors.New("the search for nodes ended")
	}
	if cfg.Join {
		delete(cfg.Members, cfg.ID)
	}
	return stop, nil
}

// foundEnough reports whether the nodes that were found are all of a new cluster, or
// one of that which this node joins.
func foundEnough(cfg replica.Config, size int) bool {
	if !cfg.Join {
		return len(cfg.Members) == size
	}
	_, self := cfg.Members[cfg.ID]
	return len(cfg.Members) > 1 || len(cfg.Members) == 1 && !self
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
