package sim

import "math"

// ExpectedHops returns the mean path length that the Chord paper works out for n
// nodes with lists of r successors (section V-D): half log2 n, less half log2 r for
// the last steps, which the list saves, and one to the owner itself.
func ExpectedHops(n, r int) float64 {
	return 0.5*math.Log2(float64(n)) - 0.5*math.Log2(float64(r)) + 1
}

// PaperFailures is a line of the paper's Table II: 1,000 nodes with lists of 20, a
// share of which fails at once; path length and timeouts of 10,000 lookups before
// any repair.
type PaperFailures struct {
	Share    float64
	Hops     float64
	Timeouts float64
}

// PaperTableII returns the table.
func PaperTableII() []PaperFailures {
	return []PaperFailures{{0, 3.84, 0}, {0.1, 4.03, 0.60}, {0.2, 4.22, 1.17}, {0.3, 4.44, 2.02}, {0.4, 4.69, 3.23}, {0.5, 5.09, 5.10}}
}

// ShortList is what too short a list costs: the share of lookups that fail after
// half of 1,000 nodes died, when a node that finds its successors dead gives up.
type ShortList struct {
	List   int
	Failed float64
}

// ShortLists returns figures of an earlier simulation of plain Chord, which does not
// go back to ask another way.
func ShortLists() []ShortList {
	return []ShortList{{2, 0.92}, {3, 0.74}, {5, 0.24}, {10, 0.05}, {20, 0}}
}

// The paper's figures of load (section V-B): 10,000 nodes. With 500,000 keys the
// busiest node has 9.1 times the mean; of a million keys, 20 virtual nodes to each
// take the 99th percentile from 4.8 times the mean to 1.6, and the first from nothing
// to 0.5.
const (
	PaperLoadNodes = 10_000
	PaperVirtual   = 20
	PaperBusiest   = 9.1

	PaperPercentile99        = 4.8
	PaperVirtualPercentile99 = 1.6
	PaperVirtualPercentile1  = 0.5
)

// PaperChurn is a line of the paper's Table III: 1,000 nodes, of which as many join
// as fail, Rate a second, and each of which repairs its pointers every 30 s on
// average; of 10,000 lookups Failed did not find the owner.
type PaperChurn struct {
	Rate     float64
	Hops     float64
	Timeouts float64
	Failed   int
}

// PaperTableIII returns the table.
func PaperTableIII() []PaperChurn {
	return []PaperChurn{
		{0.05, 3.90, 0.05, 0}, {0.10, 3.83, 0.11, 0}, {0.15, 3.84, 0.16, 2}, {0.20, 3.81, 0.23, 5},
		{0.25, 3.83, 0.30, 6}, {0.30, 3.91, 0.34, 8}, {0.35, 3.94, 0.42, 16}, {0.40, 4.06, 0.46, 15},
	}
}
