package kv

import (
	"bytes"
	"iter"
	"slices"
	"sync"

	"github.com/aether-lan/aether/paxos"
)

// Memory is a Store that is gone with the process. Its zero value is empty.
type Memory struct {
	mu      sync.RWMutex
	slot    paxos.Slot
	members paxos.Membership
	pairs   []pair // in the order of keys
}

type pair struct{ key, value []byte }

var _ Store = (*Memory)(nil)

func (m *Memory) find(key []byte) (int, bool) {
	return slices.BinarySearchFunc(m.pairs, key, func(p pair, key []byte) int { return bytes.Compare(p.key, key) })
}

// Applied implements Store.
func (m *Memory) Applied() (paxos.Slot, paxos.Membership) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.slot, m.members
}

// Get implements Store.
func (m *Memory) Get(key []byte) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if i, ok := m.find(key); ok {
		return append([]byte{}, m.pairs[i].value...), nil
	}
	return nil, nil
}

// Scan implements Store.
func (m *Memory) Scan(from, to []byte, f func(key, value []byte) bool) error {
	m.mu.RLock()
	i, _ := m.find(from)
	pairs := slices.Clone(m.pairs[i:])
	m.mu.RUnlock()
	for _, p := range pairs {
		if to != nil && bytes.Compare(p.key, to) >= 0 || !f(p.key, p.value) {
			break
		}
	}
	return nil
}

// Apply implements Store.
func (m *Memory) Apply(slot paxos.Slot, members paxos.Membership, writes iter.Seq2[[]byte, []byte]) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, v := range writes {
		i, ok := m.find(k)
		switch {
		case v == nil && ok:
			m.pairs = slices.Delete(m.pairs, i, i+1)
		case v == nil:
		case ok:
			m.pairs[i].value = bytes.Clone(v)
		default:
			m.pairs = slices.Insert(m.pairs, i, pair{bytes.Clone(k), append([]byte{}, v...)})
		}
	}
	m.slot, m.members = slot, members
	return nil
}
