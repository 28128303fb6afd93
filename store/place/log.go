package place

import "math/bits"

// log2Table holds log2(1 + i/256) in units of 2^-24, rounded down, for i from 0 to
// 256. It is computed in integers so that no floating-point unit has a say.
var log2Table = makeLog2Table()

// makeLog2Table computes the table by the classic squaring method: squaring a
// number in [1, 2) doubles its logarithm, and whether the square reaches 2 is the
// next bit.
func makeLog2Table() (t [257]uint64) {
	for i := range 256 {
		x := uint64(256+i) << 23 // in units of 2^-31
		for range 24 {
			hi, lo := bits.Mul64(x, x)
			x = hi<<33 | lo>>31
			t[i] <<= 1
			if x >= 1<<32 {
				t[i] |= 1
				x >>= 1
			}
		}
	}
	t[256] = 1 << 24
	return t
}

// negLog2 returns -log2((h+1)/2^64) in units of 2^-24, at least 1: between the
// entries of the table it draws straight lines.
func negLog2(h uint64) uint64 {
	if h == 1<<64-1 {
		return 1
	}
	x := h + 1
	n := bits.Len64(x) - 1
	m := x << (63 - n) // top bit set
	i := m >> 55 & 0xff
	rest := m << 9 >> 40 // the next 24 bits
	log := uint64(n)<<24 + log2Table[i] + (log2Table[i+1]-log2Table[i])*rest>>24
	return max(64<<24-log, 1)
}

// exp2Sixteenth holds 2^(i/16) in units of 2^-16, rounded down.
var exp2Sixteenth = [16]uint64{
	65536, 68437, 71467, 74631, 77935, 81386, 84989, 88752,
	92681, 96785, 101070, 105545, 110217, 115097, 120193, 125514,
}

// quantise returns space rounded down to a power of 2^(1/16). Zero stays zero.
func quantise(space uint64) uint64 {
	if space == 0 {
		return 0
	}
	n := bits.Len64(space) - 1
	step := func(i int) uint64 { // 2^(n+i/16)
		hi, lo := bits.Mul64(exp2Sixteenth[i], 1<<n)
		return hi<<48 | lo>>16
	}
	q := 0
	for i := range exp2Sixteenth {
		if space >= step(i) {
			q = i
		}
	}
	if n > 40 { // petabytes share the coarse end: the product must fit
		return exp2Sixteenth[q] << 40 << min(n-40, 6)
	}
	return exp2Sixteenth[q] << n
}
