package index_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store/index"
)

// both runs f on a KV on the disk without a key and on one with, in turns.
func both(b *testing.B, f func(b *testing.B, p *index.Pebble)) {
	for _, c := range []struct {
		name string
		key  []byte
	}{{"plain", nil}, {"sealed", indexKey}} {
		b.Run(c.name, func(b *testing.B) {
			p, err := index.Open(vfs.Default, b.TempDir(), index.Config{Reserve: -1, Key: c.key})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			f(b, p)
		})
	}
}

func BenchmarkPebble_SyncedCommits(b *testing.B) {
	both(b, func(b *testing.B, p *index.Pebble) {
		var goroutines atomic.Int32
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			g := goroutines.Add(1)
			for i := 0; pb.Next(); i++ {
				set(b, p, true, fmt.Sprintf("%d/%d", g, i), "value")
			}
		})
	})
}

func BenchmarkPebble_SyncedCommitsByOne(b *testing.B) {
	both(b, func(b *testing.B, p *index.Pebble) {
		for i := 0; b.Loop(); i++ {
			set(b, p, true, fmt.Sprint(i), "value")
		}
	})
}

// number is the i-th of keys that come in no order.
func number(i uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("a name of some length "), i*0x9e3779b97f4a7c15)
}

// BenchmarkPebble_Sets makes commits of 500 pairs of about 130 bytes, as a tree of
// files is, and all that follows from them.
func BenchmarkPebble_Sets(b *testing.B) {
	both(b, func(b *testing.B, p *index.Pebble) {
		setMany(b, p, b.N)
	})
}

func setMany(b *testing.B, p *index.Pebble, n int) {
	b.Helper()
	value := make([]byte, 100)
	rng := rand.NewChaCha8([32]byte{3})
	for i := 0; i < n; {
		txn := p.Begin()
		for range 500 {
			_, _ = rng.Read(value[:50])
			if err := txn.Set(number(uint64(i)), value); err != nil {
				b.Fatal(err)
			}
			if i++; i == n {
				break
			}
		}
		if err := txn.Commit(i == n); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPebble_Gets reads keys in no order from an index that is five times as
// large as its cache.
func BenchmarkPebble_Gets(b *testing.B) {
	const keys = 500_000
	both(b, func(b *testing.B, p *index.Pebble) {
		setMany(b, p, keys)
		rng := rand.New(rand.NewPCG(1, 2))
		b.ResetTimer()
		for b.Loop() {
			if _, err := p.Get(number(rng.Uint64N(keys))); err != nil {
				b.Fatal(err)
			}
		}
	})
}
