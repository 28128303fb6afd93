package chunk

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/aether-lan/aether/store"
)

// What Hole says is compared with the bytes: no hole has anything in it, a long run
// of zeros is found, and what is told apart covers the file once.
func TestReader_Hole(t *testing.T) {
	const seed = 5
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	k := testKeys(t)
	for range 10 {
		b := make([]byte, 1+rnd.IntN(8<<20))
		for range rnd.IntN(4) {
			from := rnd.IntN(len(b))
			fill(rnd, b[from:min(len(b), from+rnd.IntN(2<<20))])
		}
		m := newShelf()
		c := write(t, k, m, b, len(b))
		r := k.NewReader(context.Background(), c, m.fetch)
		var off, holes int64
		for {
			hole, end, err := r.Hole(off)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || end <= off || end > c.Size {
				t.Fatalf("at %d of %d: up to %d, %v", off, c.Size, end, err)
			}
			if hole {
				holes += end - off
				for i, v := range b[off:end] {
					if v != 0 {
						t.Fatalf("byte %d in a hole from %d to %d is %d", off+int64(i), off, end, v)
					}
				}
			}
			off = end
		}
		if off != c.Size {
			t.Errorf("ended at %d of %d", off, c.Size)
		}
		if n, err := r.Holes(1000); err != nil || n > holes || c.Depth < 2 && n != holes {
			t.Errorf("holes of %d bytes, %v; found %d", n, err, holes)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A terabyte that holds a byte: its lists are few, because equal lists are one.
func TestReader_HolesOfATerabyte(t *testing.T) {
	k, m := testKeys(t), newShelf()
	const size = 1 << 40
	base := write(t, k, m, []byte{1}, 1)
	c, err := k.Rewrite(context.Background(), Change{
		Base: base, Size: size, Zero: []Span{{1, size}},
		ReadAt: func(p []byte, off int64) error {
			clear(p)
			if off == 0 {
				p[0] = 1
			}
			return nil
		},
	}, m.fetch, m.put, m.have)
	if err != nil {
		t.Fatal(err)
	}
	var reads atomic.Int64
	r := k.NewReader(context.Background(), c, func(ctx context.Context, ref store.Ref) ([]byte, error) {
		reads.Add(1)
		return m.fetch(ctx, ref)
	})
	defer r.Close()
	holes, err := r.Holes(100)
	if err != nil || holes < size-16<<20 || holes >= size {
		t.Errorf("holes of %d bytes, %v", holes, err)
	}
	if n := reads.Load(); n > 20 {
		t.Errorf("read %d lists", n)
	}
	none := k.NewReader(context.Background(), c, m.fetch)
	defer none.Close()
	if holes, err := none.Holes(0); holes != 0 || err != nil {
		t.Errorf("without reading any list: %d, %v", holes, err)
	}
}

func TestReader_HoleOfAnEmptyFile(t *testing.T) {
	k := testKeys(t)
	r := k.NewReader(context.Background(), store.Content{}, nil)
	defer r.Close()
	if _, _, err := r.Hole(0); err != io.EOF {
		t.Errorf("%v, want io.EOF", err)
	}
	if n, err := r.Holes(10); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}
