package index

import (
	"bytes"
	"slices"
	"sync"

	"github.com/aether-lan/aether/store"
)

// Memory is a store.KV in memory. It is safe for concurrent use, like any KV: one
// Txn at a time for a range of keys. Its zero value is not usable; see NewMemory.
type Memory struct {
	mu     sync.RWMutex
	keys   []string // sorted
	values map[string][]byte
}

// NewMemory returns an empty KV.
func NewMemory() *Memory { return &Memory{values: map[string][]byte{}} }

// Get implements store.Reader.
func (m *Memory) Get(key []byte) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	v, ok := m.values[string(key)]
	if !ok {
		return nil, store.ErrNotFound
	}
	return append([]byte{}, v...), nil
}

// between returns the keys in [from, to); to nil is no end.
func (m *Memory) between(from, to []byte) []string {
	i, _ := slices.BinarySearch(m.keys, string(from))
	j := len(m.keys)
	if to != nil {
		j, _ = slices.BinarySearch(m.keys, string(to))
	}
	return m.keys[i:max(i, j)]
}

// Scan implements store.Reader. f may read and change the KV; it sees the keys
// that were there when Scan began.
func (m *Memory) Scan(from, to []byte, f func(key, value []byte) bool) error {
	m.mu.RLock()
	keys := slices.Clone(m.between(from, to))
	values := make([][]byte, len(keys))
	for i, k := range keys {
		values[i] = m.values[k]
	}
	m.mu.RUnlock()
	for i, k := range keys {
		if !f([]byte(k), bytes.Clone(values[i])) {
			break
		}
	}
	return nil
}

// Last implements store.Reader.
func (m *Memory) Last(from, to []byte) (key, value []byte, err error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	keys := m.between(from, to)
	if len(keys) == 0 {
		return nil, nil, store.ErrNotFound
	}
	k := keys[len(keys)-1]
	return []byte(k), append([]byte{}, m.values[k]...), nil
}

// Begin implements store.KV.
func (m *Memory) Begin() store.Txn {
	return &memoryTxn{under: m, over: NewMemory(), gone: map[string]bool{}}
}

// Sync does nothing: memory has nothing to be forced to.
func (m *Memory) Sync() error { return nil }

// Close does nothing.
func (m *Memory) Close() error { return nil }

func (m *Memory) set(key string, value []byte) {
	if _, ok := m.values[key]; !ok {
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Insert(m.keys, i, key)
	}
	m.values[key] = value
}

func (m *Memory) delete(key string) {
	if _, ok := m.values[key]; ok {
		i, _ := slices.BinarySearch(m.keys, key)
		m.keys = slices.Delete(m.keys, i, i+1)
		delete(m.values, key)
	}
}

// memoryTxn lays its changes over the KV below.
type memoryTxn struct {
	under *Memory
	over  *Memory
	gone  map[string]bool
}

func (t *memoryTxn) Get(key []byte) ([]byte, error) {
	if t.gone[string(key)] {
		return nil, store.ErrNotFound
	}
	if v, err := t.over.Get(key); err == nil {
		return v, nil
	}
	return t.under.Get(key)
}

func (t *memoryTxn) Scan(from, to []byte, f func(key, value []byte) bool) error {
	type pair struct{ k, v []byte }
	merged := map[string][]byte{}
	collect := func(k, v []byte) bool { merged[string(k)] = v; return true }
	_ = t.under.Scan(from, to, collect)
	_ = t.over.Scan(from, to, collect)
	var pairs []pair
	for k, v := range merged {
		if !t.gone[k] {
			pairs = append(pairs, pair{[]byte(k), v})
		}
	}
	slices.SortFunc(pairs, func(a, b pair) int { return bytes.Compare(a.k, b.k) })
	for _, p := range pairs {
		if !f(p.k, p.v) {
			break
		}
	}
	return nil
}

func (t *memoryTxn) Last(from, to []byte) (key, value []byte, err error) {
	err = store.ErrNotFound
	_ = t.Scan(from, to, func(k, v []byte) bool { key, value, err = k, v, nil; return true })
	return key, value, err
}

func (t *memoryTxn) Set(key, value []byte) error {
	delete(t.gone, string(key))
	t.over.set(string(key), append([]byte{}, value...))
	return nil
}

func (t *memoryTxn) Delete(key []byte) error {
	t.over.delete(string(key))
	t.gone[string(key)] = true
	return nil
}

func (t *memoryTxn) Commit(bool) error {
	t.under.mu.Lock()
	defer t.under.mu.Unlock()
	for k := range t.gone {
		t.under.delete(k)
	}
	for k, v := range t.over.values {
		t.under.set(k, v)
	}
	t.Discard()
	return nil
}

func (t *memoryTxn) Discard() { t.over, t.gone = NewMemory(), map[string]bool{} }
