package place_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/place"
)

func pool(spaces ...uint64) (ms []store.Machine) {
	for i, s := range spaces {
		ms = append(ms, store.Machine{ID: store.MachineID{byte(i + 1), 7}, Space: s << 30})
	}
	return ms
}

func key(n int) (k [16]byte) {
	binary.BigEndian.PutUint64(k[:], uint64(n)*0x9e3779b97f4a7c15)
	return k
}

func TestOrder_Golden(t *testing.T) {
	m := place.New(pool(100, 200, 400, 800, 50), 3)
	want := []string{"34215", "34215", "34251", "34251"}
	for i, w := range want {
		got := ""
		for _, id := range m.Order(key(i)) {
			got += fmt.Sprint(id[0])
		}
		if got != w {
			t.Errorf("key %d: order %s, want %s", i, got, w)
		}
	}
}

// Machines of all kinds compute the same to the last bit: what follows from many keys
// and from weights that were corrected, in one number.
func TestOrder_GoldenSum(t *testing.T) {
	for _, c := range []struct {
		spaces []uint64
		copies int
		want   string
	}{
		{[]uint64{100, 200, 400, 800, 50}, 3, "63a7eb28383f50f5"},
		{[]uint64{931, 13, 7777, 500, 250, 1000}, 2, "05612cf24f5dc1ec"},
		{slices.Repeat([]uint64{100, 130, 170}, 10), 3, "8b011b0a34d11880"},
	} {
		ms := pool(c.spaces...)
		ms[1].Laptop = true
		m := place.New(ms, c.copies)
		h := sha256.New()
		for i := range 2000 {
			for _, id := range m.Order(key(i)) {
				h.Write(id[:])
			}
		}
		if got := fmt.Sprintf("%x", h.Sum(nil)[:8]); got != c.want {
			t.Errorf("%v, %d copies: %s, want %s", c.spaces, c.copies, got, c.want)
		}
	}
}

// Every machine computes the same, whatever order it lists the members in.
func TestOrder_Agreement(t *testing.T) {
	ms := pool(100, 200, 400, 800, 50, 100)
	a := place.New(ms, 3)
	slices.Reverse(ms)
	ms[0].Name, ms = "other", append(ms, ms[2])
	b := place.New(ms, 3)
	for i := range 500 {
		if x, y := a.Order(key(i)), b.Order(key(i)); !slices.Equal(x, y) {
			t.Fatalf("key %d: %v, %v", i, x, y)
		}
	}
}

// Copies fall on machines in proportion to their space, as far as n different
// machines allow.
func TestChoose_Proportional(t *testing.T) {
	for _, c := range []struct {
		spaces []uint64
		n      int
		share  []float64 // of keys
	}{
		{[]uint64{100, 200, 400, 800}, 1, []float64{1. / 15, 2. / 15, 4. / 15, 8. / 15}},
		{[]uint64{100, 100, 200, 200, 200}, 2, []float64{.25, .25, .5, .5, .5}},
		{[]uint64{100, 200, 400, 400, 800}, 3, []float64{2. / 11, 4. / 11, 8. / 11, 8. / 11, 1}},
		{[]uint64{100, 100, 100}, 3, []float64{1, 1, 1}},
		{[]uint64{100, 0, 100}, 1, []float64{.5, 0, .5}},
	} {
		m := place.New(pool(c.spaces...), c.n)
		const keys = 8000
		got := map[byte]int{}
		for i := range keys {
			for _, id := range m.Choose(key(i), c.n, nil) {
				got[id[0]]++
			}
		}
		for i, want := range c.share {
			share := float64(got[byte(i+1)]) / keys
			if share < want-.03 || share > want+.03 {
				t.Errorf("%v, %d copies: machine %d keeps %.3f of the keys, want %.3f", c.spaces, c.n, i, share, want)
			}
		}
	}
}

// When a machine joins, an order changes only by that machine's being in it.
func TestOrder_MinimalMovement(t *testing.T) {
	spaces := slices.Repeat([]uint64{100, 200, 100, 150}, 5)
	before, after := place.New(pool(spaces...), 1), place.New(pool(append(spaces, 200)...), 1)
	joined := store.MachineID{21, 7}
	moved := 0
	for i := range 2000 {
		a, b := before.Order(key(i)), after.Order(key(i))
		if b[0] == joined {
			moved++
		}
		if b = slices.DeleteFunc(b, func(id store.MachineID) bool { return id == joined }); !slices.Equal(a, b) {
			t.Fatalf("key %d: others changed places", i)
		}
	}
	if share := float64(moved) / 2000; share < .05 || share > .09 {
		t.Errorf("%.3f of the keys moved, want about 0.07", share)
	}
}

func TestChoose_SkipsUnusable(t *testing.T) {
	ms := pool(100, 100, 100, 100)
	all := place.Order(key(1), ms)
	got := place.Choose(key(1), ms, 2, func(id store.MachineID) bool { return id != all[0] })
	if all := place.New(ms, 2).Order(key(1)); !slices.Equal(got, all[1:3]) {
		t.Errorf("chose %v of %v", got, all)
	}
	if got := place.Choose(key(1), nil, 2, nil); len(got) != 0 {
		t.Errorf("chose %v of nobody", got)
	}
}

// A change of a few hundredths of the space, within one step, moves nothing.
func TestNew_IgnoresSmallChanges(t *testing.T) {
	a, b := place.New(pool(128, 256, 1024), 1), place.New(pool(132, 266, 1060), 1)
	for i := range 200 {
		if !slices.Equal(a.Order(key(i)), b.Order(key(i))) {
			t.Fatalf("key %d moved", i)
		}
	}
}

func FuzzNew(f *testing.F) {
	f.Add(uint64(1), uint64(1)<<63, uint64(0), 2)
	f.Add(^uint64(0), ^uint64(0), uint64(1), 1)
	f.Fuzz(func(t *testing.T, a, b, c uint64, n int) {
		ms := pool(1, 1, 1, 1)
		ms[0].Space, ms[1].Space, ms[2].Space = a, b, c
		got := place.Choose(key(3), ms, n%5, nil)
		if n > 0 && len(got) > n {
			t.Fatalf("%d machines for %d copies", len(got), n)
		}
	})
}

func BenchmarkOrder(b *testing.B) {
	m := place.New(pool(slices.Repeat([]uint64{100}, 10)...), 3)
	for i := range b.N {
		m.Order(key(i))
	}
}

func BenchmarkNew(b *testing.B) {
	for range b.N {
		place.New(pool(100, 200, 400, 800, 50), 3)
	}
}
