package chunk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
)

func testKeys(t testing.TB) *Keys {
	t.Helper()
	k, err := NewKeys(bytes.Repeat([]byte{7}, SecretSize), 1)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// noise returns n bytes that do not compress, the same for the same seed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// shelf keeps bodies in memory.
type shelf struct {
	mu     sync.Mutex
	bodies map[store.Ref][]byte
	bytes  int64
	puts   int
	gets   int
}

func newShelf() *shelf { return &shelf{bodies: map[store.Ref][]byte{}} }

func (s *shelf) put(c Sealed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.puts++
	s.bytes += int64(len(c.Body))
	s.bodies[c.Ref] = bytes.Clone(c.Body)
	return nil
}

func (s *shelf) have(ref store.Ref) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bodies[ref] != nil
}

func (s *shelf) get(ref store.Ref) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gets++
	if b := s.bodies[ref]; b != nil {
		return b, nil
	}
	return nil, store.ErrNotFound
}

func (s *shelf) fetch(_ context.Context, ref store.Ref) ([]byte, error) { return s.get(ref) }

// write writes b in pieces of the given size.
func write(t testing.TB, k *Keys, s *shelf, b []byte, piece int) store.Content {
	t.Helper()
	w := k.NewWriter(s.put, s.have)
	for len(b) > 0 {
		n, err := w.Write(b[:min(piece, len(b))])
		if err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	c, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func read(t testing.TB, k *Keys, s *shelf, c store.Content) []byte {
	t.Helper()
	r := k.NewReader(t.Context(), c, s.fetch)
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWriter_RoundTrips(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	k := testKeys(t)
	big := noise(1, 6<<20)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 1<<20), rapid.IntRange(0, len(big))).Draw(rt, "size")
		b := big[len(big)-n:]
		if rapid.Bool().Draw(rt, "compressible") {
			b = bytes.Repeat([]byte("all work and no play "), n/21)
		}
		s := newShelf()
		c := write(t, k, s, b, rapid.IntRange(1<<10, 3<<20).Draw(rt, "piece"))
		w := k.NewWriter(newShelf().put, nil)
		if n, err := w.ReadFrom(iotest.HalfReader(bytes.NewReader(b))); n != int64(len(b)) || err != nil {
			rt.Fatalf("ReadFrom = %d, %v", n, err)
		}
		if again, err := w.Close(); c != again || err != nil {
			rt.Fatalf("equal files, different contents: %v", err)
		}
		if !bytes.Equal(read(t, k, s, c), b) {
			rt.Fatal("what was read is not what was written")
		}
		r := k.NewReader(t.Context(), c, s.fetch)
		defer r.Close()
		for range 5 {
			off, m := rapid.IntRange(0, len(b)).Draw(rt, "off"), rapid.IntRange(0, 300<<10).Draw(rt, "len")
			p := make([]byte, m)
			got, err := r.ReadAt(p, int64(off))
			if want := min(m, len(b)-off); got != want || !bytes.Equal(p[:got], b[off:off+got]) || (err == io.EOF) != (got < m) {
				rt.Fatalf("ReadAt(%d, %d) of %d = %d, %v", m, off, len(b), got, err)
			}
		}
	})
}

func TestWriter_SmallFiles(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	if c := write(t, k, s, nil, 1); c != (store.Content{}) || s.puts != 0 {
		t.Errorf("the empty file is %+v with %d chunks", c, s.puts)
	}
	b := []byte("hello")
	c := write(t, k, s, b, 1)
	if want := (store.Content{Size: 5, Root: k.Ref(b), Oldest: 1}); c != want {
		t.Errorf("a small file is %+v, want %+v", c, want)
	}
	write(t, k, s, b, 2)
	if s.puts != 1 {
		t.Errorf("a chunk that was there was put again: %d puts", s.puts)
	}
}

func TestWriter_InsertedByteResendsFewChunks(t *testing.T) {
	k := testKeys(t)
	b := noise(2, 64<<20)
	s := newShelf()
	write(t, k, s, b, 1<<20)
	before, chunks := s.bytes, s.puts
	write(t, k, s, append([]byte{'x'}, b...), 1<<20)
	if sent := s.bytes - before; sent > 512<<10 {
		t.Errorf("one byte in front of %d MiB puts %d bytes in %d chunks", len(b)>>20, sent, s.puts-chunks)
	} else {
		t.Logf("%d bytes, %d chunks of %d", sent, s.puts-chunks, chunks)
	}
	if mean := len(b) / chunks; mean < 48<<10 || mean > 96<<10 {
		t.Errorf("mean chunk %d bytes, want about 64 KiB", mean)
	}
}

func TestWriter_StopsAtFirstError(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	k := testKeys(t)
	full := errors.New("full")
	w := k.NewWriter(func(Sealed) error { return full }, nil)
	var err error
	b := noise(3, 1<<20)
	for i := 0; err == nil && i < 100; i++ {
		_, err = w.Write(b)
	}
	if !errors.Is(err, full) {
		t.Errorf("Write = %v, want the error of put", err)
	}
	if c, err := w.Close(); !errors.Is(err, full) || c != (store.Content{}) {
		t.Errorf("Close = %v, %v", c, err)
	}
	aborted := k.NewWriter(newShelf().put, nil)
	aborted.Write(b)
	aborted.Abort()
	aborted.Abort()
	if _, err := aborted.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("Close after Abort = %v", err)
	}
	closed := k.NewWriter(newShelf().put, nil)
	closed.Close()
	closed.Abort()
	if _, err := closed.Write(b); !errors.Is(err, ErrClosed) {
		t.Errorf("Write after Close = %v", err)
	}
}

// TestWriter_PutsListsLast checks that whoever has a list has been given all below.
func TestWriter_PutsListsLast(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	w := k.NewWriter(func(c Sealed) error {
		if _, kind, plain, err := k.unseal(c.Ref, c.Body); err != nil {
			t.Error(err)
		} else if kind == list {
			for b := plain[3:]; len(b) > 40; b = b[1:] {
				if s.have(store.Ref(b[:32])) {
					return s.put(c) // at least one child is there
				}
			}
			t.Error("a list came before its chunks")
		}
		return s.put(c)
	}, nil)
	w.Write(noise(4, 8<<20))
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTree_DeepListsAreFound(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	w := k.NewWriter(s.put, s.have)
	var want []entry
	for i := range 60000 {
		e := entry{k.Ref(fmt.Append(nil, i)), int64(1 + i%1000), k.Generation()}
		want = append(want, e)
		w.size += e.size
		if err := w.tree.add(0, e); err != nil {
			t.Fatal(err)
		}
	}
	c, err := w.Close()
	if err != nil || c.Depth < 3 {
		t.Fatalf("%+v, %v: want at least 3 levels", c, err)
	}
	i, lists, offset := 0, 0, int64(0)
	err = k.Walk(c, s.get, func(p Part) error {
		if p.Depth > 0 {
			lists++
			return nil
		}
		if e := (entry{p.Ref, p.Size, p.Oldest}); e != want[i] || p.Offset != offset {
			return fmt.Errorf("chunk %d is %+v, want %+v at %d", i, p, want[i], offset)
		}
		i++
		offset += p.Size
		return nil
	})
	if err != nil || i != len(want) || lists != len(s.bodies) {
		t.Errorf("%d chunks, %d of %d lists: %v", i, lists, len(s.bodies), err)
	}
}

func TestWalk_VisitsWhatIsMissing(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	c := write(t, k, s, noise(5, 32<<20), 1<<20)
	here := newShelf()
	for range c.Depth + 1 {
		err := k.Walk(c, here.get, func(p Part) error {
			if b := s.bodies[p.Ref]; !here.have(p.Ref) {
				if p.Depth > 0 != p.Absent {
					t.Errorf("%+v is not here", p)
				}
				here.put(Sealed{Ref: p.Ref, Body: b})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(here.bodies) != len(s.bodies) {
		t.Errorf("after Depth+1 walks %d chunks of %d are here", len(here.bodies), len(s.bodies))
	}
	stop := errors.New("stop")
	if err := k.Walk(c, s.get, func(Part) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Walk = %v, want visit's error", err)
	}
}

func TestReader_FetchesAheadAndOnce(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	k := testKeys(t)
	s := newShelf()
	b := noise(6, 6<<20)
	c := write(t, k, s, b, 1<<20)
	var mu sync.Mutex
	gets := map[store.Ref]int{}
	r := k.NewReader(t.Context(), c, func(ctx context.Context, ref store.Ref) ([]byte, error) {
		mu.Lock()
		gets[ref]++
		mu.Unlock()
		return s.get(ref)
	})
	var out bytes.Buffer
	if n, err := r.WriteTo(&out); err != nil || n != int64(len(b)) || !bytes.Equal(out.Bytes(), b) {
		t.Errorf("WriteTo = %d, %v", n, err)
	}
	r.Close()
	total := 0
	for _, n := range gets {
		total += n
	}
	if total > len(s.bodies)+len(s.bodies)/10 {
		t.Errorf("%d fetches for %d chunks", total, len(s.bodies))
	}
	if _, err := r.ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadAt after Close = %v", err)
	}
}

// lets is a writer that lets everything that is fetched ahead arrive before it goes on.
type lets struct{ bytes.Buffer }

func (w *lets) Write(p []byte) (int, error) {
	synctest.Wait()
	return w.Buffer.Write(p)
}

func TestReader_SlowReaderFetchesNothingTwice(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	b := noise(6, 12<<20)
	c := write(t, k, s, b, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		fetched := 0
		r := k.NewReader(t.Context(), c, func(_ context.Context, ref store.Ref) ([]byte, error) {
			mu.Lock()
			fetched++
			mu.Unlock()
			return s.get(ref)
		})
		defer r.Close()
		var out lets
		if n, err := r.WriteTo(&out); err != nil || n != int64(len(b)) || !bytes.Equal(out.Bytes(), b) {
			t.Errorf("WriteTo = %d, %v", n, err)
		}
		if fetched != len(s.bodies) {
			t.Errorf("%d fetches for %d chunks", fetched, len(s.bodies))
		}
	})
}

func TestReader_ErrorsAndRetries(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	b := noise(7, 2<<20)
	c := write(t, k, s, b, 1<<20)
	fail := true
	r := k.NewReader(t.Context(), c, func(_ context.Context, ref store.Ref) ([]byte, error) {
		if fail {
			return nil, io.ErrUnexpectedEOF
		}
		return s.get(ref)
	})
	defer r.Close()
	p := make([]byte, len(b))
	if _, err := r.ReadAt(p, 0); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("ReadAt = %v, want the error of get", err)
	}
	fail = false
	if n, err := r.ReadAt(p, 0); n != len(b) || err != nil {
		t.Errorf("ReadAt after the error has gone = %d, %v", n, err)
	}
	for _, bad := range []store.Content{
		{Size: c.Size + 1, Root: c.Root, Depth: c.Depth},
		{Size: c.Size, Root: c.Root, Depth: 0},
		{Size: c.Size, Root: c.Root, Depth: c.Depth + 1},
		{Size: c.Size, Root: c.Root, Depth: 255},
		{Size: 5, Root: k.Seal([]byte("four")).Ref, Depth: 0},
	} {
		s.put(k.Seal([]byte("four")))
		r := k.NewReader(t.Context(), bad, s.fetch)
		if _, err := r.Read(p); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %v, want ErrCorrupt", bad, err)
		}
		r.Close()
	}
	for _, off := range []int64{c.Size, c.Size + 1} {
		if n, err := r.ReadAt(p, off); n != 0 || err != io.EOF {
			t.Errorf("ReadAt(%d) = %d, %v", off, n, err)
		}
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Error("sought before the start")
	}
	if at, err := r.Seek(-3, io.SeekEnd); at != c.Size-3 || err != nil {
		t.Errorf("Seek = %d, %v", at, err)
	}
	if n, err := io.ReadFull(r, p[:3]); n != 3 || err != nil || !bytes.Equal(p[:3], b[len(b)-3:]) {
		t.Errorf("the last three bytes: %d, %v", n, err)
	}
}

func BenchmarkWriter(b *testing.B) {
	for name, p := range map[string][]byte{"random": noise(8, 64<<20), "zeros": make([]byte, 64<<20)} {
		b.Run(name, func(b *testing.B) {
			k := testKeys(b)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				w := k.NewWriter(func(Sealed) error { return nil }, nil)
				w.Write(p)
				if _, err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestReader_ReadOnce says which chunks will not be asked for again: those of a file that
// is read from front to back, not those of one that is read here and there.
func TestReader_ReadOnce(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	c := write(t, k, s, noise(8, 8<<20), 1<<20)
	var mu sync.Mutex
	once, all := 0, 0
	get := func(ctx context.Context, ref store.Ref) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		all++
		if ReadOnce(ctx) {
			once++
		}
		return s.get(ref)
	}
	r := k.NewReader(t.Context(), c, get)
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if once < all-4 {
		t.Errorf("from front to back: %d of %d chunks are said to be read once", once, all)
	}
	once, all = 0, 0
	r = k.NewReader(t.Context(), c, get)
	for _, off := range []int64{6 << 20, 1 << 20, 4 << 20, 0, 7 << 20} {
		if _, err := r.ReadAt(make([]byte, 4096), off); err != nil {
			t.Fatal(err)
		}
	}
	r.Close()
	if once > 0 {
		t.Errorf("here and there: %d of %d chunks are said to be read once", once, all)
	}
}

// TestReader_TakeBodies reads with bodies of the Reader's own, among them ones that are
// compressed and one that was altered.
func TestReader_TakeBodies(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	plain := append(noise(8, 3<<20), bytes.Repeat([]byte("all work and no play "), 100_000)...)
	c := write(t, k, s, plain, 1<<20)
	var bad store.Ref
	own := func(_ context.Context, ref store.Ref) ([]byte, error) {
		b, err := s.get(ref)
		b = bytes.Clone(b)
		if ref == bad {
			b[len(b)/2] ^= 1
		}
		return b, err
	}
	r := k.NewReader(t.Context(), c, own).TakeBodies()
	defer r.Close()
	for range 2 {
		got := make([]byte, len(plain))
		if _, err := r.ReadAt(got, 0); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("other bytes, or %v", err)
		}
	}
	part, err := k.NewReader(t.Context(), c, own).find(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	bad = part.Ref
	broken := k.NewReader(t.Context(), c, own).TakeBodies()
	defer broken.Close()
	if _, err := broken.ReadAt(make([]byte, 10), 1<<20); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("an altered body: %v, want ErrCorrupt", err)
	}
	bad = store.Ref{} // the next read tries again
	got := make([]byte, 10)
	if _, err := broken.ReadAt(got, 1<<20); err != nil || !bytes.Equal(got, plain[1<<20:][:10]) {
		t.Fatalf("after a bad body: %v", err)
	}
}

func BenchmarkReader(b *testing.B) {
	k := testKeys(b)
	s := newShelf()
	c := write(b, k, s, noise(9, 64<<20), 1<<20)
	b.SetBytes(c.Size)
	for b.Loop() {
		r := k.NewReader(b.Context(), c, s.fetch)
		if _, err := r.WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		r.Close()
	}
}
