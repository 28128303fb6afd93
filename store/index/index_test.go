package index_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
)

func open(t testing.TB, fs vfs.FS) *index.Pebble {
	t.Helper()
	p, err := index.Open(fs, "db", index.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// implementations is what every KV test runs on.
func implementations(t *testing.T, f func(t *testing.T, kv store.KV)) {
	t.Run("memory", func(t *testing.T) { f(t, index.NewMemory()) })
	t.Run("pebble", func(t *testing.T) {
		p := open(t, vfs.NewMem())
		defer p.Close()
		f(t, p)
	})
}

func dump(r store.Reader, from, to string) string {
	s := ""
	end := []byte(to)
	if to == "" {
		end = nil
	}
	err := r.Scan([]byte(from), end, func(k, v []byte) bool { s += fmt.Sprintf("%s=%s ", k, v); return true })
	if err != nil {
		return err.Error()
	}
	return s
}

func TestKV_TxnReadsThroughAndCommitsWhole(t *testing.T) {
	implementations(t, func(t *testing.T, kv store.KV) {
		tx := kv.Begin()
		for _, k := range []string{"b", "a", "c"} {
			tx.Set([]byte(k), []byte(k+k))
		}
		if got := dump(tx, "", ""); got != "a=aa b=bb c=cc " {
			t.Errorf("inside: %q", got)
		}
		if got := dump(kv, "", ""); got != "" {
			t.Errorf("outside, before the commit: %q", got)
		}
		if err := tx.Commit(true); err != nil {
			t.Fatal(err)
		}
		tx = kv.Begin()
		tx.Delete([]byte("b"))
		tx.Set([]byte("a"), []byte("new"))
		if _, err := tx.Get([]byte("b")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a deleted key: %v", err)
		}
		if k, v, err := tx.Last([]byte("a"), []byte("c")); string(k) != "a" || string(v) != "new" || err != nil {
			t.Errorf("Last = %s %s %v", k, v, err)
		}
		tx.Discard()
		if got := dump(kv, "a", "c"); got != "a=aa b=bb " {
			t.Errorf("after Discard: %q", got)
		}
		if k, _, err := kv.Last([]byte("a"), nil); string(k) != "c" || err != nil {
			t.Errorf("Last without end = %s %v", k, err)
		}
		if _, _, err := kv.Last([]byte("x"), nil); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Last of nothing: %v", err)
		}
		if _, err := kv.Get([]byte("nope")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Get of nothing: %v", err)
		}
	})
}

// Both implementations make the same of the same random changes.
func TestKV_PebbleAgreesWithMemory(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	p, m := open(t, vfs.NewMem()), index.NewMemory()
	defer p.Close()
	for range 200 {
		a, b := p.Begin(), m.Begin()
		for range r.IntN(10) {
			k, v := fmt.Appendf(nil, "%02d", r.IntN(50)), fmt.Append(nil, r.Uint64())
			if r.IntN(3) == 0 {
				a.Delete(k)
				b.Delete(k)
			} else {
				a.Set(k, v)
				b.Set(k, v)
			}
		}
		if x, y := dump(a, "1", "4"), dump(b, "1", "4"); x != y {
			t.Fatalf("inside: %q and %q", x, y)
		}
		if r.IntN(4) == 0 {
			a.Discard()
			b.Discard()
		} else if err := errors.Join(a.Commit(false), b.Commit(false)); err != nil {
			t.Fatal(err)
		}
		if x, y := dump(p, "", ""), dump(m, "", ""); x != y {
			t.Fatalf("outside: %q and %q", x, y)
		}
	}
}

// A crash takes back the latest unsynced commits, whole and in order, and nothing
// that was synced.
func TestPebble_Crash(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	fs := vfs.NewCrashableMem()
	p := open(t, fs)
	synced, last := 0, 0
	commit := func(sync bool) {
		last++
		tx := p.Begin()
		tx.Set([]byte("a"), fmt.Append(nil, last))
		tx.Set([]byte("b"), fmt.Append(nil, last))
		if err := tx.Commit(sync); err != nil {
			t.Fatal(err)
		}
		if sync {
			synced = last
		}
	}
	for range 30 {
		commit(r.IntN(4) == 0)
		if r.IntN(5) == 0 {
			if err := p.Sync(); err != nil {
				t.Fatal(err)
			}
			synced = last
		}
		if r.IntN(3) == 0 {
			after := open(t, fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, uint64(last)))}))
			a, aerr := after.Get([]byte("a"))
			b, berr := after.Get([]byte("b"))
			var n int
			fmt.Sscan(string(a), &n)
			if string(a) != string(b) || errors.Is(aerr, store.ErrNotFound) != errors.Is(berr, store.ErrNotFound) {
				t.Fatalf("half a commit: a=%s b=%s", a, b)
			}
			if n < synced || n > last {
				t.Fatalf("commit %d of %d was synced, %d is there", synced, last, n)
			}
			after.Close()
		}
	}
	p.Close()
}

func TestOpen_ReadOnlyDirectory(t *testing.T) {
	if _, err := index.Open(vfs.Default, "/proc/aether-no-such", index.Config{}); err == nil {
		t.Error("a database in /proc was opened")
	}
}
