package chunk

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"

	"github.com/aether-lan/aether/store"
)

// TestGear_CutsLikePlakar compares each part's cuts with those of go-cdc-chunkers,
// which reads the same bytes one at a time.
func TestGear_CutsLikePlakar(t *testing.T) {
	key := bytes.Repeat([]byte{3}, 32)
	g, err := newGear(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range parts {
		b := noise(10, 6*s.max+123)
		copy(b[s.max:], make([]byte, 2*s.max)) // a stretch without cuts
		c, err := chunkers.NewChunker("fastcdc-v1.0.0", oneByte{bytes.NewReader(b)},
			&chunkers.ChunkerOpts{MinSize: s.min, NormalSize: s.normal, MaxSize: s.max, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(b); {
			want, _ := c.Next()
			n := g.cut(b[at:min(len(b), at+s.max)], &s)
			if n != len(want) {
				t.Fatalf("normal %d: at %d cut of %d bytes, plakar %d", s.normal, at, n, len(want))
			}
			at += n
		}
	}
}

type oneByte struct{ r *bytes.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

func TestSizes_GrowWithTheFile(t *testing.T) {
	for offset, normal := range map[int64]int{
		0: 64 << 10, 1<<30 - 1: 64 << 10, 1 << 30: 256 << 10, 8<<30 - 1: 256 << 10, 8 << 30: 1 << 20, 1 << 50: 1 << 20,
	} {
		if s := sizesAt(offset); s.normal != normal {
			t.Errorf("at %d the normal size is %d, want %d", offset, s.normal, normal)
		}
	}
}

// TestFormat_Golden pins the format: a change here makes every stored chunk
// unreadable or every Ref another.
func TestFormat_Golden(t *testing.T) {
	k := testKeys(t)
	hello := k.Seal([]byte("hello"))
	s := newShelf()
	file := write(t, k, s, noise(11, 3<<20), 1<<20)
	for name, c := range map[string]struct{ got, want string }{
		"ref of hello":  {hello.Ref.String(), "fef5cf0568abcd709a0f9bd83d9ae672d48a4bee321eba39b8e86d9cfb9e2cad"},
		"body of hello": {hex.EncodeToString(hello.Body), "010000000100000000000000000000000064f0cabbf47b0b50cda39d64022e176546d20a5a07de2633f1529c666d5eab0766f966c052d47d49a8ec4bb166ae322dc90d5a7e8ce665f323a5179664ede00fb4923edb4c26d4bb3fc3b561ac7d4a1c"},
		"root of 3 MiB": {file.Root.String(), "f20e6a64adb4766b794e5ca5a34d482e6966903a9f19a80828c98f52c55cb517"},
		"list": {hex.EncodeToString(appendList(nil, 2, 1, []entry{{store.Ref{1}, 300, 1}})),
			"01020101" + "00000000000000000000000000000000000000000000000000000000000000" + "ac02"},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, c.got, c.want)
		}
	}
}

func TestSeal_RoundTripsAndHidesSizes(t *testing.T) {
	k := testKeys(t)
	rapid.Check(t, func(rt *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 5000).Draw(rt, "plain")
		if rapid.Bool().Draw(rt, "repeat") {
			plain = bytes.Repeat(plain, 10)
		}
		s := k.Seal(plain)
		got, err := k.Open(s.Ref, s.Body)
		if err != nil || !bytes.Equal(got, plain) || s.Size != len(plain) || s.Ref != k.Ref(plain) {
			rt.Fatalf("Open = %d bytes, %v", len(got), err)
		}
		if again := k.Seal(plain); !bytes.Equal(again.Body, s.Body) {
			rt.Fatal("sealed twice, two bodies")
		}
		const fixed = headSize + nonceSize + tagSize + frameHead
		if over := len(s.Body) - fixed - len(plain); over > max(smallest, len(plain)/64+frameHead) {
			rt.Fatalf("%d bytes of padding on %d", over, len(plain))
		}
	})
	sizes := map[int]bool{}
	for n := range 1 << 16 {
		p := padded(n)
		if sizes[p] = true; p < n || n > 4096 && p-n > n/64 {
			t.Fatalf("padded(%d) = %d", n, p)
		}
	}
	if len(sizes) > 64*12 {
		t.Errorf("%d different sizes up to 64 KiB", len(sizes))
	}
}

// TestSeal_OnePlaintextANonce: the plain and the compressed form of one chunk share
// a key, so they must not share a nonce.
func TestSeal_OnePlaintextANonce(t *testing.T) {
	k := testKeys(t)
	b := bytes.Repeat([]byte("abcdefgh"), 1000)
	shorter, _ := k.compress(b)
	packed, ok := k.current().seal(nil, data, k.Ref(b), b, shorter), shorter != nil
	plain := k.current().seal(nil, data, k.Ref(b), b, nil)
	if !ok || len(packed.Body) >= len(plain.Body) {
		t.Fatal("did not compress")
	}
	if bytes.Equal(packed.Body[headSize:headSize+nonceSize], plain.Body[headSize:headSize+nonceSize]) {
		t.Error("two plaintexts under one key and nonce")
	}
	for _, s := range []Sealed{packed, plain} {
		if got, err := k.Open(s.Ref, s.Body); err != nil || !bytes.Equal(got, b) {
			t.Error(err)
		}
	}
}

func TestOpen_EveryBitCounts(t *testing.T) {
	k := testKeys(t)
	for _, plain := range [][]byte{[]byte("secret"), bytes.Repeat([]byte("shrinks "), 50)} {
		s := k.Seal(plain)
		for i := range len(s.Body) * 8 {
			b := bytes.Clone(s.Body)
			b[i/8] ^= 1 << (i % 8)
			if got, err := k.Open(s.Ref, b); got != nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrGeneration) {
				t.Fatalf("bit %d flipped: %q, %v", i, got, err)
			}
		}
		for n := range s.Body {
			if _, err := k.Open(s.Ref, s.Body[:n]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut to %d bytes: %v", n, err)
			}
		}
		other := s.Ref
		other[5] ^= 1
		if _, err := k.Open(other, s.Body); !errors.Is(err, ErrCorrupt) {
			t.Errorf("another Ref: %v", err)
		}
	}
}

func TestOpen_KeysAndKindsAreApart(t *testing.T) {
	k := testKeys(t)
	s := k.Seal([]byte("x"))
	next, _ := NewKeys(bytes.Repeat([]byte{7}, SecretSize), 2)
	other, _ := NewKeys(bytes.Repeat([]byte{8}, SecretSize), 1)
	if _, err := next.Open(s.Ref, s.Body); !errors.Is(err, ErrGeneration) {
		t.Errorf("next generation: %v, want ErrGeneration", err)
	}
	if _, err := other.Open(s.Ref, s.Body); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another pool: %v, want ErrCorrupt", err)
	}
	if other.Ref([]byte("x")) == s.Ref || next.Ref([]byte("x")) == s.Ref {
		t.Error("two pools give one Ref")
	}
	plain := appendList(nil, 0, 1, []entry{{s.Ref, 1, 1}})
	asData, asList := k.Seal(plain), k.current().ref(list, plain)
	if asData.Ref == asList {
		t.Error("data and a list have one Ref")
	}
	if _, err := k.Children(Part{Ref: asData.Ref, Size: 1, Depth: 1}, asData.Body); !errors.Is(err, ErrCorrupt) {
		t.Errorf("data passed for a list: %v", err)
	}
	l := k.current().seal(nil, list, asList, plain, nil)
	if _, err := k.Open(l.Ref, l.Body); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a list passed for data: %v", err)
	}
	if err := errors.Join(k.Check(l.Ref, l.Body), k.Check(s.Ref, s.Body)); err != nil {
		t.Errorf("Check: %v", err)
	}
	if _, err := NewKeys([]byte("short"), 1); err == nil {
		t.Error("a short secret was taken")
	}
}

// frame builds a frame as a member with the keys but ill will could.
func frame(kind, encoding byte, packed, size uint32, payload []byte) []byte {
	b := []byte{kind, encoding}
	b = binary.BigEndian.AppendUint32(b, packed)
	b = binary.BigEndian.AppendUint32(b, size)
	return append(b, payload...)
}

func TestDecode_RefusesBombsAndNonsense(t *testing.T) {
	k := testKeys(t)
	enc, _ := zstd.NewWriter(nil)
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	n := uint32(len(bomb))
	for name, b := range map[string][]byte{
		"bomb over the limit":    frame(0, 1, n, 64<<20, bomb),
		"bomb that says it's 10": frame(0, 1, n, 10, bomb),
		"bomb at the limit":      frame(0, 1, n, MaxSize, bomb),
		"size over the limit":    frame(0, 0, MaxSize+1, MaxSize+1, nil),
		"payload cut":            frame(0, 0, 4, 4, []byte("abc")),
		"sizes differ":           frame(0, 0, 3, 4, []byte("abc")),
		"kind":                   frame(2, 0, 3, 3, []byte("abc")),
		"encoding":               frame(0, 2, 3, 3, []byte("abc")),
		"padding":                frame(0, 0, 3, 3, []byte("abc\x00\x01")),
		"not zstd":               frame(0, 1, 3, 3, []byte("abc")),
		"empty":                  {},
	} {
		if _, plain, err := k.decode(b); err == nil {
			t.Errorf("%s: %d bytes", name, len(plain))
		}
	}
	if _, plain, err := k.decode(frame(0, 0, 3, 3, []byte("abc\x00\x00"))); err != nil || string(plain) != "abc" {
		t.Errorf("a good frame: %q, %v", plain, err)
	}
}

func TestParseList_Strict(t *testing.T) {
	good := appendList(nil, 1, 0, []entry{{store.Ref{1}, 3, 0}, {store.Ref{2}, 300, 0}})
	if e, err := parseList(good, 1, 0, 303); err != nil || len(e) != 2 {
		t.Fatalf("a good list: %v, %v", e, err)
	}
	for name, b := range map[string][]byte{
		"no entries":        appendList(nil, 1, 0, nil),
		"entry of 0 bytes":  appendList(nil, 1, 0, []entry{{size: 303}, {}}),
		"too long":          append(bytes.Clone(good), 0),
		"too short":         good[:len(good)-1],
		"format":            append([]byte{2}, good[1:]...),
		"depth":             appendList(nil, 0, 0, []entry{{size: 303}}),
		"sum":               appendList(nil, 1, 0, []entry{{size: 302}}),
		"overflow":          appendList(nil, 1, 0, []entry{{size: -1}, {size: 304}}),
		"count":             {1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"long varint":       append([]byte{1, 1, 0x81, 0}, good[3:]...),
		"mixed, but is not": mixed(good, 0, 0),
		"generation":        mixed(good, 0, 1<<32),
	} {
		if e, err := parseList(b, 1, 0, 303); err == nil {
			t.Errorf("%s: %v", name, e)
		}
	}
}

// mixed makes of a list of two entries one that says of which generation each is.
func mixed(b []byte, generations ...uint64) []byte {
	m := append([]byte{2}, b[1:3]...)
	first := binary.AppendUvarint(append(m, b[3:36]...), generations[0])
	return binary.AppendUvarint(append(first, b[36:]...), generations[1])
}

func TestParseList_MixedGenerations(t *testing.T) {
	uniform := []entry{{store.Ref{1}, 3, 7}, {store.Ref{2}, 300, 7}}
	if b := appendList(nil, 1, 7, uniform); b[0] != listFormat {
		t.Errorf("a list of one generation has format %d", b[0])
	}
	for _, entries := range [][]entry{
		{{store.Ref{1}, 3, 0}, {store.Ref{2}, 300, 7}},
		{{store.Ref{1}, 3, 1 << 31}, {store.Ref{2}, 300, 0}},
		{{store.Ref{1}, 303, 6}},
	} {
		b := appendList(nil, 1, 7, entries)
		got, err := parseList(b, 1, 7, 303)
		if err != nil || !slices.Equal(got, entries) {
			t.Errorf("%v: %v, %v", entries, got, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := testKeys(f)
	s := k.Seal([]byte("hello"))
	f.Add(s.Ref[:], s.Body)
	f.Fuzz(func(t *testing.T, ref, body []byte) {
		if len(ref) != len(store.Ref{}) {
			return
		}
		plain, err := k.Open(store.Ref(ref), body)
		if err == nil && k.Ref(plain) != store.Ref(ref) {
			t.Fatal("opened to something else")
		}
	})
}

func FuzzDecode(f *testing.F) {
	k := testKeys(f)
	f.Add(frame(0, 0, 3, 3, []byte("abc")))
	f.Add(frame(1, 1, 11, 3, k.enc.EncodeAll([]byte("abc"), nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, plain, err := k.decode(b); err == nil && len(plain) > MaxSize {
			t.Fatalf("%d bytes", len(plain))
		}
	})
}

func FuzzParseList(f *testing.F) {
	f.Add(appendList(nil, 0, 0, []entry{{store.Ref{1}, 3, 0}, {store.Ref{2}, 300, 0}}), uint8(0), uint32(0), int64(303))
	f.Add(appendList(nil, 0, 9, []entry{{store.Ref{1}, 3, 1 << 31}, {store.Ref{2}, 300, 9}}), uint8(0), uint32(9), int64(303))
	f.Fuzz(func(t *testing.T, b []byte, depth uint8, generation uint32, size int64) {
		e, err := parseList(b, depth, generation, size)
		if err == nil && !bytes.Equal(appendList(nil, depth, generation, e), b) {
			t.Fatalf("%x parses to %v, which is another list", b, e)
		}
	})
}
