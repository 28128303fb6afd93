package chunk

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/aether-lan/aether/internal/wire"
	"github.com/aether-lan/aether/store"
)

// entry is a chunk in a list: its address and the plain bytes of the file below.
type entry struct {
	ref  store.Ref
	size int64
}

const (
	listVersion = 1
	// A list ends behind an entry whose address ends in a zero byte, one in 256,
	// once it has minEntries, and in any case at maxEntries.
	minEntries = 64
	maxEntries = 1024
	// maxDepth bounds the levels of lists: more than any 63-bit size needs.
	maxDepth = 9
)

// ends reports whether a list of n entries ends behind e.
func (e entry) ends(n int) bool {
	return n >= maxEntries || n >= minEntries && e.ref[len(e.ref)-1] == 0
}

// appendList appends the plain bytes of a list.
func appendList(b []byte, depth uint8, entries []entry) []byte {
	b = append(b, listVersion, depth)
	for _, e := range entries {
		b = append(b, e.ref[:]...)
		b = binary.AppendUvarint(b, uint64(e.size))
	}
	return b
}

// parseList reads the plain bytes of a list: at least one entry, at most
// maxEntries, each of at least one byte, all together at most 2^63-1.
func parseList(b []byte) (depth uint8, entries []entry, err error) {
	r := wire.NewReader(b)
	if v := r.Uint8(); r.Err() == nil && v != listVersion {
		r.Fail(fmt.Errorf("list version %d", v))
	}
	depth = r.Uint8()
	if r.Err() == nil && (depth == 0 || depth > maxDepth) {
		r.Fail(fmt.Errorf("list depth %d", depth))
	}
	var total int64
	for r.Err() == nil && r.Len() > 0 {
		var e entry
		copy(e.ref[:], r.Bytes(len(e.ref)))
		n := r.Uvarint()
		if r.Err() == nil && (n == 0 || n > uint64(math.MaxInt64-total)) {
			r.Fail(fmt.Errorf("entry of %d bytes", n))
		}
		e.size = int64(n)
		total += e.size
		if entries = append(entries, e); len(entries) > maxEntries {
			r.Fail(fmt.Errorf("more than %d entries", maxEntries))
		}
	}
	if r.Err() == nil && len(entries) == 0 {
		r.Fail(fmt.Errorf("no entries"))
	}
	if err := r.Err(); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return depth, entries, nil
}

// openList unseals a list and checks that it is one of depth, for size bytes where
// size is not negative.
func (k *Keys) openList(r store.Ref, body []byte, depth uint8, size int64) ([]entry, error) {
	plain, as, err := k.open(r, body)
	if err != nil {
		return nil, err
	}
	if as != kindList {
		return nil, fmt.Errorf("%w: %.8s: data where a list belongs", ErrCorrupt, r)
	}
	d, entries, err := parseList(plain)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, e := range entries {
		total += e.size
	}
	if d != depth || size >= 0 && total != size {
		return nil, fmt.Errorf("%w: %.8s: a list of depth %d for %d bytes, want %d for %d", ErrCorrupt, r, d, total, depth, size)
	}
	return entries, nil
}

// List returns the addresses in the list r of the given depth (1: a list of data),
// for those who copy chunks without reading files.
func (k *Keys) List(r store.Ref, body []byte, depth uint8) ([]store.Ref, error) {
	entries, err := k.openList(r, body, depth, -1)
	if err != nil {
		return nil, err
	}
	refs := make([]store.Ref, len(entries))
	for i, e := range entries {
		refs[i] = e.ref
	}
	return refs, nil
}
