package place

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// correct changes the weights until the first n of the order fall on each machine
// in proportion to what it was given: w *= (odds wanted/odds observed)^0.7, over fixed
// keys.
// The logarithms of the keys are computed once.
func (m *Map) correct(n int) {
	want := m.shares(n)
	logs := make([]uint64, 0, trialKeys*len(m.members))
	for k := range trialKeys {
		var key [16]byte
		copy(key[:], "trial")
		binary.BigEndian.PutUint64(key[8:], uint64(k))
		for _, w := range m.members {
			logs = append(logs, negLog2(hash(w.id, key)))
		}
	}
	for range rounds {
		got := m.observe(logs, n)
		for i := range m.members {
			m.members[i].weight = adjust(m.members[i].weight, want[i], got[i])
		}
		m.scale()
	}
}

// shares returns how many of the trial keys each machine is to keep: in proportion
// to its weight, but none twice; what a machine cannot take the others share.
func (m *Map) shares(n int) []uint64 {
	want := make([]uint64, len(m.members))
	full := make([]bool, len(m.members))
	for {
		var sum uint64
		left := uint64(n)
		for i, w := range m.members {
			if full[i] {
				left--
			} else {
				sum += w.weight
			}
		}
		again := false
		for i, w := range m.members {
			if full[i] {
				continue
			}
			hi, lo := bits.Mul64(w.weight, left*trialKeys)
			if sum > 0 && hi < sum {
				want[i], _ = bits.Div64(hi, lo, sum)
			}
			if want[i] >= trialKeys {
				want[i], full[i], again = trialKeys, true, true
			}
		}
		if !again {
			return want
		}
	}
}

// observe returns how many of the trial keys each machine keeps.
func (m *Map) observe(logs []uint64, n int) []uint64 {
	got := make([]uint64, len(m.members))
	type scored struct {
		i     int
		score uint64
	}
	row := make([]scored, len(m.members))
	for ; len(logs) > 0; logs = logs[len(m.members):] {
		for i, w := range m.members {
			// Logarithms have up to 31 bits and weights up to 32; 33 more bits make
			// the quotient of the greatest weight precise.
			row[i] = scored{i, logs[i] << 33 / w.weight}
		}
		slices.SortStableFunc(row, func(a, b scored) int {
			if a.score < b.score {
				return -1
			}
			if a.score > b.score {
				return 1
			}
			return a.i - b.i
		})
		for _, s := range row[:n] {
			got[s.i]++
		}
	}
	return got
}

// odds returns the logarithm of the odds that a trial key is one of got. Where a
// machine is to keep almost all, they say how far it is from that, as shares do not.
func odds(got uint64) int64 {
	return int64(log2(max(got, 1))) - int64(log2(trialKeys+1-min(got, trialKeys)))
}

// adjust returns w times the ratio of the odds of want and of got to the power of 0.7,
// in integers: the exponent acts on logarithms in units of 2^-24.
func adjust(w, want, got uint64) uint64 {
	const one = 1 << 24
	log := odds(want) - odds(got)
	log = log * 7 / 10
	log = min(max(log, -2*one), 2*one) // no leaps
	log += int64(log2(w))
	// Back to a number between 1 and 2^40.
	log = min(max(log, 0), 40*one-1)
	return max(exp2(uint64(log)), 1)
}

// log2 returns log2(x) in units of 2^-24.
func log2(x uint64) uint64 {
	n := bits.Len64(x) - 1
	m := x << (63 - n)
	i := m >> 55 & 0xff
	rest := m << 9 >> 40
	return uint64(n)<<24 + log2Table[i] + (log2Table[i+1]-log2Table[i])*rest>>24
}

// exp2 is the reverse of log2: it looks the fraction up in the same table.
func exp2(l uint64) uint64 {
	n, f := l>>24, l&(1<<24-1)
	i, found := slices.BinarySearch(log2Table[:], f)
	if !found {
		i--
	}
	i = min(i, 255)
	step := log2Table[i+1] - log2Table[i]
	m := uint64(256+i)<<24 + (f-log2Table[i])<<24/step // in units of 2^-32
	if n >= 32 {
		return m << (n - 32)
	}
	return m >> (32 - n)
}
