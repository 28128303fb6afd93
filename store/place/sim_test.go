package place_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/place"
)

// world is a pool whose machines fill up, with nobody in charge.
type world struct {
	r       *rand.Rand
	members []store.Machine
	used    map[store.MachineID]float64
	files   []placed
	copies  int
	next    uint64
	diverts int
	mean    float64 // of a file's size
}

type placed struct {
	key     [16]byte
	size    float64
	holders []store.MachineID
}

// newWorld makes n machines of 100 to 2,000 units, log-uniform. A file has about a
// part in 10,000 of the whole, log-normal.
func newWorld(seed uint64, n, copies int) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 7)), used: map[store.MachineID]float64{}, copies: copies}
	for range n {
		w.join(100 * math.Pow(20, w.r.Float64()))
	}
	w.mean = w.total() / float64(copies) / 10000
	return w
}

func (w *world) join(space float64) store.MachineID {
	var id store.MachineID
	binary.BigEndian.PutUint64(id[:], w.r.Uint64())
	w.members = append(w.members, store.Machine{ID: id, Space: uint64(space * (1 << 30))})
	return id
}

func (w *world) total() (sum float64) {
	for _, m := range w.members {
		sum += float64(m.Space)
	}
	return sum
}

func (w *world) space(id store.MachineID) float64 {
	i := slices.IndexFunc(w.members, func(m store.Machine) bool { return m.ID == id })
	return float64(w.members[i].Space)
}

func (w *world) file() placed {
	w.next++
	var k [16]byte
	binary.BigEndian.PutUint64(k[:], w.next*0x9e3779b97f4a7c15)
	return placed{key: k, size: w.mean * math.Exp(w.r.NormFloat64()-.5)}
}

// put places a file where there is room, and reports whether there was for all its
// copies.
func (w *world) put(m *place.Map, f placed) bool {
	room := func(id store.MachineID) bool { return w.used[id]+f.size <= w.space(id) }
	f.holders = m.Choose(f.key, w.copies, room)
	if len(f.holders) < min(w.copies, len(w.members)) {
		return false
	}
	first := m.Order(f.key)[:len(f.holders)]
	for _, id := range f.holders {
		w.used[id] += f.size
		if !slices.Contains(first, id) {
			w.diverts++
		}
	}
	w.files = append(w.files, f)
	return true
}

// bound is the most that can be stored in the copies that are wanted on machines that
// differ: what the machines hold together, each no more than one copy of all.
func (w *world) bound() float64 {
	low, high := 0.0, w.total()
	for range 200 {
		mid := (low + high) / 2
		var sum float64
		for _, m := range w.members {
			sum += min(float64(m.Space), mid)
		}
		if sum >= mid*float64(w.copies) {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

func (w *world) stored() (sum float64) {
	for _, f := range w.files {
		sum += f.size
	}
	return sum
}

// revise places all files anew as far as terms ask, and returns the bytes copied.
func (w *world) revise(t place.Terms) (moved float64) {
	m := place.New(w.members, w.copies)
	for i := range w.files {
		f := &w.files[i]
		t.Now = f.holders
		t.Room = func(id store.MachineID) bool { return w.used[id]+f.size <= w.space(id) }
		now := m.Revise(f.key, w.copies, t)
		for _, id := range now {
			if !slices.Contains(f.holders, id) {
				moved += f.size
				w.used[id] += f.size
			}
		}
		for _, id := range f.holders {
			if !slices.Contains(now, id) {
				w.used[id] -= f.size
			}
		}
		f.holders = now
	}
	return moved
}

// The pool is full when no more can be stored on its machines, whatever their sizes,
// and not before.
func TestFill_ReachesTheBound(t *testing.T) {
	for _, c := range []struct{ machines, copies int }{{4, 3}, {5, 3}, {10, 3}, {50, 3}, {4, 2}, {5, 2}, {10, 2}, {50, 2}} {
		worst, sum, diverted := 1.0, 0.0, 0.0
		const seeds = 3
		for seed := range uint64(seeds) {
			w := newWorld(seed, c.machines, c.copies)
			m := place.New(w.members, c.copies)
			for w.put(m, w.file()) {
			}
			fill := w.stored() / w.bound()
			worst, sum = min(worst, fill), sum+fill
			diverted += float64(w.diverts) / float64(len(w.files)*c.copies)
			if fill < .98 {
				t.Errorf("seed %d: %d machines, %d copies: refused at %.4f of the bound", seed, c.machines, c.copies, fill)
			}
		}
		t.Logf("%2d machines, %d copies, seeds 0 to %d: filled to %.4f of the bound, the worst %.4f; %.1f %% of the copies diverted",
			c.machines, c.copies, seeds-1, sum/seeds, worst, diverted/seeds*100)
	}
}

// When a machine joins, hardly more moves than what it takes; when one goes, only what
// it had is copied.
func TestRevise_MovesLittle(t *testing.T) {
	always := func(_, _ store.MachineID) bool { return true }
	for _, c := range []struct{ machines, copies int }{{4, 2}, {5, 3}, {10, 3}, {50, 3}} {
		for seed := range uint64(3) {
			w := newWorld(seed, c.machines, c.copies)
			m := place.New(w.members, c.copies)
			for range 2500 {
				if !w.put(m, w.file()) {
					t.Fatal("full at a quarter")
				}
			}
			joined := w.join(w.total() / float64(c.machines) / (1 << 30))
			moved := w.revise(place.Terms{Better: always})
			ideal := w.used[joined]
			share := ideal / (w.stored() * float64(c.copies) * w.space(joined) / w.total())
			if moved > 1.15*ideal || share < .85 || share > 1.15 {
				t.Errorf("seed %d: %d machines, %d copies: a join moved %.3f of what the new machine took, %.3f of its share", seed, c.machines, c.copies, moved/ideal, share)
			}
			byShare := moved / (ideal / share)

			gone := w.members[c.machines/2].ID
			lost := w.used[gone]
			w.members = slices.DeleteFunc(w.members, func(m store.Machine) bool { return m.ID == gone })
			w.used[gone] = 0
			again := w.revise(place.Terms{})
			if math.Abs(again/lost-1) > 1e-9 {
				t.Errorf("seed %d: %d machines: %.4f of what was lost was copied", seed, c.machines, again/lost)
			}
			t.Logf("seed %d, %2d machines, %d copies: join moved %.3f of what it took, %.3f of its share; leave copied %.3f of what was lost", seed, c.machines, c.copies, moved/ideal, byShare, again/lost)
			for _, f := range w.files {
				if len(f.holders) != c.copies || slices.Contains(f.holders, gone) {
					t.Fatalf("a file is kept by %v", f.holders)
				}
			}
		}
	}
}

// With every copy that is more or less the same files stay where they are.
func TestRevise_FewerAndMore(t *testing.T) {
	w := newWorld(1, 6, 2)
	m2, m4 := place.New(w.members, 2), place.New(w.members, 4)
	for range 200 {
		f := w.file()
		two := m2.Choose(f.key, 2, nil)
		four := m4.Revise(f.key, 4, place.Terms{Now: two})
		for _, id := range two {
			if !slices.Contains(four, id) {
				t.Fatalf("%v of two are not all among %v", two, four)
			}
		}
		if len(four) != 4 {
			t.Fatalf("%d of four", len(four))
		}
		if again := m4.Revise(f.key, 2, place.Terms{Now: four}); len(again) != 4 {
			t.Fatalf("copies were given up unasked: %v of %v", again, four)
		}
		fewer := m4.Revise(f.key, 2, place.Terms{Now: four, Fewer: true})
		if order := m4.Order(f.key); len(fewer) != 2 || slices.Index(order, fewer[1]) > slices.Index(order, four[2]) {
			t.Fatalf("of %v stay %v; the order is %v", four, fewer, order)
		}
		if one := m4.Revise(f.key, 9, place.Terms{Now: two}); len(one) != 6 {
			t.Fatalf("nine copies on six machines: %v", one)
		}
	}
}

// Of two copies one is on a machine that is always on, and laptops are given less.
func TestChoose_LaptopsNeverAlone(t *testing.T) {
	ms := pool(1000, 1000, 1000, 100)
	for i := range 3 {
		ms[i].Laptop = true
	}
	desk := ms[3].ID
	m := place.New(ms, 2)
	for i := range 500 {
		if got := m.Choose(key(i), 2, nil); len(got) != 2 || !slices.Contains(got, desk) {
			t.Fatalf("key %d: %v keep it, laptops alone", i, got)
		}
		if got := m.Choose(key(i), 2, func(id store.MachineID) bool { return id != desk }); len(got) != 2 {
			t.Fatalf("key %d: the machine that is always on is full, and only %v keep it", i, got)
		}
		two := []store.MachineID{ms[0].ID, ms[1].ID}
		if got := m.Revise(key(i), 2, place.Terms{Now: two}); len(got) != 2 || !slices.Contains(got, desk) {
			t.Fatalf("key %d: %v after a machine that is always on has come", i, got)
		}
	}
	ms = pool(100, 100)
	ms[0].Laptop = true
	m = place.New(ms, 1)
	laptop := 0
	for i := range 4000 {
		if m.Choose(key(i), 1, nil)[0] == ms[0].ID {
			laptop++
		}
	}
	if share := float64(laptop) / 4000; share < .20 || share > .26 {
		t.Errorf("the laptop keeps %.3f, want 0.3/1.3 = 0.23", share)
	}
}

func TestKey(t *testing.T) {
	refs := make([]store.Ref, 100)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range refs {
		for j := range refs[i] {
			refs[i][j] = byte(r.Uint32())
		}
	}
	equal := 0
	const tries = 400
	for range tries {
		r.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
		if place.Key(refs[:75]) == place.Key(refs[25:]) { // 50 of 100 in common
			equal++
		}
	}
	if share := float64(equal) / tries; share < .42 || share > .58 {
		t.Errorf("files that share half of their chunks have the same key %.2f of the time, want 0.5", share)
	}
	if place.Key(nil) != [16]byte{} {
		t.Error("a file without chunks has a key")
	}
}

func TestExplain(t *testing.T) {
	ms := pool(100, 200, 400, 800)
	ms[1].Laptop = true
	m := place.New(ms, 2)
	full := m.Order(key(1))[0]
	got := m.Explain(key(1), 2, func(id store.MachineID) string {
		if id == full {
			return "full"
		}
		return ""
	})
	var weights float64
	for i, r := range got {
		weights += r.Weight
		if r.Machine != m.Order(key(1))[i] || i > 0 && r.Score < got[i-1].Score || r.Laptop != (r.Machine == ms[1].ID) {
			t.Errorf("%d: %+v", i, r)
		}
	}
	if len(got) != 4 || got[0].Skipped != "full" || got[0].Keeps || !got[1].Keeps || math.Abs(weights-1) > 1e-9 {
		t.Errorf("%+v", got)
	}
	if got := place.Explain(key(1), ms, 2); len(got) != 4 || !got[0].Keeps {
		t.Errorf("%+v", got)
	}
}
