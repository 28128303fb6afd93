package index_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/index"
)

// Whoever reads while commits are brought to the disk sees all of a commit or nothing:
// a token that every commit moves from one key to another is seen once by every scan.
func TestPebble_ScansSeeOneInstantWhileCommitsAreBrought(t *testing.T) {
	for _, keys := range []int{4, 200} { // ranges that are remembered, and that are not
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			p := open(t, vfs.NewMem())
			defer p.Close()
			key := func(i int) string { return fmt.Sprintf("k%03d", i) }
			set(t, p, true, key(0), "token")
			const moves = 2000
			done := make(chan bool)
			var wg sync.WaitGroup
			wg.Go(func() {
				defer close(done)
				rng := rand.New(rand.NewPCG(1, uint64(keys)))
				at := 0
				for range moves {
					txn := p.Begin()
					next := rng.IntN(keys)
					_ = txn.Delete([]byte(key(at)))
					_ = txn.Set([]byte(key(next)), []byte("token"))
					at = next
					if err := txn.Commit(false); err != nil {
						t.Error(err)
					}
				}
			})
			for range 2 {
				wg.Go(func() {
					for n := 0; ; n++ {
						select {
						case <-done:
							return
						default:
						}
						got := all(t, p, []byte("k"), []byte("l"))
						if len(got) != 1 {
							t.Errorf("scan %d saw %v", n, got)
							return
						}
						if _, _, err := p.Last([]byte("k"), []byte("l")); err != nil {
							t.Errorf("Last: %v", err)
						}
					}
				})
			}
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						if err := index.Bring(p); err != nil {
							t.Error(err)
						}
					}
				}
			})
			wg.Wait()
		})
	}
}

// What is remembered of the disk is right after any number of changes: reads through a
// KV that has been used for long give what a fresh look at the same files gives.
func TestPebble_RemembersRightly(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		fs := vfs.NewMem()
		p := open(t, fs)
		name := func() string {
			letters := "abc"
			if seed%2 == 1 { // ranges that outgrow what is copied of them
				letters = "abcdefgh"
			}
			var n strings.Builder
			for range 1 + rng.IntN(3) {
				n.WriteByte(letters[rng.IntN(len(letters))])
			}
			return n.String()
		}
		all(t, p, []byte("a"), []byte("h")) // nothing lies there yet
		for range 400 {
			switch a, b := name(), name(); rng.IntN(6) {
			case 0:
				set(t, p, rng.IntN(8) == 0, a, fmt.Sprint(rng.IntN(100)), b, "")
			case 1:
				txn := p.Begin()
				_ = txn.Delete([]byte(a))
				if err := txn.Commit(false); err != nil {
					t.Fatal(err)
				}
			case 2:
				if _, err := p.Get([]byte(a)); err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Fatal(err)
				}
			case 3:
				all(t, p, []byte(a), []byte(b))
			case 4:
				_, _, _ = p.Last([]byte(a), []byte(b))
			case 5:
				if err := index.Bring(p); err != nil {
					t.Fatal(err)
				}
			}
			if rng.IntN(20) != 0 {
				continue
			}
			got := reads(t, p)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			p = open(t, fs)
			if want := reads(t, p); !slices.Equal(got, want) {
				t.Fatalf("seed %d: read\n%v, and opened anew\n%v", seed, got, want)
			}
		}
		p.Close()
	}
}

// reads asks for every key and for many ranges.
func reads(t *testing.T, p *index.Pebble) (got []string) {
	t.Helper()
	names := []string{"a", "aa", "aaa", "b", "bb", "bbb", "c", "cc", "ccc", "d"}
	for i, from := range names {
		v, err := p.Get([]byte(from))
		got = append(got, fmt.Sprintf("%s=%q %v", from, v, err))
		for _, to := range names[i:] {
			k, v, err := p.Last([]byte(from), []byte(to))
			got = append(got, fmt.Sprintf("[%s,%s) %v last %q=%q %v", from, to, all(t, p, []byte(from), []byte(to)), k, v, err))
		}
	}
	return got
}

// A scan that goes over more than is copied for it sees one instant all the same.
func TestPebble_LongScansSeeOneInstant(t *testing.T) {
	p := open(t, vfs.NewMem())
	defer p.Close()
	key := func(i int) string { return fmt.Sprintf("%04d", i) }
	for i := range 500 {
		set(t, p, false, key(i), "old")
	}
	n := 0
	err := p.Scan(nil, nil, func(k, v []byte) bool {
		if string(k) != key(n) || string(v) != "old" {
			t.Fatalf("pair %d is %s=%s", n, k, v)
		}
		set(t, p, false, key(n+1), "new", key(n)+"+", "new")
		if n%100 == 50 {
			if err := index.Bring(p); err != nil {
				t.Fatal(err)
			}
		}
		n++
		return true
	})
	if err != nil || n != 500 {
		t.Errorf("the scan saw %d of 500 pairs: %v", n, err)
	}
	txn := p.Begin()
	defer txn.Discard()
	for i := range 500 {
		_ = txn.Set([]byte(key(i)), []byte("mine"))
	}
	n = 0
	err = txn.Scan([]byte("0"), []byte("0500"), func(k, v []byte) bool {
		if string(k) == key(n) {
			if string(v) != "mine" {
				t.Fatalf("pair %s=%s", k, v)
			}
			_ = txn.Set([]byte(key(n+1)), []byte("later"))
			n++
		}
		return true
	})
	if err != nil || n != 500 {
		t.Errorf("the scan of a Txn saw %d of 500 pairs: %v", n, err)
	}
}
