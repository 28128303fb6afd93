package segment_test

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

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
