package segment

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
)

func refOf(n int) (r store.Ref) { binary.BigEndian.PutUint64(r[:], uint64(n)); return r }

// bodyOf is the body of the chunk n: its size and bytes follow from n.
func bodyOf(n int) []byte {
	b := make([]byte, 1+n*37%5000)
	for i := range b {
		b[i] = byte(n + i*7)
	}
	return b
}

func openStore(t testing.TB, fs vfs.FS, kv store.KV, cfg Config) *Store {
	t.Helper()
	s, err := Open(fs, "segments", kv, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustPut(t testing.TB, s *Store, class Class, ns ...int) {
	t.Helper()
	for _, n := range ns {
		if err := s.Put(refOf(n), bodyOf(n), class); err != nil {
			t.Fatal(err)
		}
	}
}

func TestStore_PutGetDelete(t *testing.T) {
	fs, kv := vfs.NewMem(), index.NewMemory()
	s := openStore(t, fs, kv, Config{})
	mustPut(t, s, Replica, 1, 2, 3, 2)
	for _, synced := range []bool{false, true} {
		for n := 1; n <= 3; n++ {
			if b, err := s.Get(refOf(n)); err != nil || !bytes.Equal(b, bodyOf(n)) {
				t.Fatalf("synced %v: Get(%d) = %d bytes, %v", synced, n, len(b), err)
			}
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(refOf(9)); !errors.Is(err, store.ErrNotFound) || s.Has(refOf(9)) {
		t.Errorf("Get of nothing: %v", err)
	}
	if err := errors.Join(s.Delete(refOf(2)), s.Delete(refOf(2))); err != nil || s.Has(refOf(2)) {
		t.Errorf("Delete: %v", err)
	}
	want := int64(2*headerSize + len(bodyOf(1)) + len(bodyOf(3)))
	dead := int64(headerSize + len(bodyOf(2)))
	if u := s.Usage(); u.Replicas != want || u.Dead != dead || u.Free != DefaultSpace-want-dead {
		t.Errorf("usage %+v, want %d alive and %d dead", u, want, dead)
	}
	before := s.Usage()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s = openStore(t, fs, kv, Config{}); s.Usage() != before {
		t.Errorf("usage after reopening %+v, was %+v", s.Usage(), before)
	}
	if b, err := s.Get(refOf(3)); err != nil || !bytes.Equal(b, bodyOf(3)) {
		t.Errorf("after reopening: %v", err)
	}
}

func TestStore_ReplicasPushOutCache(t *testing.T) {
	s := openStore(t, vfs.NewMem(), index.NewMemory(), Config{Space: 100_000, SegmentSize: 10_000})
	n := 0
	for {
		n++
		if err := s.Put(refOf(n), bodyOf(n), Cache); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
		if n%5 == 0 {
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := 10_000; ; i++ {
		if err := s.Put(refOf(i), bodyOf(i), Replica); err != nil {
			if !errors.Is(err, ErrFull) {
				t.Fatal(err)
			}
			break
		}
		if b, err := s.Get(refOf(i)); err != nil || !bytes.Equal(b, bodyOf(i)) {
			t.Fatalf("Get(%d): %v", i, err)
		}
	}
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if u := s.Usage(); u.Cache != 0 || u.Replicas+u.Dead < 90_000 || u.Free < 0 {
		t.Errorf("usage %+v: cache was not evicted for replicas", u)
	}
	if s.Has(refOf(1)) {
		t.Error("an evicted chunk is still listed")
	}
}

func TestStore_CacheBecomesReplica(t *testing.T) {
	s := openStore(t, vfs.NewMem(), index.NewMemory(), Config{})
	mustPut(t, s, Cache, 1, 2)
	mustPut(t, s, Replica, 1)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, Replica, 2)
	mustPut(t, s, Cache, 1)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	if u, want := s.Usage(), int64(2*headerSize+len(bodyOf(1))+len(bodyOf(2))); u.Replicas != want || u.Cache != 0 {
		t.Errorf("usage %+v, want %d of replicas", u, want)
	}
}

// Random work with crashes: what was synced is there and right, nothing wrong is
// ever returned, and the accounts agree with the disk.
func TestStore_Crash(t *testing.T) {
	for range 20 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		fs := vfs.NewCrashableMem()
		kv, err := index.Open(fs, "index", index.Config{})
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{Space: 1 << 20, SegmentSize: 20_000}
		s := openStore(t, fs, kv, cfg)
		synced := map[int]bool{}
		var waiting []int
		for step := range 150 {
			switch r.IntN(12) {
			case 0:
				if err := errors.Join(s.Sync(), kv.Sync()); err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
				for _, n := range waiting {
					synced[n] = true
				}
				waiting = nil
			case 1:
				crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 60, RNG: rand.New(rand.NewPCG(seed, uint64(step)))})
				kv2, err := index.Open(crashed, "index", index.Config{})
				if err != nil {
					t.Fatalf("seed %d step %d: %v", seed, step, err)
				}
				s2 := openStore(t, crashed, kv2, cfg)
				checkAfterCrash(t, seed, s2, synced)
				s2.Close()
				kv2.Close()
			default:
				n := r.IntN(60)
				mustPut(t, s, Replica, n)
				waiting = append(waiting, n)
			}
		}
		s.Close()
		kv.Close()
	}
}

func checkAfterCrash(t *testing.T, seed uint64, s *Store, synced map[int]bool) {
	t.Helper()
	var alive int64
	for n := range 60 {
		b, err := s.Get(refOf(n))
		switch {
		case err == nil && !bytes.Equal(b, bodyOf(n)):
			t.Fatalf("seed %d: chunk %d is wrong", seed, n)
		case err == nil:
			alive += int64(headerSize + len(b))
		case synced[n] || !errors.Is(err, store.ErrNotFound):
			t.Fatalf("seed %d: chunk %d, synced %v: %v", seed, n, synced[n], err)
		}
	}
	u := s.Usage()
	if u.Replicas != alive || u.Replicas+u.Cache+u.Dead+u.Free != u.Space || u.Dead < 0 {
		t.Fatalf("seed %d: usage %+v, alive %d", seed, u, alive)
	}
}

func TestStore_DiskErrors(t *testing.T) {
	for _, op := range []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileSync} {
		on := false
		inj := errorfs.InjectorFunc(func(o errorfs.Op) error {
			if on && o.Kind == op {
				return syscall.ENOSPC
			}
			return nil
		})
		s := openStore(t, errorfs.Wrap(vfs.NewMem(), inj), index.NewMemory(), Config{})
		mustPut(t, s, Replica, 1)
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		on = true
		err := errors.Join(s.Put(refOf(2), bodyOf(2), Replica), s.Sync())
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v fails: %v", op, err)
		}
		if op == errorfs.OpFileWrite && (!errors.Is(err, ErrFull) || s.Has(refOf(2))) {
			t.Errorf("a full disk: %v, half visible: %v", err, s.Has(refOf(2)))
		}
		on = false
		if err := s.Put(refOf(3), bodyOf(3), Replica); (err == nil) != (op == errorfs.OpFileWrite) {
			t.Errorf("after %v failed: Put = %v", op, err)
		}
		if b, err := s.Get(refOf(1)); err != nil || !bytes.Equal(b, bodyOf(1)) {
			t.Errorf("after %v failed: %v", op, err)
		}
	}
}

// Many who sync at once share few fsyncs.
func TestSync_IsShared(t *testing.T) {
	var mu sync.Mutex
	syncs := 0
	inj := errorfs.InjectorFunc(func(o errorfs.Op) error {
		if o.Kind == errorfs.OpFileSync || o.Kind == errorfs.OpFileSyncData {
			mu.Lock()
			syncs++
			mu.Unlock()
		}
		return nil
	})
	s := openStore(t, errorfs.Wrap(vfs.NewMem(), inj), index.NewMemory(), Config{})
	s.syncing.Lock() // everybody waits for this one
	var wg sync.WaitGroup
	var started sync.WaitGroup
	for n := range 100 {
		started.Add(1)
		wg.Go(func() {
			mustPut(t, s, Replica, n)
			started.Done()
			if err := s.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	started.Wait()
	s.syncing.Unlock()
	wg.Wait()
	if syncs > 3 {
		t.Errorf("%d fsyncs (one of them for the new file) for 100 writers who came together", syncs)
	}
}

func TestGet_NoticesEveryBit(t *testing.T) {
	fs, kv := vfs.NewMem(), index.NewMemory()
	s := openStore(t, fs, kv, Config{})
	mustPut(t, s, Replica, 3)
	if err := s.Sync(); err != nil {
		t.Fatal(err)
	}
	f := s.files[1]
	raw := make([]byte, f.size)
	if _, err := f.f.ReadAt(raw, 0); err != nil {
		t.Fatal(err)
	}
	for i := range len(raw) * 8 {
		raw[i/8] ^= 1 << (i % 8)
		if h, _, err := parseRecord(raw); err == nil && h.ref == refOf(3) {
			t.Fatalf("bit %d flipped and not noticed", i)
		}
		raw[i/8] ^= 1 << (i % 8)
	}
	w, err := fs.OpenReadWrite(s.name(f), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteAt([]byte{raw[60] ^ 4}, 60); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(refOf(3)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Get of a rotten record: %v", err)
	}
	var told []string
	err = s.Scrub(context.Background(), func(name string, err error) error {
		told = append(told, fmt.Sprint(name, err))
		return nil
	})
	if err != nil || len(told) != 1 {
		t.Errorf("Scrub told %q, %v", told, err)
	}
}

func FuzzScan(f *testing.F) {
	rec := append(appendHeader(nil, refOf(1), Replica, []byte("body")), "body"...)
	f.Add(append(rec, rec...))
	f.Add(rec[:50])
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		err := scan(bytes.NewReader(b), int64(len(b)), func(_ int64, h header, body []byte) error {
			again = append(appendHeader(again, h.ref, h.class, body), body...)
			return nil
		})
		if !bytes.HasPrefix(b, again) || err == nil && len(again) != len(b) {
			t.Fatalf("read %d of %d bytes otherwise than they are: %v", len(again), len(b), err)
		}
	})
}
