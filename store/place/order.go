package place

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"

	"github.com/zeebo/blake3"

	"github.com/aether-lan/aether/store"
)

// Map is the members of a pool with the weights that follow from them. It does
// not change and may be used by several goroutines.
type Map struct {
	members []weighted
}

// laptop reports whether id is a member that is often away.
func (m *Map) laptop(id store.MachineID) bool {
	i := m.index(id)
	return i >= 0 && m.members[i].laptop
}

// index returns where id stands among the members, or -1.
func (m *Map) index(id store.MachineID) int {
	i, ok := slices.BinarySearchFunc(m.members, id, func(w weighted, id store.MachineID) int { return w.id.Compare(id) })
	if !ok {
		return -1
	}
	return i
}

type weighted struct {
	id     store.MachineID
	weight uint64 // in units that cancel out; at least 1
	laptop bool
}

// How the weights are corrected.
const (
	rounds    = 16
	trialKeys = 2000
)

// New computes the weights of members for files of n copies; n below 1 counts as
// 1. Members without Space keep nothing and are left out. The result depends on
// the set of members alone, not on their order or names.
//
// With members of which one would hold more than 0.3 copies of every file the
// weights are corrected, which takes up to a few hundred milliseconds: keep the
// Map while the members stay the same.
func New(members []store.Machine, n int) *Map {
	m := &Map{}
	for _, s := range members {
		w := quantise(s.Space)
		if s.Laptop {
			w = w * 3 / 10
		}
		if w > 0 {
			m.members = append(m.members, weighted{s.ID, w, s.Laptop})
		}
	}
	slices.SortFunc(m.members, func(a, b weighted) int {
		return cmp.Or(a.id.Compare(b.id), cmp.Compare(a.weight, b.weight))
	})
	m.members = slices.CompactFunc(m.members, func(a, b weighted) bool { return a.id == b.id })
	m.scale()
	if n = max(n, 1); n < len(m.members) && m.uneven(n) {
		m.correct(n)
	}
	return m
}

// scale brings the greatest weight to 32 bits, so that products fit.
func (m *Map) scale() {
	var top uint64
	for _, w := range m.members {
		top = max(top, w.weight)
	}
	shift := bits.Len64(top) - 32
	for i := range m.members {
		w := &m.members[i].weight
		if shift > 0 {
			*w >>= shift
		} else {
			*w <<= -shift
		}
		*w = max(*w, 1)
	}
}

func (m *Map) total() (sum uint64) {
	for _, w := range m.members {
		sum += w.weight
	}
	return sum
}

// uneven reports whether n * share > 0.3 for some machine.
func (m *Map) uneven(n int) bool {
	sum := m.total()
	return slices.ContainsFunc(m.members, func(w weighted) bool { return uint64(n)*w.weight > sum/10*3 })
}

// Order returns the machines in the order in which they are to keep what key
// names.
func (m *Map) Order(key [16]byte) []store.MachineID {
	ranked := m.rank(key, make([]ranked, 0, len(m.members)))
	ids := make([]store.MachineID, len(ranked))
	for i, r := range ranked {
		ids[i] = m.members[r.member].id
	}
	return ids
}

// Choose returns the first n machines of the order that are usable; fewer where
// there are fewer. Of two or more at least one is no laptop, where there is such a
// one. A nil usable means that all are.
func (m *Map) Choose(key [16]byte, n int, usable func(store.MachineID) bool) []store.MachineID {
	return m.Revise(key, n, Terms{Room: usable})
}

// Order returns the machines of members in the order in which they are to keep
// what key names, with the weights as they are: correct for one copy. For many
// keys, or more copies, keep a [Map].
func Order(key [16]byte, members []store.Machine) []store.MachineID {
	return New(members, 0).Order(key)
}

// Choose returns the first n machines of the order for n copies that are usable.
// For many keys keep a [Map].
func Choose(key [16]byte, members []store.Machine, n int, usable func(store.MachineID) bool) []store.MachineID {
	return New(members, n).Choose(key, n, usable)
}

type ranked struct {
	member   int
	log      uint64
	whole    uint64
	fraction uint64
}

// rank sorts the members by -log2(u)/weight, as a quotient of 128 bits.
func (m *Map) rank(key [16]byte, r []ranked) []ranked {
	for i, w := range m.members {
		l := negLog2(hash(w.id, key))
		whole, rest := l/w.weight, l%w.weight
		fraction, _ := bits.Div64(rest, 0, w.weight)
		r = append(r, ranked{i, l, whole, fraction})
	}
	slices.SortFunc(r, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(a.whole, b.whole), cmp.Compare(a.fraction, b.fraction),
			bytes.Compare(m.members[a.member].id[:], m.members[b.member].id[:]))
	})
	return r
}

// hash spreads machine and key over 64 bits.
func hash(id store.MachineID, key [16]byte) uint64 {
	var b [32]byte
	copy(b[:], id[:])
	copy(b[16:], key[:])
	sum := blake3.Sum256(b[:])
	return binary.BigEndian.Uint64(sum[:])
}
