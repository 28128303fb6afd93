package gossip

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/aether-lan/aether/store"
)

// memKV is a KV in memory that can crash: what was not synced since is gone.
type memKV struct {
	now, synced map[string][]byte
	sorted      []string // keys of now, or nil
}

func newMemKV() *memKV { return &memKV{now: map[string][]byte{}, synced: map[string][]byte{}} }

func (k *memKV) sync()  { k.synced = maps.Clone(k.now) }
func (k *memKV) crash() { k.now, k.sorted = maps.Clone(k.synced), nil }

func (k *memKV) keys() []string {
	if k.sorted == nil {
		k.sorted = slices.Sorted(maps.Keys(k.now))
	}
	return k.sorted
}

func (k *memKV) Get(key []byte) ([]byte, error) {
	if v, ok := k.now[string(key)]; ok {
		return bytes.Clone(v), nil
	}
	return nil, store.ErrNotFound
}

func (k *memKV) Scan(from, to []byte, f func(key, value []byte) bool) error {
	keys := k.keys()
	i, _ := slices.BinarySearch(keys, string(from))
	for ; i < len(keys) && (to == nil || keys[i] < string(to)); i++ {
		if !f([]byte(keys[i]), k.now[keys[i]]) {
			return nil
		}
	}
	return nil
}

func (k *memKV) Last(from, to []byte) (key, value []byte, err error) {
	keys := k.keys()
	if to != nil {
		i, _ := slices.BinarySearch(keys, string(to))
		keys = keys[:i]
	}
	if len(keys) == 0 || keys[len(keys)-1] < string(from) {
		return nil, nil, store.ErrNotFound
	}
	last := keys[len(keys)-1]
	return []byte(last), bytes.Clone(k.now[last]), nil
}

func (k *memKV) Begin() store.Txn { return &memTxn{memKV: k, set: map[string][]byte{}} }

// memTxn does not read its own writes, which this package does not need.
type memTxn struct {
	*memKV
	set map[string][]byte
}

func (t *memTxn) Set(key, value []byte) error {
	t.set[string(key)] = append([]byte{}, value...)
	return nil
}

func (t *memTxn) Delete(key []byte) error { t.set[string(key)] = nil; return nil }

func (t *memTxn) Commit(sync bool) error {
	for k, v := range t.set {
		_, known := t.now[k]
		if v == nil {
			delete(t.now, k)
		} else {
			t.now[k] = v
		}
		if t.sorted != nil && known != (v != nil) {
			i, _ := slices.BinarySearch(t.sorted, k)
			if v == nil {
				t.sorted = slices.Delete(t.sorted, i, i+1)
			} else {
				t.sorted = slices.Insert(t.sorted, i, k)
			}
		}
	}
	t.set = nil
	if sync {
		t.memKV.sync()
	}
	return nil
}

func (t *memTxn) Discard() { t.set = nil }

func TestMemKV_CrashForgetsWhatWasNotSynced(t *testing.T) {
	k := newMemKV()
	for i, sync := range []bool{true, false} {
		tx := k.Begin()
		_ = tx.Set([]byte{byte(i)}, []byte{1})
		_ = tx.Commit(sync)
	}
	k.crash()
	if len(k.now) != 1 {
		t.Fatal(k.now)
	}
}
