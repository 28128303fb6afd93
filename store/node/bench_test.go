package node

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/store/pool"
)

// benchSize is the size of the file that BenchmarkPut stores: 1 GiB.
const benchSize = 1 << 30

// randomFile writes n random bytes to a new file and makes them durable.
func randomFile(b *testing.B, name string, seed byte, n int64) {
	b.Helper()
	f, err := os.Create(name)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.CopyN(f, rand.NewChaCha8([32]byte{seed}), n); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	f.Close()
}

// copySynced is cp and sync: the raw disk that put is measured against.
func copySynced(b *testing.B, from, to string) {
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	// Not (*os.File).ReadFrom: cp on this file system copies through memory too.
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	if err := out.Sync(); err != nil {
		b.Fatal(err)
	}
	out.Close()
}

// BenchmarkPut stores a file of 1 GiB of random bytes through the control socket,
// as the command does, and copies and syncs it on the same disk, in turn. It
// reports the median ratio of the two times, over at least five rounds:
//
//	go test -run '^$' -bench Put -benchtime 5x ./store/node
func BenchmarkPut(b *testing.B) {
	dir := b.TempDir()
	m := newBenchMachine(b, filepath.Join(dir, "m"))
	src := filepath.Join(dir, "source")
	// Memory that was idle is slow at its first touch: touch as much page cache as
	// the run will use before anything is measured.
	for i := range int64(6) {
		randomFile(b, filepath.Join(dir, fmt.Sprint("warm", i)), byte(i), benchSize)
	}
	for i := range 6 {
		os.Remove(filepath.Join(dir, fmt.Sprint("warm", i)))
	}
	var ratios []float64
	for i := range b.N {
		b.StopTimer()
		randomFile(b, src, byte(i), benchSize) // new bytes: equal ones would be stored once
		raw := filepath.Join(dir, fmt.Sprint("copy", i))
		b.StartTimer()
		start := time.Now()
		copySynced(b, src, raw)
		cp := time.Since(start)
		start = time.Now()
		putFile(b, m, src, fmt.Sprint("f", i))
		put := time.Since(start)
		ratios = append(ratios, cp.Seconds()/put.Seconds())
		b.Logf("cp and sync %v, put %v: ratio %.2f", cp, put, ratios[i])
		os.Remove(raw)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "of-cp")
	b.ReportMetric(0, "ns/op")
}

func newBenchMachine(b *testing.B, dir string) *Client {
	b.Helper()
	if _, err := Init(Config{Dir: dir, Set: Settings{Name: "bench", Space: 64 << 30}}, pool.Secret{}); err != nil {
		b.Fatal(err)
	}
	m, err := Open(Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	up := make(chan bool)
	go func() {
		ended <- m.Serve(ctx, ServeConfig{NoDiscovery: true, NoWebDAV: true, Event: func(ev Event) {
			if ev.Kind == EventServing {
				close(up)
			}
		}})
	}()
	<-up
	c, err := Connect(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		cancel()
		<-ended
		m.Close()
	})
	return c
}

func putFile(b *testing.B, c *Client, local, name string) {
	b.Helper()
	err := c.Put(context.Background(), "/", func(tw *tar.Writer) error {
		f, err := os.Open(local)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: benchSize, Mode: 0o644, Format: tar.FormatPAX}
		named := NameLocal(h, local, info)
		if err := tw.WriteHeader(h); err != nil || named {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{tw}, struct{ io.Reader }{f}, make([]byte, 256<<10))
		return err
	}, func(s Stored) {
		if s.Error != "" {
			b.Error(s.Error)
		}
	})
	if err != nil {
		b.Fatal(err)
	}
}
