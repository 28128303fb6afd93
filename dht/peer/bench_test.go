package peer

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

// benchRing opens n nodes and a client of the first, and stores a record.
func benchRing(b *testing.B, n int) ([]*Node, *Client) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	var list []*Node
	var join []netip.AddrPort
	for i := range n {
		m, err := Open(ctx, Config{
			Dir: filepath.Join(b.TempDir(), fmt.Sprint(i)), Listen: netip.MustParseAddrPort("127.0.0.1:0"), Join: join,
		})
		if err != nil {
			b.Fatal(err)
		}
		list, join = append(list, m), []netip.AddrPort{m.Addr()}
	}
	c, err := NewClient(ClientConfig{Nodes: []netip.AddrPort{list[0].Addr()}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		stop()
		for _, m := range list {
			_ = m.Wait()
		}
	})
	for {
		s, err := c.Status(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if s.Size == n {
			break
		}
	}
	if _, err := c.Put(ctx, "k", []byte("a value of some length, as values are"), 0); err != nil {
		b.Fatal(err)
	}
	return list, c
}

// BenchmarkGet is how many gets a second one node answers to one client that keeps many
// under way: of a ring of one, and of three where each get is confirmed by a majority.
//
//	go test -run '^$' -bench Get -benchtime 100000x ./dht/peer
func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1, 3} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			_, c := benchRing(b, n)
			work := make(chan struct{}, 1024)
			var wg sync.WaitGroup
			b.ResetTimer()
			for range 256 {
				wg.Go(func() {
					for range work {
						if _, err := c.Get(b.Context(), "k"); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "gets/s")
		})
	}
}

// BenchmarkLookup is how long a lookup takes by the answer of its owner, one after the
// other, over loopback.
func BenchmarkLookup(b *testing.B) {
	list, _ := benchRing(b, 5)
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		began := time.Now()
		if _, err := list[0].Lookup(b.Context(), KeyID(fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "median-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkPut is how long a write takes until a majority of three has it on disk.
func BenchmarkPut(b *testing.B) {
	_, c := benchRing(b, 3)
	for i := 0; b.Loop(); i++ {
		if _, err := c.Put(b.Context(), fmt.Sprint(i%100), []byte("value"), 0); err != nil {
			b.Fatal(err)
		}
	}
}
