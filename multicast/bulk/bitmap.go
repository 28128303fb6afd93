package bulk

import "math/bits"

// bitmap is a row of truth values, the lowest bit of a byte first.
type bitmap []byte

func newBitmap(n int) bitmap { return make(bitmap, (n+7)/8) }

func (m bitmap) has(i int) bool { return i >= 0 && i/8 < len(m) && m[i/8]>>(i%8)&1 == 1 }
func (m bitmap) set(i int)      { m[i/8] |= 1 << (i % 8) }
func (m bitmap) clear(i int)    { m[i/8] &^= 1 << (i % 8) }

func (m bitmap) count() (n int) {
	for _, b := range m {
		n += bits.OnesCount8(b)
	}
	return n
}

// contiguous returns how many of the first n are set without a gap.
func (m bitmap) contiguous(n int) int {
	for i := range n {
		if !m.has(i) {
			return i
		}
	}
	return n
}

// trim clears what is not among the first n.
func (m bitmap) trim(n int) {
	for i := n; i < 8*len(m); i++ {
		m.clear(i)
	}
}
