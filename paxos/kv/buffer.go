package kv

import (
	"iter"
	"slices"
	"sync"

	"github.com/aether-lan/aether/paxos"
)

// Bounds of a Buffer: bytes of keys and values, and keys.
const (
	bufferDirty = 8 << 20 // Apply flushes when more is not written
	bufferClean = 8 << 20 // twice this is remembered of what the store has
	bufferScan  = 1024    // Scan flushes when more keys of a letter are not written
)

// Buffer is a Store before another one: it takes writes at once and hands many of
// them to the other together, so that a key that is written a thousand times is
// stored once. What was not flushed is lost in a crash, and the slot with it: whoever
// has the entries since the other store's slot applies them again, as a node of Paxos
// does from its log. It also remembers what was read. It is safe for concurrent use.
type Buffer struct {
	store Store

	flushing sync.Mutex // held while the store is written; taken before mu
	mu       sync.RWMutex
	slot     paxos.Slot
	members  paxos.Membership
	dirty    writes // not given to the store
	leaving  writes // being given; not changed any more
	clean    cache
	err      error // of the store: nobody knows what it has
}

// writes are pairs that the store does not have yet; a nil value deletes.
type writes struct {
	m     map[string]*cell
	keys  map[byte][]string // of m, by their first byte
	bytes int
}

// cell holds a value; a key that is written again needs no new one.
type cell struct{ value []byte }

func (w *writes) set(k, v []byte) {
	c := w.m[string(k)]
	if c == nil {
		if w.m == nil {
			w.m, w.keys = map[string]*cell{}, map[byte][]string{}
		}
		c = new(cell)
		key := string(k)
		w.m[key] = c
		w.bytes += len(k)
		if len(k) > 0 {
			w.keys[k[0]] = append(w.keys[k[0]], key)
		}
	}
	w.bytes += len(v) - len(c.value)
	c.value = v
}

// all gives the writes, in any order. A key is valid until the next.
func (w *writes) all() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		var key []byte
		for k, c := range w.m {
			if key = append(key[:0], k...); !yield(key, c.value) {
				return
			}
		}
	}
}

// between returns the keys of a range, in any order, and how many were looked at.
func (w *writes) between(from, to []byte) (keys []string, looked int) {
	for letter, list := range w.keys {
		if len(from) > 0 && letter < from[0] || len(to) > 0 && letter > to[0] {
			continue
		}
		looked += len(list)
		for _, k := range list {
			if k >= string(from) && (to == nil || k < string(to)) {
				keys = append(keys, k)
			}
		}
	}
	return keys, looked
}

// cache remembers pairs of the store, nil being none, those of late.
type cache struct {
	young, old map[string][]byte
	bytes      int // of young
}

func (c *cache) get(k []byte) (v []byte, ok bool) {
	if v, ok = c.young[string(k)]; !ok {
		v, ok = c.old[string(k)]
	}
	return v, ok
}

func (c *cache) set(k string, v []byte) {
	if c.young == nil || c.bytes > bufferClean {
		c.old, c.young, c.bytes = c.young, map[string][]byte{}, 0
	}
	c.young[k] = v
	c.bytes += len(k) + len(v) // at least
}

// refresh changes what is remembered of a key, if anything is.
func (c *cache) refresh(k string, v []byte) {
	for _, m := range [...]map[string][]byte{c.young, c.old} {
		if _, ok := m[k]; ok {
			m[k] = v
		}
	}
}

var _ Store = (*Buffer)(nil)

// NewBuffer returns a Buffer before store, which nobody else may write from then on.
func NewBuffer(store Store) *Buffer {
	b := &Buffer{store: store}
	b.slot, b.members = store.Applied()
	return b
}

// Applied implements Store.
func (b *Buffer) Applied() (paxos.Slot, paxos.Membership) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.slot, b.members
}

// Get implements Store. The value is not to be changed.
func (b *Buffer) Get(key []byte) ([]byte, error) {
	b.mu.RLock()
	v, ok, err := b.find(key)
	b.mu.RUnlock()
	if ok || err != nil {
		return v, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if v, ok, err = b.find(key); ok || err != nil {
		return v, err
	}
	if v, err = b.store.Get(key); err != nil {
		return nil, err
	}
	b.clean.set(string(key), v)
	return v, nil
}

// find looks at what is in memory. The caller holds mu.
func (b *Buffer) find(key []byte) (v []byte, ok bool, err error) {
	if b.err != nil {
		return nil, false, b.err
	}
	if c := b.dirty.m[string(key)]; c != nil {
		return c.value, true, nil
	}
	if c := b.leaving.m[string(key)]; c != nil {
		return c.value, true, nil
	}
	v, ok = b.clean.get(key)
	return v, ok, nil
}

// Scan implements Store. f must not call the Buffer.
func (b *Buffer) Scan(from, to []byte, f func(key, value []byte) bool) error {
	b.mu.RLock()
	defer func() { b.mu.RUnlock() }()
	mine, looked := b.dirty.between(from, to)
	if looked > bufferScan { // it shall not be looked through for every scan
		b.mu.RUnlock()
		err := b.Flush()
		b.mu.RLock()
		if err != nil {
			return err
		}
		mine, _ = b.dirty.between(from, to)
	}
	if b.err != nil {
		return b.err
	}
	leaving, _ := b.leaving.between(from, to)
	mine = append(mine, leaving...)
	slices.Sort(mine)
	return b.merge(slices.Compact(mine), from, to, f)
}

// merge gives the pairs of the store and those that it does not have as they are,
// whose keys are mine. The caller holds mu.
func (b *Buffer) merge(mine []string, from, to []byte, f func(key, value []byte) bool) error {
	more := true
	until := func(k string) {
		for ; more && len(mine) > 0 && mine[0] <= k; mine = mine[1:] {
			c := b.dirty.m[mine[0]]
			if c == nil {
				c = b.leaving.m[mine[0]]
			}
			more = c.value == nil || f([]byte(mine[0]), c.value)
		}
	}
	err := b.store.Scan(from, to, func(k, v []byte) bool {
		_, ours := slices.BinarySearch(mine, string(k))
		if until(string(k)); more && !ours {
			more = f(k, v)
		}
		return more
	})
	for err == nil && more && len(mine) > 0 {
		until(mine[0])
	}
	return err
}

// Apply implements Store. It keeps the values.
func (b *Buffer) Apply(slot paxos.Slot, members paxos.Membership, all iter.Seq2[[]byte, []byte]) error {
	b.mu.Lock()
	if b.err != nil {
		defer b.mu.Unlock()
		return b.err
	}
	for k, v := range all {
		b.dirty.set(k, v)
	}
	b.slot, b.members = slot, members
	full := b.dirty.bytes > bufferDirty
	b.mu.Unlock()
	if full {
		return b.Flush()
	}
	return nil
}

// Flush gives the store what it does not have yet. Others may use the Buffer
// meanwhile. After an error of the store all calls fail.
func (b *Buffer) Flush() error {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	b.mu.Lock()
	b.leaving, b.dirty = b.dirty, writes{}
	slot, members, err := b.slot, b.members, b.err
	b.mu.Unlock()
	if at, _ := b.store.Applied(); err == nil && at < slot {
		err = b.store.Apply(slot, members, b.leaving.all())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
	if err == nil {
		for k, c := range b.leaving.m {
			b.clean.refresh(k, c.value)
		}
		b.leaving = writes{}
	}
	return err
}

// Replace calls install, which gives the store another state, and forgets what was not
// flushed. With an error of install the Buffer is as before.
func (b *Buffer) Replace(install func() error) error {
	b.flushing.Lock()
	defer b.flushing.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := install(); err != nil {
		return err
	}
	b.dirty, b.clean = writes{}, cache{}
	b.slot, b.members = b.store.Applied()
	return nil
}
