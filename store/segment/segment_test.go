package segment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
)

// refOf makes a Ref from a number; the body of a Ref follows from it too.
func refOf(n int) store.Ref { return store.Ref{0: byte(n >> 16), 1: byte(n >> 8), 2: byte(n), 31: 1} }

func bodyOf(n int) []byte {
	b := make([]byte, 1+n*7919%6000)
	rand.NewChaCha8([32]byte(refOf(n))).Read(b)
	return b
}

const head = 48

func sizeOf(n int) int64 { return int64(head + len(bodyOf(n))) }

type fixture struct {
	*segment.Store
	kv *index.Pebble
	t  testing.TB
}

// open opens index and segments on one file system, as a machine does.
func open(t testing.TB, fs vfs.FS, cfg segment.Config) fixture {
	t.Helper()
	kv, err := index.Open(fs, "/kv", index.Config{Cache: 1 << 20, Gather: -1})
	if err != nil {
		t.Fatal(err)
	}
	s, err := segment.Open(fs, "/chunks", kv, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return fixture{s, kv, t}
}

func (f fixture) close() {
	f.t.Helper()
	if err := errors.Join(f.Store.Close(), f.kv.Close()); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) put(n int, class segment.Class) {
	f.t.Helper()
	if err := f.Put(refOf(n), bodyOf(n), class); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) sync() {
	f.t.Helper()
	if err := f.Sync(); err != nil {
		f.t.Fatal(err)
	}
}

// holds reports whether body n is there, and fails on a wrong one.
func (f fixture) holds(n int) bool {
	f.t.Helper()
	b, err := f.Get(refOf(n))
	if errors.Is(err, store.ErrNotFound) {
		return false
	}
	if err != nil || !bytes.Equal(b, bodyOf(n)) {
		f.t.Fatalf("Get(%d) = %d bytes, %v", n, len(b), err)
	}
	return true
}

// fileBytes is the size of all segment files.
func fileBytes(t testing.TB, fs vfs.FS) (sum int64) {
	t.Helper()
	names, err := fs.List("/chunks")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		st, err := fs.Stat(fs.PathJoin("/chunks", name))
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	return sum
}

func TestStore_PutGetReopen(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	fs := vfs.NewMem()
	f := open(t, fs, segment.Config{Space: 1 << 20, SegmentSize: 20 << 10})
	var want segment.Usage
	want.Space = 1 << 20
	for n := range 40 {
		class := segment.Class(n % 2)
		f.put(n, class)
		f.put(n, class)
		if class == segment.Cache {
			want.Cache += sizeOf(n)
		} else {
			want.Replicas += sizeOf(n)
		}
	}
	want.Free = want.Space - want.Cache - want.Replicas
	check := func(f fixture) {
		t.Helper()
		for n := range 40 {
			if !f.holds(n) {
				t.Errorf("%d is gone", n)
			}
		}
		if got := f.Usage(); got != want {
			t.Errorf("usage %+v, want %+v", got, want)
		}
		if f.holds(41) {
			t.Error("41 was never put")
		}
	}
	check(f)
	f.sync()
	check(f)
	f.close()
	if _, err := f.Get(refOf(1)); !errors.Is(err, segment.ErrClosed) {
		t.Errorf("Get after Close = %v", err)
	}
	if err := f.Put(refOf(99), nil, segment.Cache); !errors.Is(err, segment.ErrClosed) {
		t.Errorf("Put after Close = %v", err)
	}
	f = open(t, fs, segment.Config{Space: 1 << 20, SegmentSize: 20 << 10})
	defer f.close()
	check(f)
	f.put(41, segment.Replica)
	if err := f.Put(refOf(42), make([]byte, segment.MaxBody+1), 0); !errors.Is(err, segment.ErrTooLarge) {
		t.Errorf("a huge body: %v", err)
	}
}

func TestStore_ClassAndDelete(t *testing.T) {
	for _, synced := range []bool{false, true} {
		fs := vfs.NewMem()
		f := open(t, fs, segment.Config{})
		f.put(1, segment.Cache)
		f.put(2, segment.Cache)
		f.put(3, segment.Replica)
		if synced {
			f.sync()
		}
		f.put(1, segment.Replica) // raised by putting
		f.put(3, segment.Cache)   // not lowered by putting
		if err := f.SetClass(refOf(2), segment.Replica); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Delete(refOf(3)), f.Delete(refOf(3)), f.Delete(refOf(9))); err != nil {
			t.Fatal(err)
		}
		if err := f.SetClass(refOf(3), segment.Cache); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("SetClass of what is gone = %v", err)
		}
		for range 2 {
			u := f.Usage()
			if u.Replicas != sizeOf(1)+sizeOf(2) || u.Cache != 0 || u.Dead != 0 && u.Dead != sizeOf(3) {
				t.Errorf("synced %v: usage %+v", synced, u)
			}
			if !f.holds(1) || !f.holds(2) || f.holds(3) {
				t.Errorf("synced %v: the wrong bodies are there", synced)
			}
			f.close()
			f = open(t, fs, segment.Config{})
		}
		f.close()
	}
}

func TestStore_CacheMakesRoomForReplicas(t *testing.T) {
	fs := vfs.NewMem()
	cfg := segment.Config{Space: 200 << 10, SegmentSize: 16 << 10}
	f := open(t, fs, cfg)
	defer func() { f.close() }()
	replicas := map[int]bool{}
	for n := range 1000 { // cache never fails, it pushes out older cache
		f.put(n, segment.Cache)
		if u := f.Usage(); u.Cache+u.Free+u.Dead+u.Replicas != u.Space || u.Free < 0 {
			t.Fatalf("usage %+v", u)
		}
	}
	if !f.holds(999) || f.holds(0) {
		t.Error("the oldest cache should have gone, the newest not")
	}
	if err := f.SetClass(refOf(999), segment.Replica); err != nil {
		t.Fatal(err)
	}
	replicas[999] = true
	var err error
	for n := 1000; err == nil; n++ {
		if err = f.Put(refOf(n), bodyOf(n), segment.Replica); err == nil {
			replicas[n] = true
		} else if f.holds(n) {
			t.Error("half put")
		}
	}
	if !errors.Is(err, segment.ErrFull) {
		t.Fatalf("Put = %v, want ErrFull", err)
	}
	u := f.Usage()
	if u.Cache != 0 || u.Replicas < u.Space*9/10 {
		t.Errorf("full at %+v", u)
	}
	if err := f.Put(refOf(1), make([]byte, 8000), segment.Cache); !errors.Is(err, segment.ErrFull) {
		t.Errorf("cache pushed replicas out: %v", err)
	}
	// Every third replica goes, and what that frees can be used again.
	i := 0
	for n := range maps.Clone(replicas) {
		if i++; i%3 == 0 {
			delete(replicas, n)
			if err := f.Delete(refOf(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	freed := f.Usage().Dead
	for n := 5000; freed > 8000; n++ {
		f.put(n, segment.Replica)
		replicas[n] = true
		freed -= sizeOf(n)
	}
	for range 2 {
		for n := range replicas {
			if !f.holds(n) {
				t.Fatalf("replica %d is gone", n)
			}
		}
		if err := f.Sync(); err != nil { // until then a part is in memory
			t.Fatal(err)
		}
		if u := f.Usage(); u.Space-u.Free != fileBytes(t, fs) {
			t.Errorf("usage %+v, files have %d bytes", u, fileBytes(t, fs))
		}
		f.close()
		f = open(t, fs, cfg)
	}
}

func TestStore_CorruptionIsNamed(t *testing.T) {
	dir := t.TempDir()
	kv := index.NewMemory()
	s, err := segment.Open(vfs.Default, dir, kv, segment.Config{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		s.Put(refOf(n), bodyOf(n), segment.Replica)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "00000001.seg")
	st, err := os.Stat(name)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v: want mode 0600", st, err)
	}
	b, _ := os.ReadFile(name)
	b[sizeOf(0)+head] ^= 1
	os.WriteFile(name, b, 0o600)
	s, err = segment.Open(vfs.Default, dir, kv, segment.Config{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Get(refOf(1))
	want := fmt.Sprintf("segment 1 offset %d", sizeOf(0))
	if !errors.Is(err, segment.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(want)) {
		t.Errorf("Get = %v, want ErrCorrupt naming %q", err, want)
	}
	for _, n := range []int{0, 2} {
		if _, err := s.Get(refOf(n)); err != nil {
			t.Error(err)
		}
	}
	s.Close()

	// Cut short and then removed altogether: what is lost is forgotten.
	os.Truncate(name, sizeOf(0)+5)
	s, err = segment.Open(vfs.Default, dir, kv, segment.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Has(refOf(0)) || s.Has(refOf(1)) || s.Has(refOf(2)) {
		t.Error("after the cut the wrong bodies are there")
	}
	s.Close()
	os.Remove(name)
	if s, err = segment.Open(vfs.Default, dir, kv, segment.Config{}); err != nil {
		t.Fatal(err)
	}
	if u := s.Usage(); s.Has(refOf(0)) || u.Free != u.Space {
		t.Errorf("after the loss of the file: %+v", u)
	}
	s.Close()
}

// TestStore_Concurrent does everything at once, in less space than it needs.
func TestStore_Concurrent(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	fs := vfs.NewMem()
	f := open(t, fs, segment.Config{Space: 600 << 10, SegmentSize: 16 << 10})
	ctx, stop := context.WithCancel(t.Context())
	var others, wg sync.WaitGroup
	for _, do := range []func() error{
		func() error { _, _, err := f.CompactSome(4 << 10); return err },
		func() error {
			r, err := f.Scrub(ctx, segment.ScrubConfig{})
			if r.Damaged > 0 {
				err = fmt.Errorf("scrub found %d damaged", r.Damaged)
			}
			return err
		},
		func() error { return f.Logs(func(store.Ref, []byte) error { return nil }) },
		func() error { return f.Each(store.Ref{}, func(store.Ref, int64, segment.Class) bool { return true }) },
	} {
		others.Go(func() {
			for ctx.Err() == nil {
				if err := do(); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	for w := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(w)))
			for i := range 300 {
				n := rng.IntN(150)
				class := segment.Cache
				if n < 60 {
					class = []segment.Class{segment.Replica, segment.Log}[n%2]
				}
				var err error
				switch k := rng.IntN(16); {
				case i%50 == 49:
					f.sync()
				case k < 4 && n >= 30:
					err = f.Delete(refOf(n))
				case k < 5:
					err = f.SetClass(refOf(n), class)
				case k < 6:
					err = f.Repair(refOf(n), bodyOf(n))
				default:
					f.put(n, class)
				}
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
				}
				f.holds(rng.IntN(150))
			}
		})
	}
	wg.Wait()
	stop()
	others.Wait()
	f.sync()
	for range 2 {
		for n := range 150 {
			f.holds(n) // or fails
		}
		if err := recount(f, fs); err != nil {
			t.Error(err)
		}
		f.close()
		f = open(t, fs, segment.Config{Space: 600 << 10, SegmentSize: 16 << 10})
	}
	f.close()
}
