package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	wal "github.com/hashicorp/raft-wal"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
)

// store is what hashicorp/raft keeps its log and its votes in.
type store interface {
	raft.LogStore
	raft.StableStore
	io.Closer
}

func openBolt(dir string) (store, error) {
	return raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db")})
}

func openWAL(dir string) (store, error) { return wal.Open(dir) }

// hashicorp is a cluster of hashicorp/raft.
type hashicorp struct {
	nodes  []*hashicorpNode
	leader *hashicorpNode
}

type hashicorpNode struct {
	raft    *raft.Raft
	store   store
	network *raft.NetworkTransport
	machine *machine
}

func startHashicorp(ctx context.Context, dir string, open func(dir string) (store, error), batch int) (system, error) {
	h := &hashicorp{}
	var all raft.Configuration
	for _, id := range nodeIDs() {
		n, err := newHashicorpNode(filepath.Join(dir, id.String()), id, open, batch)
		if err != nil {
			return nil, errors.Join(err, h.close())
		}
		h.nodes = append(h.nodes, n)
		all.Servers = append(all.Servers, raft.Server{ID: raft.ServerID(id.String()), Address: n.network.LocalAddr()})
	}
	for _, n := range h.nodes {
		if err := n.raft.BootstrapCluster(all).Error(); err != nil {
			return nil, errors.Join(err, h.close())
		}
	}
	end := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, n := range h.nodes {
			if n.raft.State() == raft.Leader && n.raft.Barrier(10*time.Second).Error() == nil {
				h.leader = n
				return h, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), h.close())
		case <-end:
			return nil, errors.Join(errors.New("hashicorp: no leader"), h.close())
		}
	}
}

func newHashicorpNode(dir string, id paxos.NodeID, open func(dir string) (store, error), batch int) (*hashicorpNode, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	n := &hashicorpNode{machine: &machine{}}
	var err error
	if n.machine.kv, err = kv.New(&kv.Memory{}, kv.Limits{}); err != nil {
		return nil, err
	}
	if n.store, err = open(dir); err != nil {
		return nil, err
	}
	cached, err := raft.NewLogCache(max(512, 2*batch), n.store)
	if err != nil {
		return nil, err
	}
	if n.network, err = raft.NewTCPTransport("127.0.0.1:0", nil, 3, 10*time.Second, io.Discard); err != nil {
		return nil, err
	}
	cfg := raft.DefaultConfig()
	cfg.LocalID, cfg.Logger = raft.ServerID(id.String()), hclog.NewNullLogger()
	cfg.BatchApplyCh, cfg.MaxAppendEntries = true, batch
	n.raft, err = raft.NewRaft(cfg, n.machine, cached, n.store, raft.NewInmemSnapshotStore(), n.network)
	return n, err
}

func (h *hashicorp) do(_ context.Context, c kv.Command) (kv.Result, error) {
	c.Time = time.Now()
	f := h.leader.raft.Apply(c.Append(nil), 10*time.Second)
	if err := f.Error(); err != nil {
		return kv.Result{}, err
	}
	r, ok := f.Response().(kv.Result)
	if !ok {
		return kv.Result{}, fmt.Errorf("hashicorp: answer %v", f.Response())
	}
	return r, nil
}

// read is the recipe for linearizable reads: the index is that of what was applied
// before the leader was verified.
func (h *hashicorp) read(_ context.Context, key []byte) (kv.Value, error) {
	if err := h.leader.raft.VerifyLeader().Error(); err != nil {
		return kv.Value{}, err
	}
	v, _, err := h.leader.machine.kv.Get(key)
	return v, err
}

func (h *hashicorp) syncs() uint64 { return 0 }

func (h *hashicorp) close() (err error) {
	for _, n := range h.nodes {
		err = errors.Join(err, n.raft.Shutdown().Error(), n.network.Close(), n.store.Close())
	}
	return err
}

// machine is the state machine of a node.
type machine struct {
	mu   sync.Mutex
	kv   *kv.Machine
	slot paxos.Slot // counts commands: raft's indices have gaps for what is none
}

var _ raft.BatchingFSM = (*machine)(nil)

// Apply implements raft.FSM.
func (m *machine) Apply(l *raft.Log) any { return m.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch implements raft.BatchingFSM.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	m.mu.Lock()
	defer m.mu.Unlock()
	answers := make([]any, len(logs))
	var list []paxos.Entry
	var at []int
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			m.slot++
			list, at = append(list, paxos.Entry{Slot: m.slot, Value: l.Data}), append(at, i)
		}
	}
	done, err := m.kv.Apply(list)
	for k, i := range at {
		answers[i] = err
		if err == nil {
			answers[i] = done[k].Result
		}
	}
	return answers
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }

// Restore implements raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error { return r.Close() }

// nothing is an empty snapshot.
type nothing struct{}

// Persist implements raft.FSMSnapshot.
func (nothing) Persist(s raft.SnapshotSink) error { return s.Close() }

// Release implements raft.FSMSnapshot.
func (nothing) Release() {}
