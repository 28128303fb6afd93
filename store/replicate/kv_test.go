package replicate

import (
	"bytes"
	"maps"
	"slices"

	"github.com/aether-lan/aether/store"
)

// memory is a store.KV for tests: a map, and sorting whenever it is asked.
type memory struct{ m map[string][]byte }

func newMemory() *memory { return &memory{make(map[string][]byte)} }

func (k *memory) Get(key []byte) ([]byte, error) {
	v, ok := k.m[string(key)]
	if !ok {
		return nil, store.ErrNotFound
	}
	return bytes.Clone(v), nil
}

func (k *memory) Scan(from, to []byte, f func(key, value []byte) bool) error {
	for _, key := range slices.Sorted(maps.Keys(k.m)) {
		if key < string(from) || to != nil && key >= string(to) {
			continue
		}
		b := []byte(key)
		v := bytes.Clone(k.m[key])
		more := f(b, v)
		clear(b) // the slices are f's only until it returns
		clear(v)
		if !more {
			break
		}
	}
	return nil
}

func (k *memory) Last(from, to []byte) (key, value []byte, err error) {
	err = store.ErrNotFound
	k.Scan(from, to, func(a, b []byte) bool {
		key, value, err = bytes.Clone(a), bytes.Clone(b), nil
		return true
	})
	return key, value, err
}

func (k *memory) Begin() store.Txn { return &memoryTxn{memory{maps.Clone(k.m)}, k} }

type memoryTxn struct {
	memory
	under *memory
}

func (t *memoryTxn) Set(key, value []byte) error {
	t.m[string(key)] = bytes.Clone(value)
	return nil
}
func (t *memoryTxn) Delete(key []byte) error { delete(t.m, string(key)); return nil }
func (t *memoryTxn) Commit(bool) error       { t.under.m = t.m; return nil }
func (t *memoryTxn) Discard()                {}
