package chunk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/aether-lan/aether/internal/wire"
	"github.com/aether-lan/aether/store"
)

const (
	// The formats of a list: all that it lists is of the generation that the list is
	// sealed under, or each entry says of which it is.
	listFormat      = 1
	listFormatMixed = 2
	// The bounds of a list, in entries. A list of maxEntries has about 37 KiB.
	minEntries = 32
	maxEntries = 1024
	// maxDepth is more than 2^63 bytes can need: minEntries^12 chunks.
	maxDepth = 12
)

// entry is a chunk in a list: its address and how many bytes of the file it holds,
// directly or through lists.
type entry struct {
	ref    store.Ref
	size   int64
	oldest uint32 // the oldest generation among the chunk and what it lists
}

// endsList reports whether a list of n entries, e being the last, is complete.
// Refs are uniform, so that the mean is near 160 entries.
func endsList(n int, e entry) bool {
	return n >= maxEntries || n >= minEntries && e.ref[31]&0x7f == 0
}

// appendList appends a list that will be sealed under a generation: format, depth of
// what it lists (0: data), number of entries, and for each its Ref, its size as a
// varint and, where not all are of that generation, its oldest as a varint.
func appendList(b []byte, depth uint8, generation uint32, entries []entry) []byte {
	mixed := isMixed(generation, entries)
	format := byte(listFormat)
	if mixed {
		format = listFormatMixed
	}
	b = append(b, format, depth)
	b = binary.AppendUvarint(b, uint64(len(entries)))
	for _, e := range entries {
		b = append(b, e.ref[:]...)
		b = binary.AppendUvarint(b, uint64(e.size))
		if mixed {
			b = binary.AppendUvarint(b, uint64(e.oldest))
		}
	}
	return b
}

func isMixed(generation uint32, entries []entry) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return e.oldest != generation })
}

var errList = errors.New("malformed list")

// parseList is the reverse of appendList and accepts nothing that appendList would
// not write: depth as expected, sizes above 0 that add up to size, no bytes behind.
func parseList(b []byte, depth uint8, generation uint32, size int64) ([]entry, error) {
	r := wire.NewReader(b)
	f, d := r.Uint8(), r.Uint8()
	if f != listFormat && f != listFormatMixed || d != depth {
		r.Fail(fmt.Errorf("%w: format %d, depth %d, want %d", errList, f, d, depth))
	}
	n := uvarint(r)
	if n == 0 || n > maxEntries {
		r.Fail(fmt.Errorf("%w: %d entries", errList, n))
		n = 0
	}
	entries := make([]entry, 0, n)
	left := size
	for range n {
		p, s, oldest := r.Bytes(len(store.Ref{})), uvarint(r), uint64(generation)
		if f == listFormatMixed {
			oldest = uvarint(r)
		}
		if r.Err() != nil {
			break
		}
		if s == 0 || left < 0 || s > uint64(left) || depth == 0 && s > MaxSize || oldest > math.MaxUint32 {
			r.Fail(fmt.Errorf("%w: entry of %d bytes, %d left, generation %d", errList, s, left, oldest))
			break
		}
		left -= int64(s)
		entries = append(entries, entry{store.Ref(p), int64(s), uint32(oldest)})
	}
	if left != 0 {
		r.Fail(fmt.Errorf("%w: %d bytes not listed", errList, left))
	}
	if (f == listFormatMixed) != isMixed(generation, entries) {
		r.Fail(fmt.Errorf("%w: format %d", errList, f))
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return entries, nil
}

// uvarint reads a varint and refuses one that is longer than it must be, so that a
// list has one encoding.
func uvarint(r *wire.Reader) uint64 {
	at := r.Offset()
	v := r.Uvarint()
	if n := r.Offset() - at; r.Err() == nil && n != len(binary.AppendUvarint(nil, v)) {
		r.Fail(fmt.Errorf("%w: %d in %d bytes", errList, v, n))
	}
	return v
}

// Part is a chunk of a file: a list or data.
type Part struct {
	// Ref is the address of the chunk.
	Ref store.Ref
	// Offset and Size say which bytes of the file it holds, or lists.
	Offset, Size int64
	// Depth is 0 for data; a list of depth n lists chunks of depth n-1.
	Depth uint8
	// Oldest is the oldest generation of keys that it, or anything it leads to, is
	// sealed under.
	Oldest uint32
	// Absent is set by [Keys.Walk] on a list that get did not have: what lies
	// below it is not visited.
	Absent bool
}

// Root returns the chunk that leads to all of c; ok is false for the empty file.
func Root(c store.Content) (p Part, ok bool) {
	return Part{Ref: c.Root, Size: c.Size, Depth: c.Depth, Oldest: c.Oldest}, c.Size > 0
}

// Children opens the body of the list p and returns what it lists, in the order of
// the file. It fails with [ErrCorrupt] when body is not p.
func (k *Keys) Children(p Part, body []byte) ([]Part, error) {
	entries, err := k.children(p, body)
	if err != nil {
		return nil, err
	}
	parts := make([]Part, len(entries))
	offset := p.Offset
	for i, e := range entries {
		parts[i] = Part{Ref: e.ref, Offset: offset, Size: e.size, Depth: p.Depth - 1, Oldest: e.oldest}
		offset += e.size
	}
	return parts, nil
}

func (k *Keys) children(p Part, body []byte) ([]entry, error) {
	if p.Depth == 0 || p.Depth > maxDepth || p.Size <= 0 || p.Offset > math.MaxInt64-p.Size {
		return nil, fmt.Errorf("%w: list %s of depth %d, %d bytes", ErrCorrupt, p.Ref, p.Depth, p.Size)
	}
	g, got, plain, err := k.unseal(p.Ref, body)
	if err == nil && got != list {
		err = fmt.Errorf("%w: %s is a %s, not a %s", ErrCorrupt, p.Ref, got, list)
	}
	if err != nil {
		return nil, err
	}
	entries, err := parseList(plain, p.Depth-1, g.number, p.Size)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, p.Ref, err)
	}
	return entries, nil
}

// Walk visits the chunks of c from the root down and in the order of the file, each
// list before what it lists; a chunk that occurs twice is visited twice. get returns
// the body of a list from where Walk may look, and store.ErrNotFound when it is not
// there: the list is then visited as Absent, and once its body has arrived
// [Keys.Children] or another Walk goes on below it. Walk never asks for data. It
// stops at the first error of get or visit and returns it.
func (k *Keys) Walk(c store.Content, get func(store.Ref) ([]byte, error), visit func(Part) error) error {
	root, ok := Root(c)
	if !ok {
		return nil
	}
	return k.walk(root, get, visit)
}

func (k *Keys) walk(p Part, get func(store.Ref) ([]byte, error), visit func(Part) error) error {
	if p.Depth == 0 {
		return visit(p)
	}
	body, err := get(p.Ref)
	if errors.Is(err, store.ErrNotFound) {
		p.Absent = true
		return visit(p)
	}
	if err != nil {
		return fmt.Errorf("chunk: walk: %s: %w", p.Ref, err)
	}
	parts, err := k.Children(p, body)
	if err != nil {
		return err
	}
	if err := visit(p); err != nil {
		return err
	}
	for _, q := range parts {
		if err := k.walk(q, get, visit); err != nil {
			return err
		}
	}
	return nil
}
