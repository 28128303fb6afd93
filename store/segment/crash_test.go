package segment_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store/segment"
)

// TestStore_CrashKeepsWhatWasSynced runs random puts, deletes and syncs, crashes
// with any part of the unsynced blocks on the disk, and looks.
func TestStore_CrashKeepsWhatWasSynced(t *testing.T) {
	seeds := uint64(60)
	if testing.Short() {
		seeds = 12
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 2))
		m := model{t: t, rng: rng, must: map[int]bool{}, mustNot: map[int]bool{}}
		var fs vfs.FS = vfs.NewCrashableMem()
		for range 4 {
			f := open(t, fs, segment.Config{Space: 300 << 10, SegmentSize: 24 << 10})
			m.check(seed, f)
			checkUsage(t, seed, f, fs)
			m.adopt(f)
			for range rng.IntN(80) {
				m.step(f)
			}
			m.check(seed, f)
			crashed := fs.(*vfs.MemFS).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			f.close()
			fs = crashed
		}
	}
}

// model knows of the bodies 0 to 399 which must be there, being replicas put before
// a sync, and which must not, being deleted before one. The others may be.
type model struct {
	t             *testing.T
	rng           *rand.Rand
	must, mustNot map[int]bool
	put, deleted  []int // since the last sync
}

func (m *model) check(seed uint64, f fixture) {
	m.t.Helper()
	for n := range 400 {
		if there := f.holds(n); m.must[n] && !there || m.mustNot[n] && there {
			m.t.Fatalf("seed %d: %d is there: %v", seed, n, there)
		}
	}
}

// adopt begins anew with what survived, all of it replicas.
func (m *model) adopt(f fixture) {
	clear(m.must)
	clear(m.mustNot)
	m.put, m.deleted = nil, nil
	for n := range 400 {
		if f.holds(n) {
			if err := f.SetClass(refOf(n), segment.Replica); err != nil {
				m.t.Fatal(err)
			}
			m.put = append(m.put, n)
		}
	}
}

func (m *model) step(f fixture) {
	n := m.rng.IntN(400)
	switch k := m.rng.IntN(10); {
	case k < 6:
		class := segment.Class(m.rng.IntN(2))
		err := f.Put(refOf(n), bodyOf(n), class)
		if errors.Is(err, segment.ErrFull) {
			return
		}
		if err != nil {
			m.t.Fatal(err)
		}
		delete(m.mustNot, n)
		m.deleted = without(m.deleted, n)
		if class == segment.Replica {
			m.put = append(m.put, n)
		}
	case k < 8:
		if err := f.Delete(refOf(n)); err != nil {
			m.t.Fatal(err)
		}
		delete(m.must, n)
		m.put = without(m.put, n)
		m.deleted = append(m.deleted, n)
	default:
		f.sync()
		for _, n := range m.put {
			m.must[n] = true
		}
		for _, n := range m.deleted {
			m.mustNot[n] = true
		}
		m.put, m.deleted = nil, nil
	}
}

func without(s []int, n int) (out []int) {
	for _, v := range s {
		if v != n {
			out = append(out, v)
		}
	}
	return out
}

// checkUsage compares the usage with the bodies and files that are there.
func checkUsage(t *testing.T, seed uint64, f fixture, fs vfs.FS) {
	t.Helper()
	var live int64
	for n := range 400 {
		there := f.holds(n)
		if there {
			live += sizeOf(n)
		}
		if f.Has(refOf(n)) != there {
			t.Fatalf("seed %d: Has(%d) and Get differ", seed, n)
		}
	}
	u := f.Usage()
	if u.Replicas+u.Cache != live || u.Space-u.Free != fileBytes(t, fs) || u.Dead < 0 {
		t.Fatalf("seed %d: usage %+v, live %d, files %d", seed, u, live, fileBytes(t, fs))
	}
}
