package index_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
)

type closer interface {
	store.KV
	Close() error
}

// each runs f on a fresh KV of both kinds.
func each(t *testing.T, f func(t *testing.T, kv closer)) {
	t.Run("Memory", func(t *testing.T) { f(t, index.NewMemory()) })
	t.Run("Pebble", func(t *testing.T) {
		defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
		f(t, open(t, vfs.NewMem()))
	})
}

func open(t testing.TB, fs vfs.FS) *index.Pebble {
	t.Helper()
	p, err := index.Open(fs, "/kv", index.Config{Cache: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func set(t testing.TB, kv store.KV, sync bool, pairs ...string) {
	t.Helper()
	txn := kv.Begin()
	for i := 0; i < len(pairs); i += 2 {
		if err := txn.Set([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := txn.Commit(sync); err != nil {
		t.Fatal(err)
	}
}

func all(t testing.TB, r store.Reader, from, to []byte) []string {
	t.Helper()
	var got []string
	err := r.Scan(from, to, func(k, v []byte) bool {
		got = append(got, string(k)+"="+string(v))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestKV_GetScanLast(t *testing.T) {
	each(t, func(t *testing.T, kv closer) {
		defer kv.Close()
		set(t, kv, true, "b", "2", "a", "1", "d", "4", "c", "", "\x00", "0", "\xff", "9")
		if v, err := kv.Get([]byte("c")); err != nil || v == nil || len(v) != 0 {
			t.Errorf("Get(c) = %q, %v, want empty", v, err)
		}
		if _, err := kv.Get([]byte("x")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get(x) = %v, want ErrNotFound", err)
		}
		for _, c := range []struct {
			from, to []byte
			want     []string
			last     string
		}{
			{nil, nil, []string{"\x00=0", "a=1", "b=2", "c=", "d=4", "\xff=9"}, "\xff"},
			{[]byte("b"), []byte("d"), []string{"b=2", "c="}, "c"},
			{[]byte("aa"), []byte("dd"), []string{"b=2", "c=", "d=4"}, "d"},
			{[]byte("d"), nil, []string{"d=4", "\xff=9"}, "\xff"},
			{nil, []byte{}, nil, ""},
			{[]byte("x"), []byte("y"), nil, ""},
		} {
			if d := cmp.Diff(c.want, all(t, kv, c.from, c.to)); d != "" {
				t.Errorf("Scan(%q, %q): %s", c.from, c.to, d)
			}
			k, _, err := kv.Last(c.from, c.to)
			if c.last == "" && !errors.Is(err, store.ErrNotFound) || string(k) != c.last {
				t.Errorf("Last(%q, %q) = %q, %v", c.from, c.to, k, err)
			}
		}
		n := 0
		kv.Scan(nil, nil, func(_, _ []byte) bool { n++; return n < 2 })
		if n != 2 {
			t.Errorf("a Scan that was told to stop after 2 saw %d", n)
		}
	})
}

func TestTxn_ReadsItsOwnChangesAndNobodyElseDoes(t *testing.T) {
	each(t, func(t *testing.T, kv closer) {
		defer kv.Close()
		set(t, kv, false, "a", "1", "b", "2", "z", "26")
		txn := kv.Begin()
		txn.Set([]byte("a"), []byte("one"))
		txn.Delete([]byte("z"))
		txn.Delete([]byte("missing"))
		txn.Set([]byte("c"), []byte("3"))
		set(t, kv, false, "b", "two") // committed meanwhile, in another range
		want := []string{"a=one", "b=two", "c=3"}
		if d := cmp.Diff(want, all(t, txn, nil, nil)); d != "" {
			t.Errorf("inside: %s", d)
		}
		if k, v, err := txn.Last(nil, nil); string(k) != "c" || string(v) != "3" || err != nil {
			t.Errorf("Last = %q %q %v", k, v, err)
		}
		if _, err := txn.Get([]byte("z")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a deleted key: %v", err)
		}
		if d := cmp.Diff([]string{"a=1", "b=two", "z=26"}, all(t, kv, nil, nil)); d != "" {
			t.Errorf("outside: %s", d)
		}
		if err := txn.Commit(true); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, all(t, kv, nil, nil)); d != "" {
			t.Errorf("after: %s", d)
		}
		for name, err := range map[string]error{
			"Set": txn.Set([]byte("a"), nil), "Delete": txn.Delete([]byte("a")), "Commit": txn.Commit(false),
			"Scan": txn.Scan(nil, nil, func(_, _ []byte) bool { return true }),
		} {
			if !errors.Is(err, index.ErrDone) {
				t.Errorf("%s after Commit = %v, want ErrDone", name, err)
			}
		}
		txn.Discard()
		dropped := kv.Begin()
		dropped.Set([]byte("q"), nil)
		dropped.Discard()
		if d := cmp.Diff(want, all(t, kv, nil, nil)); d != "" {
			t.Errorf("after Discard: %s", d)
		}
	})
}

func TestTxn_KeepsNoSlice(t *testing.T) {
	each(t, func(t *testing.T, kv closer) {
		defer kv.Close()
		k, v := []byte("key"), []byte("value")
		txn := kv.Begin()
		txn.Set(k, v)
		copy(k, "xxx")
		copy(v, "xxxxx")
		txn.Commit(false)
		got, err := kv.Get([]byte("key"))
		if string(got) != "value" || err != nil {
			t.Fatalf("Get = %q, %v", got, err)
		}
		copy(got, "yyyyy")
		if got, _ := kv.Get([]byte("key")); string(got) != "value" {
			t.Errorf("Get handed out its own memory: %q", got)
		}
	})
}

func TestKV_ScanSeesOneInstant(t *testing.T) {
	each(t, func(t *testing.T, kv closer) {
		defer kv.Close()
		set(t, kv, false, "a", "1", "b", "2", "c", "3")
		var got []string
		txn := kv.Begin()
		err := txn.Scan(nil, nil, func(k, v []byte) bool {
			got = append(got, string(k)+"="+string(v))
			txn.Delete([]byte("b"))
			txn.Set([]byte("bb"), []byte("new"))
			set(t, kv, false, "bbb", "new")
			if _, err := kv.Get([]byte("a")); err != nil {
				t.Error(err)
			}
			return true
		})
		if d := cmp.Diff([]string{"a=1", "b=2", "c=3"}, got); d != "" || err != nil {
			t.Errorf("%v: %s", err, d)
		}
		txn.Discard()
	})
}

// TestKV_MatchesMap compares both kinds with a plain map, operation by operation.
func TestKV_MatchesMap(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mem, peb := index.NewMemory(), open(t, vfs.NewMem())
		defer peb.Close()
		model := map[string]string{}
		key := rapid.StringOfN(rapid.RuneFrom([]rune("abc")), 1, 3, -1)
		for range rapid.IntRange(1, 8).Draw(rt, "txns") {
			txns := []store.Txn{mem.Begin(), peb.Begin()}
			next := maps.Clone(model)
			for range rapid.IntRange(0, 8).Draw(rt, "ops") {
				k := key.Draw(rt, "key")
				if rapid.Bool().Draw(rt, "set") {
					v := rapid.StringN(0, 3, -1).Draw(rt, "value")
					next[k] = v
					for _, x := range txns {
						x.Set([]byte(k), []byte(v))
					}
				} else {
					delete(next, k)
					for _, x := range txns {
						x.Delete([]byte(k))
					}
				}
			}
			from, to := []byte(key.Draw(rt, "from")), []byte(key.Draw(rt, "to"))
			for i, x := range txns {
				sameAsMap(rt, fmt.Sprint("txn ", i), x, next, from, to)
			}
			commit := rapid.Bool().Draw(rt, "commit")
			for _, x := range txns {
				if commit {
					if err := x.Commit(false); err != nil {
						rt.Fatal(err)
					}
				}
				x.Discard()
			}
			if commit {
				model = next
			}
			if rapid.Bool().Draw(rt, "bring") {
				if err := index.Bring(peb); err != nil {
					rt.Fatal(err)
				}
			}
			sameAsMap(rt, "memory", mem, model, from, to)
			sameAsMap(rt, "pebble", peb, model, from, to)
		}
	})
}

func sameAsMap(rt *rapid.T, name string, r store.Reader, model map[string]string, from, to []byte) {
	var want, got []string
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if k >= string(from) && k < string(to) {
			want = append(want, k+"="+model[k])
		}
	}
	if err := r.Scan(from, to, func(k, v []byte) bool {
		got = append(got, string(k)+"="+string(v))
		return true
	}); err != nil {
		rt.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		rt.Fatalf("%s: scan [%s, %s): %s", name, from, to, d)
	}
	k, v, err := r.Last(from, to)
	if len(want) == 0 && !errors.Is(err, store.ErrNotFound) || len(want) > 0 && string(k)+"="+string(v) != want[len(want)-1] {
		rt.Fatalf("%s: last [%s, %s) = %q %q %v, want %v", name, from, to, k, v, err, want)
	}
}

func TestKV_CloseWaitsForScansAndEndsTransactions(t *testing.T) {
	each(t, func(t *testing.T, kv closer) {
		set(t, kv, false, "a", "1", "b", "2")
		open := kv.Begin()
		open.Set([]byte("c"), []byte("3"))
		scanning, closing, done := make(chan bool), make(chan bool), make(chan error)
		seen := 0
		go func() {
			done <- kv.Scan(nil, nil, func(_, _ []byte) bool {
				if seen++; seen == 1 {
					close(scanning)
					<-closing
				}
				return true
			})
		}()
		<-scanning
		go func() { closing <- true }()
		if err := kv.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-done; err != nil || seen != 2 {
			t.Errorf("the scan saw %d of 2 keys: %v", seen, err)
		}
		if err := open.Commit(true); !errors.Is(err, index.ErrClosed) {
			t.Errorf("Commit after Close = %v, want ErrClosed", err)
		}
		if _, err := kv.Get([]byte("a")); !errors.Is(err, index.ErrClosed) {
			t.Errorf("Get after Close = %v, want ErrClosed", err)
		}
		late := kv.Begin()
		if err := errors.Join(late.Commit(false)); !errors.Is(err, index.ErrClosed) {
			t.Errorf("Begin and Commit after Close = %v, want ErrClosed", err)
		}
		late.Discard()
		if err := kv.Close(); !errors.Is(err, index.ErrClosed) {
			t.Errorf("second Close = %v, want ErrClosed", err)
		}
	})
}

func TestKV_ConcurrentCommits(t *testing.T) {
	each(t, func(t *testing.T, kv closer) {
		defer kv.Close()
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 50 {
					set(t, kv, i%10 == 0, fmt.Sprintf("%d/%02d", w, i), "v")
				}
			})
		}
		wg.Wait()
		if got := len(all(t, kv, nil, nil)); got != 400 {
			t.Errorf("%d keys, want 400", got)
		}
	})
}

// TestPebble_CrashKeepsPrefix commits numbered pairs, some with sync, crashes with
// an arbitrary part of the unsynced blocks kept, and expects a prefix of the
// commits that holds all up to the last sync.
func TestPebble_CrashKeepsPrefix(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		mem := vfs.NewCrashableMem()
		committed, synced := 0, 0
		for range 3 {
			p := open(t, mem)
			n := len(all(t, p, []byte("a"), []byte("b")))
			if n < synced || n > committed {
				t.Fatalf("seed %d: %d commits survived, %d synced of %d", seed, n, synced, committed)
			}
			if m := len(all(t, p, []byte("b"), []byte("c"))); m != n {
				t.Fatalf("seed %d: half a commit: %d and %d", seed, n, m)
			}
			committed, synced = n, n
			for range rng.IntN(60) {
				committed++
				sync := rng.IntN(6) == 0
				k := fmt.Sprintf("%06d", committed)
				set(t, p, sync, "a"+k, k, "b"+k, string(make([]byte, rng.IntN(3000))))
				if sync {
					synced = committed
				}
			}
			if rng.IntN(3) == 0 { // an empty commit carries the others
				set(t, p, true)
				synced = committed
			}
			crashed := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
			p.Close()
			mem = crashed
		}
	}
}

func TestOpen_ErrorsSayWhatIsWrong(t *testing.T) {
	fs := vfs.NewMem()
	p := open(t, fs)
	if _, err := index.Open(fs, "/kv", index.Config{}); !errors.Is(err, index.ErrLocked) {
		t.Errorf("opened twice: %v, want ErrLocked", err)
	}
	p.Close()
	p = open(t, fs) // the lock is gone
	p.Close()

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := index.Open(vfs.Default, filepath.Join(file, "kv"), index.Config{}); err == nil {
		t.Error("opened below a file")
	}
	if _, err := index.Open(denied{vfs.NewMem()}, "/kv", index.Config{}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("read-only directory: %v, want ErrPermission", err)
	}
}

// denied is a file system in which nothing can be created.
type denied struct{ vfs.FS }

func (denied) Lock(name string) (io.Closer, error) {
	return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrPermission}
}

func TestTxn_FullDiskRefusesAndStaysUsable(t *testing.T) {
	fs := vfs.NewMem()
	p := open(t, fs)
	defer p.Close()
	refusesOnFullDisk(t, fs, p)
}

// refusesOnFullDisk fills the disk below p and makes room again.
func refusesOnFullDisk(t *testing.T, fs *vfs.MemFS, p *index.Pebble) {
	t.Helper()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	set(t, p, true, "a", "1")
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 31})
	txn := p.Begin()
	txn.Set([]byte("b"), []byte("2"))
	if err := txn.Commit(true); !errors.Is(err, index.ErrFull) {
		t.Fatalf("Commit on a full disk = %v, want ErrFull", err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	set(t, p, true, "c", "3")
	if d := cmp.Diff([]string{"a=1", "c=3"}, all(t, p, nil, nil)); d != "" {
		t.Error(d)
	}
}

// A disk that has no room at all is told so, and nothing is lost.
func TestOpen_FullDiskIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	p := open(t, fs)
	set(t, p, true, "a", "1")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 20, TotalBytes: 1 << 31})
	if p, err := index.Open(fs, "/kv", index.Config{}); !errors.Is(err, index.ErrFull) {
		t.Fatalf("Open on a full disk = %v, %v, want ErrFull", p, err)
	}
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 1 << 31})
	p = open(t, fs)
	defer p.Close()
	if d := cmp.Diff([]string{"a=1"}, all(t, p, nil, nil)); d != "" {
		t.Error(d)
	}
}

func TestOpen_OnDiskSurvivesReopening(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "kv")
	for i := range 3 {
		p, err := index.Open(vfs.Default, dir, index.Config{Reserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(all(t, p, nil, nil)); got != i {
			t.Errorf("open %d: %d keys", i, got)
		}
		set(t, p, true, fmt.Sprint(i), "v")
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(dir)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, want 0700 (%v)", st.Mode(), err)
	}
}
