package dht

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// MinBits and MaxBits bound the width of a [Space].
const (
	MinBits = 3
	MaxBits = 160
)

// ID is a point on the circle: an unsigned integer of at most 160 bits, big endian,
// of fixed width. The order of its bytes is the order of the numbers, whatever
// zeros it begins with.
type ID [20]byte

// Compare returns -1, 0 or 1 as a is less than, equal to or greater than b.
func (a ID) Compare(b ID) int {
	// The first bytes decide nearly always.
	if x, y := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(b[:8]); x != y {
		return cmp.Compare(x, y)
	}
	return bytes.Compare(a[8:], b[8:])
}

// words returns the number as a 32-bit word and two 64-bit words, highest first.
func (a ID) words() (hi uint32, mid, lo uint64) {
	return binary.BigEndian.Uint32(a[:4]), binary.BigEndian.Uint64(a[4:12]), binary.BigEndian.Uint64(a[12:])
}

func fromWords(hi uint32, mid, lo uint64) (a ID) {
	binary.BigEndian.PutUint32(a[:4], hi)
	binary.BigEndian.PutUint64(a[4:12], mid)
	binary.BigEndian.PutUint64(a[12:], lo)
	return a
}

// Between reports whether x lies strictly inside the arc that goes clockwise from a
// to b. The arc from a point to itself is the whole circle without that point.
func Between(a, x, b ID) bool {
	if a.Compare(b) < 0 {
		return a.Compare(x) < 0 && x.Compare(b) < 0
	}
	return a.Compare(x) < 0 || x.Compare(b) < 0
}

// Owns reports whether a node at n whose predecessor is at p owns key k: k lies in
// the arc (p, n]. A node that is its own predecessor owns everything.
func Owns(p, n, k ID) bool { return k == n || p == n || Between(p, k, n) }

// Space is a circle of 2^Bits points. The zero Space has no points; make one with
// [NewSpace].
type Space struct{ bits int }

// NewSpace returns the circle of 2^m points, m from [MinBits] to [MaxBits]. The
// paper calls m the length of the hash; its worked example has m = 5.
func NewSpace(m int) (Space, error) {
	if m < MinBits || m > MaxBits {
		return Space{}, fmt.Errorf("dht: %d bits: want %d to %d", m, MinBits, MaxBits)
	}
	return Space{m}, nil
}

// Bits returns m.
func (s Space) Bits() int { return s.bits }

// Int returns the point n, modulo 2^m.
func (s Space) Int(n uint64) ID { return s.reduce(fromWords(0, 0, n)) }

// Hash returns the point that the last m bits of sum stand for: of a hash, say, or
// of a public key's fingerprint. Bytes beyond the last 20 do not count.
func (s Space) Hash(sum []byte) (a ID) {
	if len(sum) > len(a) {
		sum = sum[len(sum)-len(a):]
	}
	copy(a[len(a)-len(sum):], sum)
	return s.reduce(a)
}

// reduce takes a number modulo 2^m.
func (s Space) reduce(a ID) ID {
	whole := (MaxBits - s.bits) / 8
	clear(a[:whole])
	a[whole] &= 0xff >> ((MaxBits - s.bits) % 8)
	return a
}

// Contains reports whether a is a point of the circle.
func (s Space) Contains(a ID) bool { return s.reduce(a) == a }

// Add returns a + b on the circle.
func (s Space) Add(a, b ID) ID {
	ah, am, al := a.words()
	bh, bm, bl := b.words()
	lo, carry := bits.Add64(al, bl, 0)
	mid, carry := bits.Add64(am, bm, carry)
	return s.reduce(fromWords(ah+bh+uint32(carry), mid, lo))
}

// Distance returns how far it is from a to b, clockwise: b - a on the circle.
func (s Space) Distance(a, b ID) ID {
	ah, am, al := a.words()
	bh, bm, bl := b.words()
	lo, borrow := bits.Sub64(bl, al, 0)
	mid, borrow := bits.Sub64(bm, am, borrow)
	return s.reduce(fromWords(bh-ah-uint32(borrow), mid, lo))
}

// Power returns 2^i, 0 <= i < m.
func (s Space) Power(i int) (a ID) {
	a[len(a)-1-i/8] = 1 << (i % 8)
	return a
}

// FingerStart returns where finger i of the node at n begins, 1 <= i <= m:
// n + 2^(i-1), as figure 3 of the Chord paper numbers them.
func (s Space) FingerStart(n ID, i int) ID { return s.Add(n, s.Power(i-1)) }

// Log2 returns the whole part of the logarithm of a, -1 for zero.
func Log2(a ID) int {
	hi, mid, lo := a.words()
	switch {
	case hi != 0:
		return 128 + bits.Len32(hi) - 1
	case mid != 0:
		return 64 + bits.Len64(mid) - 1
	}
	return bits.Len64(lo) - 1
}

// Format returns a as users see it: decimal in spaces of up to 16 bits, else
// hexadecimal with the zeros that it begins with.
func (s Space) Format(a ID) string {
	if s.bits <= 16 {
		return strconv.FormatUint(binary.BigEndian.Uint64(a[12:]), 10)
	}
	digits := (s.bits + 3) / 4
	return hex.EncodeToString(a[:])[2*len(a)-digits:]
}

// Parse reads what Format writes. It fails on anything else, and on numbers that
// are not points of the circle.
func (s Space) Parse(text string) (a ID, err error) {
	if s.bits <= 16 {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n >= 1<<s.bits {
			return a, fmt.Errorf("dht: ID %q: want a number below %d", text, uint64(1)<<s.bits)
		}
		return s.Int(n), nil
	}
	digits := (s.bits + 3) / 4
	if len(text) != digits {
		return a, fmt.Errorf("dht: ID %q: want %d hexadecimal digits", text, digits)
	}
	b, err := hex.DecodeString(strings.Repeat("0", 2*len(a)-digits) + strings.ToLower(text))
	if err == nil {
		copy(a[:], b)
	}
	if err != nil || !s.Contains(a) {
		return ID{}, fmt.Errorf("dht: ID %q: want %d hexadecimal digits of a number of %d bits", text, digits, s.bits)
	}
	return a, nil
}
