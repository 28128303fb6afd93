package chunk

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
)

func testKeys(t testing.TB) *Keys {
	t.Helper()
	k, err := NewKeys([]byte("a secret for tests, 32 bytes long"), 1)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// bodies is where tests keep chunks.
type bodies struct {
	mu sync.Mutex
	m  map[store.Ref][]byte
	n  int64 // bytes put
}

func newBodies() *bodies { return &bodies{m: map[store.Ref][]byte{}} }

func (b *bodies) put(s Sealed) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.m[s.Ref] = s.Body
	b.n += int64(len(s.Body))
	return nil
}

func (b *bodies) has(r store.Ref) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.m[r]
	return ok
}

func (b *bodies) get(_ context.Context, r store.Ref) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if body, ok := b.m[r]; ok {
		return body, nil
	}
	return nil, store.ErrNotFound
}

func write(t testing.TB, k *Keys, b *bodies, plain []byte) store.Content {
	t.Helper()
	w := k.NewWriter(b.put, b.has)
	for len(plain) > 0 {
		n := min(len(plain), 100_000)
		if _, err := w.Write(plain[:n]); err != nil {
			t.Fatal(err)
		}
		plain = plain[n:]
	}
	c, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func random(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

func TestWriterReader_RoundTrip(t *testing.T) {
	k := testKeys(t)
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.OneOf(rapid.IntRange(0, 3*smallCuts.min), rapid.IntRange(0, 3<<20)).Draw(rt, "size")
		plain := random(rapid.Uint64().Draw(rt, "seed"), n)
		if rapid.Bool().Draw(rt, "compressible") {
			for i := range plain {
				plain[i] &= 3
			}
		}
		b := newBodies()
		c := write(t, k, b, plain)
		if c.Size != int64(n) || (n == 0) != c.Root.IsZero() {
			rt.Fatalf("content %+v of %d bytes", c, n)
		}
		r := k.NewReader(context.Background(), c, b.get)
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, plain) {
			rt.Fatalf("read %d bytes of %d: %v", len(got), n, err)
		}
		off := rapid.IntRange(0, n).Draw(rt, "offset")
		part := make([]byte, rapid.IntRange(0, 70_000).Draw(rt, "length"))
		m, err := r.ReadAt(part, int64(off))
		if want := min(len(part), n-off); m != want || !bytes.Equal(part[:m], plain[off:off+m]) || (err == io.EOF) != (want < len(part)) {
			rt.Fatalf("ReadAt(%d bytes, %d) = %d, %v; want %d", len(part), off, m, err, want)
		}
		if _, err := r.Seek(int64(off), io.SeekStart); err != nil {
			rt.Fatal(err)
		}
		var rest bytes.Buffer
		if _, err := r.WriteTo(&rest); err != nil || !bytes.Equal(rest.Bytes(), plain[off:]) {
			rt.Fatalf("WriteTo from %d: %d bytes, %v", off, rest.Len(), err)
		}
		if again := write(t, k, b, plain); again != c {
			rt.Fatalf("the same bytes are %+v and %+v", c, again)
		}
	})
}

// The boundaries are those of FastCDC on the whole file, however it is written.
func TestWriter_CutsLikeFastCDC(t *testing.T) {
	k := testKeys(t)
	plain := random(7, 3<<20)
	var want []store.Ref
	opts := &chunkers.ChunkerOpts{MinSize: smallCuts.min, NormalSize: smallCuts.mean, MaxSize: smallCuts.max, Key: k.cutting[:]}
	ch, err := chunkers.NewChunker(algorithm, bytes.NewReader(plain), opts)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := ch.Next()
		if len(b) > 0 {
			want = append(want, k.Ref(b))
		}
		if err != nil {
			break
		}
	}
	b := newBodies()
	c := write(t, k, b, plain)
	if c.Depth != 1 {
		t.Fatalf("depth %d", c.Depth)
	}
	got, err := k.List(c.Root, b.m[c.Root], 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d chunks, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("chunk %d differs", i)
		}
	}
}

// One byte inserted at the front of a file stores few bytes anew.
func TestWriter_InsertionIsLocal(t *testing.T) {
	k, b := testKeys(t), newBodies()
	plain := random(3, 16<<20)
	write(t, k, b, plain)
	before := b.n
	write(t, k, b, append([]byte{1}, plain...))
	if more := b.n - before; more > 1<<20 {
		t.Errorf("%d bytes stored anew for one inserted", more)
	}
}

// A long list is cut into lists, and every chunk is found through them.
func TestLists_OfLists(t *testing.T) {
	k, b := testKeys(t), newBodies()
	w := k.NewWriter(b.put, b.has)
	at := int64(0)
	var begins []int64
	for i := range uint64(5000) {
		e := entry{ref: store.Ref(random(i, 32)), size: int64(1 + i%7)}
		begins = append(begins, at)
		at += e.size
		w.all = append(w.all, e)
	}
	w.total = at
	c, err := w.lists()
	if err != nil {
		t.Fatal(err)
	}
	if c.Depth != 2 {
		t.Errorf("depth %d, want 2", c.Depth)
	}
	r := k.NewReader(context.Background(), c, b.get)
	for i, e := range w.all {
		got, begin, _, err := r.find(begins[i] + e.size - 1)
		if err != nil || got != e || begin != begins[i] {
			t.Fatalf("chunk %d: found %+v at %d (%v), want %+v at %d", i, got, begin, err, e, begins[i])
		}
	}
}

func TestOpen_NoticesEveryBit(t *testing.T) {
	k := testKeys(t)
	for _, plain := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("compressible "), 20)} {
		s := k.Seal(plain)
		if got, err := k.Open(s.Ref, s.Body); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("Open = %q, %v", got, err)
		}
		for i := range len(s.Body) * 8 {
			s.Body[i/8] ^= 1 << (i % 8)
			if _, err := k.Open(s.Ref, s.Body); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("bit %d flipped: %v", i, err)
			}
			s.Body[i/8] ^= 1 << (i % 8)
		}
		for n := range s.Body {
			if _, err := k.Open(s.Ref, s.Body[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut to %d: %v", n, err)
			}
		}
		other := k.Seal([]byte("another chunk"))
		if _, err := k.Open(s.Ref, other.Body); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("another chunk's body: %v", err)
		}
	}
}

func TestOpen_BoundsWhatIsUnpacked(t *testing.T) {
	k := testKeys(t)
	bomb := bytes.Repeat([]byte{0}, MaxSize+1)
	s := k.seal(k.Ref(bomb), bomb, true)
	if len(s.Body) > 10_000 {
		t.Fatalf("the bomb has %d bytes", len(s.Body))
	}
	if _, err := k.Open(s.Ref, s.Body); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Open of a bomb: %v", err)
	}
}

func TestKeys_PoolsAndGenerations(t *testing.T) {
	a := testKeys(t)
	b, err := NewKeys([]byte("another secret, of another pool!!"), 1)
	if err != nil {
		t.Fatal(err)
	}
	a2, err := NewKeys([]byte("a secret for tests, 32 bytes long"), 2)
	if err != nil {
		t.Fatal(err)
	}
	s := a.Seal([]byte("hello"))
	if a.Ref([]byte("hello")) == b.Ref([]byte("hello")) {
		t.Error("two pools give one address")
	}
	if a2.Ref([]byte("hello")) != s.Ref {
		t.Error("a new generation gives a new address")
	}
	if _, err := a2.Open(s.Ref, s.Body); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another generation opens it: %v", err)
	}
	if _, err := NewKeys([]byte("short"), 1); err == nil {
		t.Error("a short secret was accepted")
	}
}

// The format does not change unnoticed: what is on disks must stay readable.
func TestFormat_Golden(t *testing.T) {
	k := testKeys(t)
	s := k.Seal([]byte("hello, world"))
	if got, want := s.Ref.String(), goldenRef; got != want {
		t.Errorf("address\n%s, want\n%s", got, want)
	}
	if got, want := hex.EncodeToString(s.Body), goldenBody; got != want {
		t.Errorf("body\n%s, want\n%s", got, want)
	}
	c := write(t, k, newBodies(), random(1, 1<<20))
	if got, want := c.Root.String(), goldenRoot; got != want {
		t.Errorf("root\n%s, want\n%s", got, want)
	}
}

func TestReader_DataIsNoList(t *testing.T) {
	k, b := testKeys(t), newBodies()
	_, entries := []entry{}, []entry{{k.Ref([]byte("a")), 1}, {k.Ref([]byte("b")), 1}}
	forged := k.Seal(appendList(nil, 1, entries)) // a list's bytes as data
	b.put(forged)
	r := k.NewReader(context.Background(), store.Content{Size: 2, Root: forged.Ref, Depth: 1}, b.get)
	if _, err := io.ReadAll(r); !errors.Is(err, ErrCorrupt) {
		t.Errorf("data read as a list: %v", err)
	}
	if _, err := k.List(forged.Ref, forged.Body, 1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("data opened as a list: %v", err)
	}
}

func TestWriter_ErrorsOfPutReachTheWriter(t *testing.T) {
	k := testKeys(t)
	full := errors.New("full")
	w := k.NewWriter(func(Sealed) error { return full }, nil)
	var err error
	for range 1000 {
		if _, err = w.Write(random(1, 100_000)); err != nil {
			break
		}
	}
	if !errors.Is(err, full) {
		t.Errorf("Write = %v", err)
	}
	if _, err := w.Close(); !errors.Is(err, full) {
		t.Errorf("Close = %v", err)
	}
	w = k.NewWriter(newBodies().put, nil)
	_, _ = w.Write(random(1, 100_000))
	w.Abort()
	if _, err := w.Close(); !errors.Is(err, errAborted) {
		t.Errorf("Close after Abort = %v", err)
	}
}

func TestPadded(t *testing.T) {
	for n := range 5 << 20 {
		if p := padded(n); p < n || p > n+n/32+1 {
			t.Fatalf("padded(%d) = %d", n, p)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k, err := NewKeys([]byte("a secret for tests, 32 bytes long"), 1)
	if err != nil {
		f.Fatal(err)
	}
	s := k.Seal([]byte("seed"))
	f.Add(s.Body)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		if plain, err := k.Open(s.Ref, body); err == nil && string(plain) != "seed" {
			t.Fatalf("%q opened as %q", body, plain)
		}
		_, _ = k.unwrap(body) // what lies behind the seal must not panic either
	})
}

func FuzzList(f *testing.F) {
	f.Add(appendList(nil, 1, []entry{{store.Ref{1}, 5}, {store.Ref{2}, 1 << 40}}))
	f.Add([]byte{1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		depth, entries, err := parseList(b)
		if err != nil {
			return
		}
		d2, e2, err := parseList(appendList(nil, depth, entries))
		if err != nil || d2 != depth || len(e2) != len(entries) {
			t.Fatalf("%v: %d entries of depth %d became %d of %d", err, len(entries), depth, len(e2), d2)
		}
	})
}

func benchmarkWriter(b *testing.B, plain []byte) {
	k := testKeys(b)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		w := k.NewWriter(func(Sealed) error { return nil }, nil)
		if _, err := w.Write(plain); err != nil {
			b.Fatal(err)
		}
		if _, err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriter_Random(b *testing.B) { benchmarkWriter(b, random(1, 64<<20)) }
func BenchmarkWriter_Text(b *testing.B) {
	plain := random(1, 64<<20)
	for i := range plain {
		plain[i] = "etaoin shrdlu cmfwyp"[plain[i]%20]
	}
	benchmarkWriter(b, plain)
}
func BenchmarkWriter_Small(b *testing.B) { benchmarkWriter(b, random(1, 4<<10)) }
