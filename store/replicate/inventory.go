package replicate

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/aether-lan/aether/store"
)

// The bounds of an inventory. A machine that has more to tell tells less: what is
// left out counts as not held.
const (
	MaxInventoryAuthors = 4096
	MaxInventoryRanges  = 64 // of one author
	maxInventoryScan    = 4096
)

// ErrBadInventory reports bytes that are no inventory.
var ErrBadInventory = errors.New("replicate: malformed inventory")

// inventory says, author by author in the order of IDs, what a machine holds.
type inventory []holding

// holding is what a machine holds of one author: all that is assigned to it up to
// upTo, and within the ranges, which ascend and touch neither upTo nor each other.
type holding struct {
	author store.MachineID
	upTo   uint64
	ranges []span
}

// span is the versions first to last, both included.
type span struct{ first, last uint64 }

// EmptyInventory returns the inventory of a machine that claims nothing.
func EmptyInventory() []byte { return inventory(nil).append(nil) }

// inventoryVersion is the first byte.
const inventoryVersion = 1

// append writes inv: version, count, and for each author 16 bytes, the watermark,
// the number of ranges, and for each range the versions left out before it less
// one, and its length less one; all numbers as varints.
func (inv inventory) append(b []byte) []byte {
	b = append(b, inventoryVersion)
	b = binary.AppendUvarint(b, uint64(len(inv)))
	for _, h := range inv {
		b = append(b, h.author[:]...)
		b = binary.AppendUvarint(b, h.upTo)
		b = binary.AppendUvarint(b, uint64(len(h.ranges)))
		end := h.upTo
		for _, r := range h.ranges {
			b = binary.AppendUvarint(b, r.first-end-2)
			b = binary.AppendUvarint(b, r.last-r.first)
			end = r.last
		}
	}
	return b
}

// parseInventory is the reverse of append, and accepts nothing else.
func parseInventory(b []byte) (inventory, error) {
	if len(b) == 0 || b[0] != inventoryVersion {
		return nil, fmt.Errorf("%w: unknown version", ErrBadInventory)
	}
	r := reader{b: b[1:]}
	n := r.number(MaxInventoryAuthors)
	var inv inventory
	for range n {
		h := r.holding()
		if r.bad {
			break
		}
		if len(inv) > 0 && inv[len(inv)-1].author.Compare(h.author) >= 0 {
			return nil, fmt.Errorf("%w: authors out of order", ErrBadInventory)
		}
		inv = append(inv, h)
	}
	if r.bad || len(r.b) != 0 {
		return nil, fmt.Errorf("%w: cut short, too large or too long", ErrBadInventory)
	}
	if !bytes.Equal(inv.append(nil), b) {
		return nil, fmt.Errorf("%w: not canonical", ErrBadInventory)
	}
	return inv, nil
}

// reader reads the parts of an inventory; bad stays once it is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) holding() (h holding) {
	if len(r.b) < len(h.author) {
		r.b, r.bad = nil, true
		return h
	}
	h.author = store.MachineID(r.b[:len(h.author)])
	r.b = r.b[len(h.author):]
	h.upTo = r.number(math.MaxUint64)
	end := h.upTo
	for range r.number(MaxInventoryRanges) {
		if end > math.MaxUint64-2 {
			r.bad = true
		}
		first := end + 2 + r.number(math.MaxUint64-2-min(end, math.MaxUint64-2))
		last := first + r.number(math.MaxUint64-first)
		if r.bad {
			return h
		}
		h.ranges = append(h.ranges, span{first, last})
		end = last
	}
	return h
}

// covers reports whether d is held, given that it is assigned to the machine.
func (inv inventory) covers(d store.Dot) bool {
	i, ok := slices.BinarySearchFunc(inv, d.Machine, func(h holding, m store.MachineID) int { return h.author.Compare(m) })
	if !ok {
		return false
	}
	return inv[i].covers(d.Seq)
}

func (h *holding) covers(seq uint64) bool {
	if seq <= h.upTo {
		return true
	}
	return slices.ContainsFunc(h.ranges, func(r span) bool { return r.first <= seq && seq <= r.last })
}

// without returns inv less one version; the ranges may be one more than MaxInventoryRanges.
func (inv inventory) without(d store.Dot) inventory {
	i, ok := slices.BinarySearchFunc(inv, d.Machine, func(h holding, m store.MachineID) int { return h.author.Compare(m) })
	if !ok || !inv[i].covers(d.Seq) {
		return inv
	}
	out := slices.Clone(inv)
	h := holding{author: d.Machine, upTo: min(inv[i].upTo, d.Seq-1)}
	all := inv[i].ranges
	if d.Seq <= inv[i].upTo {
		all = append([]span{{d.Seq, inv[i].upTo}}, all...)
	}
	for _, r := range all {
		if r.first <= d.Seq && d.Seq <= r.last {
			if r.first < d.Seq {
				h.ranges = append(h.ranges, span{r.first, d.Seq - 1})
			}
			r.first = d.Seq + 1
		}
		if r.first <= r.last {
			h.ranges = append(h.ranges, r)
		}
	}
	out[i] = h
	return out
}

// readInventory works out what this machine holds: of each author all that was
// assigned, less what is queued.
func readInventory(kv store.Reader) (inventory, error) {
	var inv inventory
	var bad error
	err := kv.Scan(knownBegin, knownEnd, func(key, value []byte) bool {
		if len(key) != 2+16 || len(value) != 8 {
			bad = errBadRow
			return false
		}
		inv = append(inv, holding{author: store.MachineID(key[2:]), upTo: binary.BigEndian.Uint64(value)})
		return len(inv) < MaxInventoryAuthors
	})
	for i := range inv {
		if err = errors.Join(err, bad); err != nil {
			return nil, err
		}
		err = inv[i].lessQueued(kv)
	}
	return inv, errors.Join(err, bad)
}

// lessQueued takes what is queued out of h, which begins as all up to the last.
func (h *holding) lessQueued(kv store.Reader) error {
	last, next, seen := h.upTo, uint64(0), 0
	var bad error
	from, to := queueKey(store.Dot{Machine: h.author}), queueKey(store.Dot{Machine: h.author, Seq: math.MaxUint64})
	err := kv.Scan(from, append(to, 0), func(key, _ []byte) bool {
		d, err := dotOf(key)
		if err != nil {
			bad = err
			return false
		}
		if seen == 0 {
			h.upTo = d.Seq - 1
		} else if d.Seq > next {
			h.ranges = append(h.ranges, span{next, d.Seq - 1})
		}
		next = d.Seq + 1
		seen++
		return seen < maxInventoryScan && len(h.ranges) < MaxInventoryRanges
	})
	if seen > 0 && seen < maxInventoryScan && len(h.ranges) < MaxInventoryRanges && next <= last && next != 0 {
		h.ranges = append(h.ranges, span{next, last})
	}
	return errors.Join(err, bad)
}
