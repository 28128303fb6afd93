package sim

import "math"

// ExpectedHops returns the mean path length that the Chord paper works out for n
// nodes with lists of r successors: half log2 n, less half log2 r for the last
// steps, which the list saves, and one to the owner itself (section VI-E).
func ExpectedHops(n, r int) float64 {
	return 0.5*math.Log2(float64(n)) - 0.5*math.Log2(float64(r)) + 1
}
