package index

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func testFS(t testing.TB, below vfs.FS) *sealedFS {
	t.Helper()
	keys, err := newHeaderKeys(make([]byte, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return &sealedFS{FS: below, keys: keys}
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// write makes the file name in pieces of random lengths and returns its text.
func write(t testing.TB, f vfs.File, rng *rand.Rand, size int) []byte {
	t.Helper()
	text := make([]byte, size)
	for i := range text {
		text[i] = byte(rng.Uint32())
	}
	before := bytes.Clone(text)
	for done := 0; done < size; {
		n := min(1+rng.IntN(100<<10), size-done)
		if w, err := f.Write(text[done : done+n]); err != nil || w != n {
			t.Fatalf("wrote %d of %d: %v", w, n, err)
		}
		done += n
	}
	if !bytes.Equal(text, before) {
		t.Fatal("Write spoilt its argument")
	}
	return text
}

func TestSealedFile_ReadsWhatWasWritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, size := range []int{0, 1, 15, 16, 17, 4096, 64<<10 - 64, 64 << 10, 300<<10 + 5} {
		below := vfs.NewMem()
		fs := testFS(t, below)
		w := must[vfs.File](t)(fs.Create("f", ""))
		text := write(t, w, rng, size)
		if st := must[vfs.FileInfo](t)(w.Stat()); st.Size() != int64(size) {
			t.Errorf("%d bytes: Stat of the file says %d", size, st.Size())
		}
		w.Close()
		if st := must[vfs.FileInfo](t)(fs.Stat("f")); st.Size() != int64(size) {
			t.Errorf("%d bytes: Stat says %d", size, st.Size())
		}
		f := must[vfs.File](t)(fs.Open("f"))
		defer f.Close()
		if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%d bytes: Read gave %d bytes, %v", size, len(got), err)
		}
		for range 200 {
			off, n := rng.IntN(size+1), rng.IntN(40<<10)
			p := make([]byte, n)
			got, err := f.ReadAt(p, int64(off))
			want := text[off:min(size, off+n)]
			if !bytes.Equal(p[:got], want) || (err == nil) != (got == n) {
				t.Fatalf("%d bytes: ReadAt(%d, %d) = %d, %v", size, n, off, got, err)
			}
		}
		raw := must[vfs.File](t)(below.Open("f"))
		defer raw.Close()
		b, _ := io.ReadAll(raw)
		if size > 32 && bytes.Contains(b, text[:32]) {
			t.Errorf("%d bytes: the text lies in the file", size)
		}
		if size > 0 && len(b) != size+headerSize || size == 0 && len(b) > 0 {
			t.Errorf("%d bytes take %d", size, len(b))
		}
	}
}

// TestSealedFile_ReuseBeginsAnew writes two texts in one place and looks for the
// sum of the two, which a keystream that was used twice would show.
func TestSealedFile_ReuseBeginsAnew(t *testing.T) {
	below := vfs.NewMem()
	fs := testFS(t, below)
	raw := func(name string) []byte {
		f := must[vfs.File](t)(below.Open(name))
		defer f.Close()
		return must[[]byte](t)(io.ReadAll(f))
	}
	f := must[vfs.File](t)(fs.Create("a", ""))
	_, _ = f.Write(make([]byte, 1000))
	f.Close()
	old := raw("a")
	f = must[vfs.File](t)(fs.ReuseForWrite("a", "b", ""))
	if b := raw("b"); !bytes.Equal(old, b) {
		t.Error("the file changed before it was written")
	}
	_, _ = f.Write(make([]byte, 500))
	f.Close()
	b := raw("b")
	if bytes.Equal(b[headerSize:headerSize+100], old[headerSize:headerSize+100]) || bytes.Equal(b[:headerSize], old[:headerSize]) {
		t.Error("the keystream was used twice")
	}
	if !bytes.Equal(b[headerSize+500:], old[headerSize+500:]) {
		t.Error("what is left of the old text was touched")
	}
	f = must[vfs.File](t)(fs.Open("b"))
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil || len(got) != 1000 || !bytes.Equal(got[:500], make([]byte, 500)) || bytes.Contains(got[500:], make([]byte, 8)) {
		t.Errorf("read %d bytes, %v; the new text, then noise, was expected", len(got), err)
	}
}

func TestSealedFS_RefusesToWriteOver(t *testing.T) {
	fs := testFS(t, vfs.NewMem())
	f := must[vfs.File](t)(fs.Create("a", ""))
	defer f.Close()
	if _, err := f.WriteAt([]byte{1}, 0); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("WriteAt = %v", err)
	}
	if _, err := fs.OpenReadWrite("a", ""); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("OpenReadWrite = %v", err)
	}
	r := must[vfs.File](t)(fs.Open("a"))
	defer r.Close()
	if _, err := r.Write([]byte{1}); err == nil {
		t.Error("a file that was opened for reading was written")
	}
}

// TestSealedFS_WithoutHeaderIsEmpty: a crash leaves files that have none yet.
func TestSealedFS_WithoutHeaderIsEmpty(t *testing.T) {
	for name, b := range map[string][]byte{"nothing": {}, "half a header": []byte("AEix\x01"), "zeros": make([]byte, 9000)} {
		below := vfs.NewMem()
		w := must[vfs.File](t)(below.Create("f", ""))
		_, _ = w.Write(b)
		w.Close()
		f := must[vfs.File](t)(testFS(t, below).Open("f"))
		defer f.Close()
		got, err := io.ReadAll(f)
		if st := must[vfs.FileInfo](t)(f.Stat()); len(got) > 0 || err != nil || st.Size() != 0 {
			t.Errorf("%s: read %d of %d bytes, %v", name, len(got), st.Size(), err)
		}
		if n, err := f.ReadAt(make([]byte, 10), 0); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: ReadAt = %d, %v", name, n, err)
		}
	}
}

func TestSealedFS_EveryBitOfTheHeaderCounts(t *testing.T) {
	keys := testFS(t, nil).keys
	h := keys.header()
	if !keys.made(&h) {
		t.Fatal("a header is not taken for one of its key")
	}
	for i := range headerSize * 8 {
		bad := h
		bad[i/8] ^= 1 << (i % 8)
		if keys.made(&bad) {
			t.Errorf("bit %d does not count", i)
		}
	}
}

// full is a file on which there is room for so many bytes.
type full struct {
	vfs.File
	room int
}

func (f *full) Write(p []byte) (int, error) {
	n, _ := f.File.Write(p[:min(len(p), f.room)])
	if f.room -= n; n < len(p) {
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

// TestSealedFile_FailedWriteIsTheLast, because to write another text there would
// use the keystream twice.
func TestSealedFile_FailedWriteIsTheLast(t *testing.T) {
	for _, room := range []int{0, 10, headerSize, headerSize + 7, headerSize + 64<<10 + 1} {
		fs := testFS(t, vfs.NewMem())
		inner := must[vfs.File](t)(fs.FS.Create("f", ""))
		f := &sealedFile{File: &full{inner, room}, keys: fs.keys}
		n, err := f.Write(make([]byte, 100<<10))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n != max(0, room-headerSize) {
			t.Errorf("room %d: wrote %d, %v", room, n, err)
		}
		f.File = inner // room again
		if n, err := f.Write([]byte("other")); n != 0 || err == nil {
			t.Errorf("room %d: a later write wrote %d, %v", room, n, err)
		}
		inner.Close()
	}
}

func TestSealedFile_AllocatesNothing(t *testing.T) {
	fs := testFS(t, vfs.NewMem())
	w := must[vfs.File](t)(fs.Create("f", ""))
	defer w.Close()
	_ = write(t, w, rand.New(rand.NewPCG(1, 2)), 4<<20)
	r := must[vfs.File](t)(fs.Open("f"))
	defer r.Close()
	sequential := must[vfs.File](t)(fs.Open("f"))
	defer sequential.Close()
	p, off := make([]byte, 4096), int64(0)
	for name, f := range map[string]func(){
		"Read":           func() { _, _ = sequential.Read(p) },
		"ReadAt in turn": func() { n, _ := r.ReadAt(p, off); off += int64(n) },
	} {
		f() // the first call makes the keystream
		if n := testing.AllocsPerRun(50, f); n > 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	if n := testing.AllocsPerRun(50, func() { _, _ = r.ReadAt(p, 0) }); n > 2 {
		t.Errorf("ReadAt out of turn allocates %v times", n)
	}
	sink := &sealedFile{File: nowhere{}, keys: fs.keys}
	_, _ = sink.Write(p)
	if n := testing.AllocsPerRun(50, func() { _, _ = sink.Write(p) }); n > 0 {
		t.Errorf("Write allocates %v times", n)
	}
}

// nowhere takes writes and forgets them, and reads nothing in particular.
type nowhere struct{ vfs.File }

func (nowhere) Write(p []byte) (int, error)           { return len(p), nil }
func (nowhere) ReadAt(p []byte, _ int64) (int, error) { return len(p), nil }

// BenchmarkSealedFile shows what encryption adds to a call: the file below does
// nothing.
func BenchmarkSealedFile(b *testing.B) {
	fs := testFS(b, vfs.NewMem())
	f := &sealedFile{File: nowhere{}, keys: fs.keys}
	p := make([]byte, 32<<10)
	b.Run("Write 32 KiB", func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		b.ReportAllocs()
		for b.Loop() {
			_, _ = f.Write(p)
		}
	})
	for name, step := range map[string]int64{"ReadAt 4 KiB in turn": 4096, "ReadAt 4 KiB anywhere": 64 << 10} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(4096)
			b.ReportAllocs()
			for off := int64(0); b.Loop(); off += step {
				_, _ = f.ReadAt(p[:4096], off)
			}
		})
	}
}
