package tree_test

import (
	"bytes"
	"slices"
	"strings"

	"github.com/aether-lan/aether/store"
)

// memory is a small sorted KV for tests. Its one Txn writes through and remembers
// how to undo.
type memory struct {
	keys   []string
	values map[string][]byte
}

func newMemory() *memory { return &memory{values: map[string][]byte{}} }

func (m *memory) Get(key []byte) ([]byte, error) {
	v, ok := m.values[string(key)]
	if !ok {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(v), nil
}

func (m *memory) between(from, to []byte) []string {
	i, _ := slices.BinarySearch(m.keys, string(from))
	j := len(m.keys)
	if to != nil {
		j, _ = slices.BinarySearch(m.keys, string(to))
	}
	return m.keys[i:max(i, j)]
}

func (m *memory) Scan(from, to []byte, f func(key, value []byte) bool) error {
	for _, k := range m.between(from, to) {
		if !f([]byte(k), bytes.Clone(m.values[k])) {
			break
		}
	}
	return nil
}

func (m *memory) Last(from, to []byte) (key, value []byte, err error) {
	keys := m.between(from, to)
	if len(keys) == 0 {
		return nil, nil, store.ErrNotFound
	}
	k := keys[len(keys)-1]
	return []byte(k), bytes.Clone(m.values[k]), nil
}

func (m *memory) set(k string, v []byte) {
	if _, ok := m.values[k]; !ok {
		i, _ := slices.BinarySearch(m.keys, k)
		m.keys = slices.Insert(m.keys, i, strings.Clone(k))
	}
	m.values[k] = v
}

func (m *memory) delete(k string) {
	if i, ok := slices.BinarySearch(m.keys, k); ok {
		m.keys = slices.Delete(m.keys, i, i+1)
		delete(m.values, k)
	}
}

func (m *memory) Begin() store.Txn { return &memoryTxn{memory: m} }

type memoryTxn struct {
	*memory
	undo []func()
}

func (t *memoryTxn) remember(k string) {
	old, ok := t.values[k]
	t.undo = append(t.undo, func() {
		if ok {
			t.set(k, old)
		} else {
			t.delete(k)
		}
	})
}

func (t *memoryTxn) Set(key, value []byte) error {
	t.remember(string(key))
	t.set(string(key), bytes.Clone(value))
	return nil
}

func (t *memoryTxn) Delete(key []byte) error {
	t.remember(string(key))
	t.delete(string(key))
	return nil
}

func (t *memoryTxn) Commit(bool) error { t.undo = nil; return nil }

func (t *memoryTxn) Discard() {
	for _, f := range slices.Backward(t.undo) {
		f()
	}
	t.undo = nil
}
