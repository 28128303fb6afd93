package chunk

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/aether-lan/aether/store"
)

// edit is a file that is being changed, and what is to be said of the changes.
type edit struct {
	b     []byte
	dirty []Span
	zero  []Span
}

func (e *edit) mark(from, to int64) {
	if from < to {
		e.dirty = append(e.dirty, Span{from, to})
	}
}

// spans returns what was marked, sorted and disjoint.
func merged(in []Span) (out []Span) {
	sort.Slice(in, func(i, j int) bool { return in[i].From < in[j].From })
	for _, s := range in {
		if n := len(out); n > 0 && s.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, s.To)
		} else {
			out = append(out, s)
		}
	}
	return out
}

// randomEdit changes b in some places and perhaps its length.
func randomEdit(rnd *rand.Rand, b []byte) edit {
	e := edit{b: bytes.Clone(b)}
	switch size := len(e.b); rnd.IntN(4) {
	case 0: // shorter
		e.b = e.b[:rnd.IntN(size+1)]
	case 1: // longer, by a hole and perhaps data behind it
		e.b = append(e.b, make([]byte, rnd.IntN(3<<20))...)
		e.zero = append(e.zero, Span{int64(size), int64(len(e.b))})
		tail := make([]byte, rnd.IntN(200<<10))
		fill(rnd, tail)
		e.mark(int64(len(e.b)), int64(len(e.b)+len(tail)))
		e.b = append(e.b, tail...)
	}
	for range rnd.IntN(5) {
		if len(e.b) == 0 {
			break
		}
		from := rnd.IntN(len(e.b))
		to := min(len(e.b), from+1+rnd.IntN(1<<rnd.IntN(20)))
		overlaps := false
		for _, z := range e.zero {
			overlaps = overlaps || int64(from) < z.To && z.From < int64(to)
		}
		if overlaps {
			continue
		}
		e.mark(int64(from), int64(to))
		if rnd.IntN(4) == 0 && !dirty(merged(append([]Span(nil), e.dirty[:len(e.dirty)-1]...)), int64(from), int64(to)) {
			clear(e.b[from:to])
			e.zero = append(e.zero, Span{int64(from), int64(to)})
		} else {
			fill(rnd, e.b[from:to])
		}
	}
	e.dirty, e.zero = merged(e.dirty), merged(e.zero)
	return e
}

func fill(rnd *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
}

func (e *edit) readAt(p []byte, off int64) error {
	if n := copy(p, e.b[off:]); n < len(p) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// A changed file has the Content that it would have if it had been written anew.
func TestRewrite_IsWhatAWriterMakes(t *testing.T) {
	k := testKeys(t)
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := newShelf()
		b := make([]byte, rnd.IntN(12<<20))
		fill(rnd, b)
		if rnd.IntN(3) == 0 && len(b) > 4<<20 {
			clear(b[1<<20 : 3<<20]) // chunks that repeat
		}
		c := write(t, k, s, b, 1<<20)
		for step := range 4 {
			e := randomEdit(rnd, b)
			ch := Change{Base: c, Size: int64(len(e.b)), Dirty: e.dirty, Zero: e.zero, ReadAt: e.readAt}
			got, err := k.Rewrite(t.Context(), ch, s.fetch, s.put, s.have)
			if err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if want := write(t, k, newShelf(), e.b, 1<<20); got != want {
				t.Fatalf("seed %d step %d: %+v, a Writer makes %+v\nsizes %d -> %d, dirty %v, zero %v", seed, step, got, want, len(b), len(e.b), e.dirty, e.zero)
			}
			r := k.NewReader(t.Context(), got, s.fetch)
			if back, err := io.ReadAll(r); err != nil || !bytes.Equal(back, e.b) {
				t.Fatalf("seed %d step %d: %d bytes back, %v", seed, step, len(back), err)
			}
			r.Close()
			b, c = e.b, got
		}
	}
}

func TestNewAppender_IsWhatAWriterMakes(t *testing.T) {
	k := testKeys(t)
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		s := newShelf()
		var b []byte
		var c store.Content
		for range 4 {
			more := make([]byte, rnd.IntN(1<<rnd.IntN(23)))
			fill(rnd, more)
			w, err := k.NewAppender(t.Context(), c, s.fetch, s.put, s.have)
			if err != nil {
				t.Fatal(err)
			}
			for p := more; len(p) > 0; {
				n := min(len(p), 1+rnd.IntN(300<<10))
				if _, err := w.Write(p[:n]); err != nil {
					t.Fatal(err)
				}
				p = p[n:]
			}
			if c, err = w.Close(); err != nil {
				t.Fatal(err)
			}
			b = append(b, more...)
			if want := write(t, k, newShelf(), b, 1<<20); c != want {
				t.Fatalf("seed %d: %+v, a Writer makes %+v", seed, c, want)
			}
		}
	}
}

// What a small change costs does not depend on the size of the file.
func TestRewrite_CostsWhatChanged(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	b := make([]byte, 64<<20)
	fill(rand.New(rand.NewPCG(1, 3)), b)
	c := write(t, k, s, b, 1<<20)
	s.gets, s.puts, s.bytes = 0, 0, 0
	e := edit{b: b}
	at := int64(40<<20 + 12345)
	copy(e.b[at:], "four thousand bytes or so")
	e.mark(at, at+4096)
	if _, err := k.Rewrite(t.Context(), Change{Base: c, Size: c.Size, Dirty: e.dirty, ReadAt: e.readAt}, s.fetch, s.put, s.have); err != nil {
		t.Fatal(err)
	}
	if s.puts > 8 || s.gets > 8 || s.bytes > 1<<20 {
		t.Errorf("4 KiB in 64 MiB: %d bodies read, %d written with %d bytes", s.gets, s.puts, s.bytes)
	}
	s.gets, s.puts, s.bytes = 0, 0, 0
	hole := Change{Base: c, Size: 8 << 30, Zero: []Span{{c.Size, 8 << 30}}, ReadAt: e.readAt}
	got, err := k.Rewrite(t.Context(), hole, s.fetch, s.put, s.have)
	if err != nil || got.Size != 8<<30 {
		t.Fatalf("%+v, %v", got, err)
	}
	if s.bytes > 16<<20 {
		t.Errorf("a hole of 8 GiB: %d bodies written with %d bytes", s.puts, s.bytes)
	}
}

func TestRewrite_ErrorsReachTheCaller(t *testing.T) {
	k := testKeys(t)
	s := newShelf()
	b := make([]byte, 3<<20)
	fill(rand.New(rand.NewPCG(1, 4)), b)
	c := write(t, k, s, b, 1<<20)
	fail := func([]byte, int64) error { return io.ErrNoProgress }
	if _, err := k.Rewrite(t.Context(), Change{Base: c, Size: c.Size, Dirty: []Span{{1 << 20, 2 << 20}}, ReadAt: fail}, s.fetch, s.put, s.have); err == nil {
		t.Error("a failing ReadAt made no error")
	}
	e := edit{b: b}
	full := func(Sealed) error { return io.ErrShortWrite }
	b[1<<20]++
	if _, err := k.Rewrite(t.Context(), Change{Base: c, Size: c.Size, Dirty: []Span{{1 << 20, 1<<20 + 1}}, ReadAt: e.readAt}, s.fetch, full, s.have); err == nil {
		t.Error("a failing put made no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.Rewrite(ctx, Change{Base: c, Size: c.Size, Dirty: []Span{{1, 2}}, ReadAt: e.readAt}, s.fetch, s.put, s.have); err == nil {
		t.Error("an ended context made no error")
	}
}
