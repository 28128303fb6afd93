package place_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store/place"
)

func TestCapacity(t *testing.T) {
	for _, c := range []struct {
		room []int64
		n    int
		want int64
	}{
		{nil, 2, 0},
		{[]int64{10}, 2, 10}, // as many copies as there are machines
		{[]int64{10, 0, -4}, 2, 10},
		{[]int64{100, 1, 1}, 2, 2},
		{[]int64{10, 10, 10}, 2, 15},
		{[]int64{10, 10, 10}, 3, 10},
		{[]int64{50, 40, 5, 5}, 3, 10},
	} {
		if got := place.Capacity(c.room, c.n); got != c.want {
			t.Errorf("%v, %d copies: %d, want %d", c.room, c.n, got, c.want)
		}
	}
}

// What Capacity says can be placed, and one byte more for each machine cannot.
func TestCapacity_IsTheBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := rapid.SliceOfN(rapid.Int64Range(1, 1000), 1, 8).Draw(t, "room")
		n := min(rapid.IntRange(1, 4).Draw(t, "copies"), len(room))
		fits := func(d int64) bool {
			var sum int64
			for _, r := range room {
				sum += min(r, d)
			}
			return sum >= d*int64(n)
		}
		if c := place.Capacity(room, n); !fits(c) || fits(c+1) {
			t.Fatalf("%v, %d copies: %d", room, n, c)
		}
	})
}
