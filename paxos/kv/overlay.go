package kv

import (
	"encoding/binary"
	"hash/fnv"
	"iter"
	"slices"
)

// overlay is a Store with writes before it that are not yet made, and the hash of
// the whole.
type overlay struct {
	store  Store
	writes map[string][]byte // nil deletes
	hash   uint64            // the sum of the hashes of all pairs
	err    error             // of the store; the first one stays
}

// pairHash is the hash of a pair.
func pairHash(key string, value []byte) uint64 {
	h := fnv.New64a()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(key)))
	h.Write(n[:])
	h.Write([]byte(key))
	h.Write(value)
	// FNV alone is too regular for a sum: mix it (the finalizer of MurmurHash3).
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// get returns a value, nil when there is none.
func (o *overlay) get(key []byte) []byte {
	if v, ok := o.writes[string(key)]; ok {
		return v
	}
	if o.err != nil {
		return nil
	}
	v, err := o.store.Get(key)
	if err != nil {
		o.err = err
	}
	return v
}

// set sets a key, or deletes it with nil.
func (o *overlay) set(key, value []byte) {
	k := string(key)
	if old := o.get(key); old != nil {
		o.hash -= pairHash(k, old)
	}
	if value != nil {
		o.hash += pairHash(k, value)
	}
	o.writes[k] = value
}

// add sets a key that is known not to be there.
func (o *overlay) add(key, value []byte) {
	k := string(key)
	o.hash += pairHash(k, value)
	o.writes[k] = value
}

// drop deletes a key that is known to have value.
func (o *overlay) drop(key, value []byte) {
	k := string(key)
	o.hash -= pairHash(k, value)
	o.writes[k] = nil
}

// scan returns the keys from from up to but not to, at most limit, as they are with
// the writes.
func (o *overlay) scan(from, to []byte, limit int) (keys []string) {
	var mine []string
	for k, v := range o.writes {
		if v != nil && k >= string(from) && k < string(to) {
			mine = append(mine, k)
		}
	}
	if o.err == nil {
		o.err = o.store.Scan(from, to, func(k, _ []byte) bool {
			if _, ok := o.writes[string(k)]; !ok {
				keys = append(keys, string(k))
			}
			return len(keys) < limit
		})
	}
	keys = append(keys, mine...)
	slices.Sort(keys)
	return keys[:min(limit, len(keys))]
}

// all gives the writes, in any order. A key is valid until the next.
func (o *overlay) all() iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		var key []byte
		for k, v := range o.writes {
			if key = append(key[:0], k...); !yield(key, v) {
				return
			}
		}
	}
}
