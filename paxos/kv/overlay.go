package kv

import (
	"encoding/binary"
	"iter"
	"slices"
)

// overlay is a Store with writes before it that are not yet made, what was read and
// written lately, and the hash of the whole.
type overlay struct {
	store   Store
	young   map[string]*held
	old     map[string]*held // those that were young before
	bytes   int              // of young, about
	changed []*held          // not yet made
	last    []byte           // the key that was asked for last
	counts  []byte           // to be written with them; not part of the hash
	hash    uint64           // the sum of the hashes of all pairs
	err     error            // of the store; the first one stays
}

// held is a pair in memory.
type held struct {
	key     string
	value   []byte // nil: none
	hash    uint64 // of the pair, 0 if there is none
	changed bool
}

// Bounds of what is held, in bytes: beyond the first the young get old. heldCost is
// what a pair takes beside its bytes.
const (
	heldBytes = 8 << 20
	heldCost  = 128
)

// pairHash is the hash of a pair: FNV-1a of the key's length, key and value.
func pairHash(key string, value []byte) uint64 {
	const prime = 1099511628211
	x := uint64(14695981039346656037)
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(key)))
	for _, c := range n {
		x = (x ^ uint64(c)) * prime
	}
	for i := range len(key) {
		x = (x ^ uint64(key[i])) * prime
	}
	for _, c := range value {
		x = (x ^ uint64(c)) * prime
	}
	// FNV alone is too regular for a sum: mix it (the finalizer of MurmurHash3).
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// key returns a letter and what follows it, valid until the next.
func (o *overlay) key(letter byte, rest []byte) []byte {
	o.last = append(append(o.last[:0], letter), rest...)
	return o.last
}

// find returns what is in memory of a key, nil when nothing is.
func (o *overlay) find(key []byte) *held {
	if h := o.young[string(key)]; h != nil {
		return h
	}
	h := o.old[string(key)]
	if h != nil {
		delete(o.old, h.key)
		o.young[h.key] = h
		o.bytes += len(h.key) + len(h.value) + heldCost
	}
	return h
}

// hold takes a pair into memory.
func (o *overlay) hold(key, value []byte) *held {
	h := &held{key: string(key), value: value}
	if value != nil {
		h.hash = pairHash(h.key, value)
	}
	o.young[h.key] = h
	o.bytes += len(h.key) + len(value) + heldCost
	return h
}

// read returns the pair of a key.
func (o *overlay) read(key []byte) *held {
	if h := o.find(key); h != nil {
		return h
	}
	if o.err != nil {
		return new(held)
	}
	v, err := o.store.Get(key)
	if err != nil {
		o.err = err
		return new(held)
	}
	return o.hold(key, v)
}

// get returns a value, nil when there is none.
func (o *overlay) get(key []byte) []byte { return o.read(key).value }

// set sets a key, or deletes it with nil.
func (o *overlay) set(key, value []byte) { o.change(o.read(key), value) }

// add sets a key that is known not to be there.
func (o *overlay) add(key, value []byte) {
	h := o.find(key)
	if h == nil {
		h = o.hold(key, nil)
	}
	o.change(h, value)
}

// drop deletes a key that is known to have value.
func (o *overlay) drop(key, value []byte) {
	h := o.find(key)
	if h == nil {
		h = o.hold(key, value)
	}
	o.change(h, nil)
}

func (o *overlay) change(h *held, value []byte) {
	o.hash -= h.hash
	o.bytes += len(value) - len(h.value)
	h.value, h.hash = value, 0
	if value != nil {
		h.hash = pairHash(h.key, value)
		o.hash += h.hash
	}
	if !h.changed {
		h.changed = true
		o.changed = append(o.changed, h)
	}
}

// scan returns the keys from from up to but not to, at most limit, as they are with
// the writes.
func (o *overlay) scan(from, to []byte, limit int) (keys []string) {
	var mine []string
	for _, h := range o.changed {
		if h.value != nil && h.key >= string(from) && h.key < string(to) {
			mine = append(mine, h.key)
		}
	}
	if o.err == nil {
		o.err = o.store.Scan(from, to, func(k, _ []byte) bool {
			if h := o.young[string(k)]; h == nil || !h.changed {
				keys = append(keys, string(k))
			}
			return len(keys) < limit
		})
	}
	keys = append(keys, mine...)
	slices.Sort(keys)
	return keys[:min(limit, len(keys))]
}

// all gives the writes. A key is valid until the next.
func (o *overlay) all() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		if o.counts != nil && !yield(keyCounts, o.counts) {
			return
		}
		var key []byte
		for _, h := range o.changed {
			if key = append(key[:0], h.key...); !yield(key, h.value) {
				return
			}
		}
	}
}

// made forgets the writes: the store has them.
func (o *overlay) made() {
	for _, h := range o.changed {
		h.changed = false
	}
	clear(o.changed)
	o.changed = o.changed[:0]
	if o.bytes > heldBytes {
		o.old, o.young, o.bytes = o.young, map[string]*held{}, 0
	}
}
