package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
)

// system is a running cluster of three, seen from its leader.
type system interface {
	// do has a command chosen and applied, and returns the answer.
	do(ctx context.Context, c kv.Command) (kv.Result, error)
	// read reads a key, linearizably.
	read(ctx context.Context, key []byte) (kv.Value, error)
	// syncs returns how many records the replica with the most has synced, 0 when that is
	// not known.
	syncs() uint64
	close() error
}

// replicas of each system.
const replicas = 3

// systems are how to start each; dir is empty and its own.
var systems = map[string]func(ctx context.Context, dir string) (system, error){
	"aether":              startAether,
	"etcd-async":          func(ctx context.Context, dir string) (system, error) { return startEtcd(ctx, dir, true) },
	"etcd-sync":           func(ctx context.Context, dir string) (system, error) { return startEtcd(ctx, dir, false) },
	"hashicorp-wal":       func(ctx context.Context, dir string) (system, error) { return startHashicorp(ctx, dir, openWAL, 64) },
	"hashicorp-bolt":      func(ctx context.Context, dir string) (system, error) { return startHashicorp(ctx, dir, openBolt, 64) },
	"hashicorp-wal-1024":  func(ctx context.Context, dir string) (system, error) { return startHashicorp(ctx, dir, openWAL, 1024) },
	"hashicorp-bolt-1024": func(ctx context.Context, dir string) (system, error) { return startHashicorp(ctx, dir, openBolt, 1024) },
}

func systemNames() []string { return slices.Sorted(maps.Keys(systems)) }

// session is a client of a system.
type session struct {
	sys    system
	id     kv.Client
	number uint64
	key    []byte
	value  [16]byte
}

// newSession begins session i.
func newSession(ctx context.Context, sys system, i int) (*session, error) {
	s := &session{sys: sys, key: fmt.Appendf(nil, "bench/%d", i)}
	binary.BigEndian.PutUint64(s.id[:], uint64(i)+1)
	_, err := sys.do(ctx, kv.Command{Op: kv.Begin, Client: s.id})
	return s, err
}

// write makes one command.
func (s *session) write(ctx context.Context) error {
	s.number++
	binary.BigEndian.PutUint64(s.value[:], s.number)
	r, err := s.sys.do(ctx, kv.Command{Op: kv.Put, Client: s.id, Number: s.number, Key: s.key, Value: s.value[:]})
	if err != nil {
		return err
	}
	return r.Code.Err()
}

// read reads the key, which must have what was written last.
func (s *session) read(ctx context.Context) error {
	v, err := s.sys.read(ctx, s.key)
	if err == nil && (len(v.Value) != 16 || binary.BigEndian.Uint64(v.Value) != s.number) {
		err = fmt.Errorf("session %x: read %x after write %d", s.id, v.Value, s.number)
	}
	return err
}

// nodeIDs are 1 to replicas.
func nodeIDs() (list []paxos.NodeID) {
	for i := range replicas {
		list = append(list, paxos.NodeID(i+1))
	}
	return list
}
