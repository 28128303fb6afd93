package segment_test

import (
	"context"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/chunk"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/segment"
)

const benchBytes = 1 << 30

// BenchmarkWrite_AgainstCopy writes a file of 1 GiB of random bytes through
// chunk.Writer, Put and Sync, and copies it with fsync, in turn and in one run. The
// ratio of the speeds is what counts: "of-copy" is the median, with the least and
// the greatest beside it.
//
//	go test ./store/segment -run '^$' -bench AgainstCopy -benchtime 5x
func BenchmarkWrite_AgainstCopy(b *testing.B) {
	dir := b.TempDir()
	source := filepath.Join(dir, "source")
	writeSource(b, source)
	benchOurs(b, filepath.Join(dir, "warm"), source)
	benchCopy(b, filepath.Join(dir, "warm.copy"), source)
	var ratios []float64
	b.SetBytes(benchBytes)
	for i := 0; b.Loop(); i++ {
		copied := benchCopy(b, filepath.Join(dir, "copy"), source)
		ours := benchOurs(b, filepath.Join(dir, "ours"), source)
		ratios = append(ratios, copied.Seconds()/ours.Seconds())
		b.Logf("copy and fsync %.2f s, ours %.2f s", copied.Seconds(), ours.Seconds())
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "of-copy")
	b.ReportMetric(ratios[0], "of-copy-min")
	b.ReportMetric(ratios[len(ratios)-1], "of-copy-max")
}

func writeSource(b *testing.B, name string) {
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{1}), benchBytes); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
}

// benchCopy reads and writes as cp does where the file system cannot clone.
func benchCopy(b *testing.B, name, source string) time.Duration {
	defer os.Remove(name)
	start := time.Now()
	in, err := os.Open(source)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	buf := make([]byte, 256<<10)
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, buf); err != nil {
		b.Fatal(err)
	}
	if err := out.Sync(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func benchOurs(b *testing.B, dir, source string) time.Duration {
	defer os.RemoveAll(dir)
	kv, err := index.Open(vfs.Default, filepath.Join(dir, "kv"), index.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer kv.Close()
	s, err := segment.Open(vfs.Default, filepath.Join(dir, "chunks"), kv, segment.Config{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	keys, err := chunk.NewKeys(make([]byte, chunk.SecretSize), 1)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	in, err := os.Open(source)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	w := keys.NewWriter(func(c chunk.Sealed) error { return s.Put(c.Ref, c.Body, segment.Replica) }, s.Has)
	if _, err := w.ReadFrom(in); err != nil {
		b.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		b.Fatal(err)
	}
	b.Logf("put after %.2f s", time.Since(start).Seconds())
	if err := s.Sync(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

func BenchmarkPut(b *testing.B) {
	kv := index.NewMemory()
	s, err := segment.Open(vfs.Default, b.TempDir(), kv, segment.Config{Space: 4 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	body := make([]byte, 64<<10)
	b.SetBytes(int64(len(body)))
	for i := 0; b.Loop(); i++ {
		if err := s.Put(refOf(i), body, segment.Cache); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCompactSome_OthersWait measures what a put with sync of 4 KiB, a put of 64
// KiB and a get take while slices of compaction run, with pauses as long as they, and
// while nothing does, in turns. "worst-ratio" is the greatest time with over that without, and
// "p99-ratio" the same of the 99th percentile; both are of the kind of operation that
// suffers most.
//
//	go test ./store/segment -run '^$' -bench OthersWait -benchtime 1x
func BenchmarkCompactSome_OthersWait(b *testing.B) {
	for b.Loop() {
		kv, err := index.Open(vfs.Default, filepath.Join(b.TempDir(), "kv"), index.Config{})
		if err != nil {
			b.Fatal(err)
		}
		s, err := segment.Open(vfs.Default, b.TempDir(), kv, segment.Config{SegmentSize: 32 << 20})
		if err != nil {
			b.Fatal(err)
		}
		w := waits{b: b, s: s}
		const kept, size = 6000, 64 << 10
		for n := range 2 * kept {
			w.put(n, size)
		}
		for n := range 2 * kept {
			if n%2 == 1 {
				if err := s.Delete(refOf(n)); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := s.Sync(); err != nil {
			b.Fatal(err)
		}
		without, with := map[string][]time.Duration{}, map[string][]time.Duration{}
		var slices int
		for more := true; more; {
			w.measure(b.Context(), without, kept)
			ctx, stop := context.WithCancel(b.Context())
			done := make(chan bool)
			go func() {
				defer close(done)
				for ; more && ctx.Err() == nil; slices++ {
					var err error
					start := time.Now()
					if _, more, err = s.CompactSome(1 << 20); err != nil {
						b.Error(err)
					}
					select {
					case <-time.After(time.Since(start)):
					case <-ctx.Done():
					}
				}
				stop()
			}()
			w.measure(ctx, with, kept)
			stop()
			<-done
		}
		var worst, p99 float64
		for kind, times := range with {
			usual := without[kind]
			ratio := func(part float64) float64 { return float64(quantile(times, part)) / float64(quantile(usual, part)) }
			worst, p99 = max(worst, ratio(1)), max(p99, ratio(0.99))
			b.Logf("%-8s %d and %d times: median %v, with compaction %v; p99 %v and %v; worst %v and %v", kind, len(usual), len(times),
				quantile(usual, 0.5), quantile(times, 0.5), quantile(usual, 0.99), quantile(times, 0.99), quantile(usual, 1), quantile(times, 1))
		}
		b.Logf("%d slices, %+v", slices, s.Usage())
		b.ReportMetric(worst, "worst-ratio")
		b.ReportMetric(p99, "p99-ratio")
		s.Close()
		kv.Close()
	}
}

func quantile(d []time.Duration, part float64) time.Duration {
	slices.Sort(d)
	return d[int(part*float64(len(d)-1))]
}

type waits struct {
	b    *testing.B
	s    *segment.Store
	puts int
}

func (w *waits) put(n, size int) {
	body := make([]byte, size)
	rand.NewChaCha8([32]byte(refOf(n))).Read(body)
	if err := w.s.Put(refOf(n), body, segment.Replica); err != nil {
		w.b.Fatal(err)
	}
}

// measure does operations for a quarter of a second, or until ctx ends.
func (w *waits) measure(ctx context.Context, took map[string][]time.Duration, kept int) {
	rng := rand.New(rand.NewPCG(1, uint64(w.puts)))
	timed := func(kind string, f func()) {
		start := time.Now()
		f()
		took[kind] = append(took[kind], time.Since(start))
	}
	for start := time.Now(); ctx.Err() == nil && time.Since(start) < time.Second/4; w.puts += 2 {
		timed("get", func() {
			if _, err := w.s.Get(refOf(2 * rng.IntN(kept))); err != nil {
				w.b.Fatal(err)
			}
		})
		timed("put", func() { w.put(1<<20+w.puts, 64<<10) })
		timed("durable", func() {
			w.put(1<<20+w.puts+1, 4<<10)
			if err := w.s.Sync(); err != nil {
				w.b.Fatal(err)
			}
		})
	}
}

// BenchmarkIndex_Memory puts a million bodies of 16 bytes and reports the bytes of
// heap that the store has then for each: the index is on disk.
//
//	go test ./store/segment -run '^$' -bench Index_Memory -benchtime 1x
func BenchmarkIndex_Memory(b *testing.B) {
	const bodies = 1 << 20
	for b.Loop() {
		kv, err := index.Open(vfs.Default, filepath.Join(b.TempDir(), "kv"), index.Config{})
		if err != nil {
			b.Fatal(err)
		}
		s, err := segment.Open(vfs.Default, b.TempDir(), kv, segment.Config{})
		if err != nil {
			b.Fatal(err)
		}
		before := heap()
		for n := range bodies {
			var ref store.Ref
			rand.NewChaCha8([32]byte(refOf(n))).Read(ref[:])
			if err := s.Put(ref, ref[:16], segment.Replica); err != nil {
				b.Fatal(err)
			}
			if n%10000 == 9999 {
				if err := s.Sync(); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := s.Sync(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(heap()-before)/bodies, "heap-B/chunk")
		count := 0
		start := time.Now()
		if err := s.Each(store.Ref{}, func(store.Ref, int64, segment.Class) bool { count++; return true }); err != nil || count != bodies {
			b.Fatalf("%d bodies, %v", count, err)
		}
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/bodies, "each-ns/chunk")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if err := kv.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// heap returns the bytes that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
