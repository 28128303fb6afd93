package replicate

import "math/bits"

// MaxPieces bounds the pieces that one [Swarm] fetches.
const MaxPieces = 8192

// Pieces is a set of pieces, by their numbers: the bits of its bytes, the lowest first.
type Pieces []byte

// NewPieces returns an empty set for the numbers 0 to n-1.
func NewPieces(n int) Pieces { return make(Pieces, (n+7)/8) }

// Has reports whether i is in the set.
func (p Pieces) Has(i int) bool { return i>>3 < len(p) && p[i>>3]&(1<<(i&7)) != 0 }

// Set puts i into the set.
func (p Pieces) Set(i int) { p[i>>3] |= 1 << (i & 7) }

// Clear takes i out of the set.
func (p Pieces) Clear(i int) { p[i>>3] &^= 1 << (i & 7) }

// Count returns how many are in the set.
func (p Pieces) Count() (n int) {
	for _, b := range p {
		n += bits.OnesCount8(b)
	}
	return n
}

// Fits reports whether the set is one for the numbers 0 to n-1.
func (p Pieces) Fits(n int) bool {
	return len(p) == (n+7)/8 && (n%8 == 0 || p[len(p)-1]>>(n%8) == 0)
}
