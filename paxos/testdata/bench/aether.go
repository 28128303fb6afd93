package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/replica"
)

// aether is a cluster of paxos/replica.
type aether struct {
	nodes  map[paxos.NodeID]*replica.Replica
	leader *replica.Replica
	stop   context.CancelFunc
	ended  chan error
}

func startAether(ctx context.Context, dir string) (system, error) {
	ctx, stop := context.WithCancel(ctx)
	a := &aether{nodes: map[paxos.NodeID]*replica.Replica{}, stop: stop, ended: make(chan error, replicas)}
	listeners, members, err := listenAll()
	if err != nil {
		stop()
		return nil, err
	}
	for _, id := range nodeIDs() {
		r, err := replica.Open(ctx, replica.Config{
			ID: id, Dir: filepath.Join(dir, id.String()), Listener: listeners[id], Members: members, Secret: []byte("bench"), Reserve: -1,
		})
		if err != nil {
			return nil, errors.Join(err, a.close())
		}
		a.nodes[id] = r
		go func() { a.ended <- r.Run(ctx) }()
	}
	return a, a.elect(ctx)
}

// listenAll makes a listener for each node.
func listenAll() (map[paxos.NodeID]net.Listener, map[paxos.NodeID]netip.AddrPort, error) {
	listeners, members := map[paxos.NodeID]net.Listener{}, map[paxos.NodeID]netip.AddrPort{}
	for _, id := range nodeIDs() {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		listeners[id], members[id] = ln, netip.MustParseAddrPort(ln.Addr().String())
	}
	return listeners, members, nil
}

// elect waits for a leader that all others follow.
func (a *aether) elect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, r := range a.nodes {
			s, err := r.Status(ctx)
			if err != nil {
				return err
			}
			if s.Role == paxos.Leading && len(s.Connected) == replicas-1 {
				a.leader = r
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("aether: no leader: %w", ctx.Err())
		}
	}
}

func (a *aether) do(ctx context.Context, c kv.Command) (kv.Result, error) { return a.leader.Do(ctx, c) }

func (a *aether) read(ctx context.Context, key []byte) (kv.Value, error) {
	v, _, err := a.leader.Get(ctx, key)
	return v, err
}

func (a *aether) syncs() (most uint64) {
	for _, r := range a.nodes {
		if s, err := r.Status(context.Background()); err == nil {
			most = max(most, s.Disk.Syncs)
		}
	}
	return most
}

func (a *aether) close() error {
	a.stop()
	var err error
	for _, r := range a.nodes {
		if e := <-a.ended; !errors.Is(e, context.Canceled) {
			err = errors.Join(err, e)
		}
		r.Wait()
	}
	return err
}
