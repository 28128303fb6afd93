package sim

// Histogram counts small whole numbers: how often n was seen, at n. The zero
// Histogram is empty.
type Histogram []uint64

// Add counts n, which is not negative.
func (h *Histogram) Add(n int) {
	for len(*h) <= n {
		*h = append(*h, 0)
	}
	(*h)[n]++
}

// Merge counts what g has counted.
func (h *Histogram) Merge(g Histogram) {
	for len(*h) < len(g) {
		*h = append(*h, 0)
	}
	for n, c := range g {
		(*h)[n] += c
	}
}

// Count returns how many numbers were counted.
func (h Histogram) Count() (sum uint64) {
	for _, c := range h {
		sum += c
	}
	return sum
}

// Mean returns their mean, 0 of none.
func (h Histogram) Mean() float64 {
	sum, count := 0.0, h.Count()
	for n, c := range h {
		sum += float64(n) * float64(c)
	}
	return sum / float64(max(count, 1))
}

// Percentile returns the smallest n that at least the share q of all, 0 to 1, are
// not above.
func (h Histogram) Percentile(q float64) int {
	want, seen := q*float64(h.Count()), uint64(0)
	for n, c := range h {
		seen += c
		if c > 0 && float64(seen) >= want {
			return n
		}
	}
	return 0
}

// Max returns the largest, 0 of none.
func (h Histogram) Max() int { return h.Percentile(1) }
