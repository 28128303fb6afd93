package chunk

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/aether-lan/aether/store"
)

// secretOf returns the secret of a generation of the tests' pool.
func secretOf(number uint32) []byte {
	return bytes.Repeat([]byte{byte(number), 0xa5}, SecretSize/2)
}

func add(t testing.TB, k *Keys, numbers ...uint32) {
	t.Helper()
	for _, n := range numbers {
		if err := k.Add(secretOf(n), n); err != nil {
			t.Fatal(err)
		}
	}
}

// oldest looks at every body of c and returns the oldest generation among them, and
// the lengths of its chunks of data.
func oldest(t *testing.T, k *Keys, s *shelf, c store.Content) (found uint32, sizes []int64) {
	t.Helper()
	found = math.MaxUint32
	err := k.Walk(c, s.get, func(p Part) error {
		body, err := s.get(p.Ref)
		if err != nil {
			return err
		}
		g, err := GenerationOf(body)
		found = min(found, g)
		if p.Depth == 0 {
			sizes = append(sizes, p.Size)
			if p.Oldest != g {
				t.Errorf("a chunk of generation %d is listed with %d", g, p.Oldest)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Size == 0 {
		found = 0
	}
	return found, sizes
}

// A file that is changed under several generations is read as it was written, and says
// what the oldest of them is.
func TestRewrite_MixedGenerations(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		k, s := testKeys(t), newShelf()
		b := make([]byte, rnd.IntN(12<<20))
		fill(rnd, b)
		c := write(t, k, s, b, 1<<20)
		next := k.Generation()
		for step := range 5 {
			if rnd.IntN(2) == 0 {
				next += 1 + rnd.Uint32N(1<<24)
				add(t, k, next)
			}
			e := randomEdit(rnd, b)
			ch := Change{Base: c, Size: int64(len(e.b)), Dirty: e.dirty, Zero: e.zero, ReadAt: e.readAt}
			got, err := k.Rewrite(t.Context(), ch, s.fetch, s.put, s.have)
			if err != nil {
				t.Fatalf("seed %d step %d: %v", seed, step, err)
			}
			if rnd.IntN(3) == 0 {
				more := make([]byte, rnd.IntN(1<<rnd.IntN(20)))
				fill(rnd, more)
				w, err := k.NewAppender(t.Context(), got, s.fetch, s.put, s.have)
				if err != nil {
					t.Fatal(err)
				}
				w.Write(more)
				if got, err = w.Close(); err != nil {
					t.Fatal(err)
				}
				e.b = append(e.b, more...)
			}
			if back := read(t, k, s, got); !bytes.Equal(back, e.b) {
				t.Fatalf("seed %d step %d: other bytes are read", seed, step)
			}
			old, sizes := oldest(t, k, s, got)
			if got.Oldest != old {
				t.Fatalf("seed %d step %d: Oldest is %d, generation %d is there", seed, step, got.Oldest, old)
			}
			// Written anew it is of one generation, and cut as ever.
			anew := newShelf()
			fresh := write(t, k, anew, e.b, 1<<20)
			now, cuts := oldest(t, k, anew, fresh)
			if len(e.b) > 0 && (fresh.Oldest != next || now != next) {
				t.Fatalf("seed %d step %d: written anew it has Oldest %d, chunks of %d, newest %d", seed, step, fresh.Oldest, now, next)
			}
			if len(cuts) != len(sizes) {
				t.Fatalf("seed %d step %d: %d chunks, written anew %d", seed, step, len(sizes), len(cuts))
			}
			b, c = e.b, got
		}
	}
}

func TestKeys_GenerationThatIsNotHere(t *testing.T) {
	k, lacking, s := testKeys(t), testKeys(t), newShelf()
	b := noise(9, 1<<20)
	before := write(t, k, s, b[:1<<19], 1<<20)
	add(t, k, 5)
	after := write(t, k, s, b, 1<<20)
	if lacking.Has(5) || !k.Has(5) || k.Generation() != 5 || lacking.Generation() != 1 {
		t.Fatalf("newest %d and %d", k.Generation(), lacking.Generation())
	}
	if _, err := lacking.Under(5); !errors.Is(err, ErrGeneration) {
		t.Errorf("Under = %v", err)
	}
	if got := read(t, lacking, s, before); !bytes.Equal(got, b[:1<<19]) {
		t.Error("what was written before cannot be read")
	}
	for ref, body := range s.bodies {
		g, err := GenerationOf(body)
		if err != nil {
			t.Fatal(err)
		}
		if err := lacking.Check(ref, body); (g == 5) != errors.Is(err, ErrGeneration) {
			t.Errorf("Check of a body of generation %d = %v", g, err)
		}
	}
	r := lacking.NewReader(t.Context(), after, s.fetch)
	if n, err := io.Copy(io.Discard, r); n > 0 || !errors.Is(err, ErrGeneration) {
		t.Errorf("%d bytes were read: %v", n, err)
	}
	r.Close()
	// Another secret of the same number opens nothing.
	if err := lacking.Add(secretOf(6), 5); err != nil {
		t.Fatal(err)
	}
	wrong := lacking.NewReader(t.Context(), after, s.fetch)
	if n, err := io.Copy(io.Discard, wrong); n > 0 || !errors.Is(err, ErrCorrupt) {
		t.Errorf("%d bytes were read with a wrong secret: %v", n, err)
	}
	wrong.Close()
	late := testKeys(t)
	add(t, late, 9, 5)
	if late.Generation() != 9 {
		t.Errorf("newest %d, want 9", late.Generation())
	}
	if got := read(t, late, s, after); !bytes.Equal(got, b) {
		t.Error("it cannot be read with the secret")
	}
}

// A Writer goes on under the generation with which it began, so that a file is of one.
func TestKeys_AddWhileWriting(t *testing.T) {
	k, s := testKeys(t), newShelf()
	w := k.NewWriter(s.put, s.have)
	w.Write(noise(1, 3<<20))
	add(t, k, 4)
	w.Write(noise(2, 3<<20))
	c, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if old, _ := oldest(t, k, s, c); c.Oldest != 1 || old != 1 {
		t.Errorf("Oldest %d, %d", c.Oldest, old)
	}
	under, err := k.Under(1)
	if err != nil {
		t.Fatal(err)
	}
	if again := write(t, under, newShelf(), append(noise(1, 3<<20), noise(2, 3<<20)...), 1<<20); again != c {
		t.Errorf("written again under generation 1: %+v, not %+v", again, c)
	}
	if err := k.Add(make([]byte, 5), 6); err == nil || k.Has(6) {
		t.Errorf("a short secret was taken: %v", err)
	}
}
