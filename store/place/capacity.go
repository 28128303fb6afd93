package place

import "slices"

// Capacity returns how many bytes can be kept in n copies on machines with this much
// room each: no machine keeps two copies of anything, so that what one has more than
// the others together cannot all be used. Where there are fewer than n machines with
// room every one of them keeps all.
func Capacity(room []int64, n int) int64 {
	var left []int64
	for _, r := range room {
		if r > 0 {
			left = append(left, r)
		}
	}
	if n = min(n, len(left)); n < 1 {
		return 0
	}
	slices.SortFunc(left, func(a, b int64) int { return int(max(-1, min(1, b-a))) })
	// The k largest keep a copy of all; what the others have holds the n-k that remain.
	var rest int64
	for _, r := range left {
		rest += r
	}
	for k := 0; k < n; k++ {
		all := rest / int64(n-k)
		if left[k] <= all {
			return all
		}
		rest -= left[k]
	}
	return left[n-1]
}
