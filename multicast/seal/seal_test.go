package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// counting is a source of the bytes 1, 2, 3, … for tests that need the same start.
type counting byte

func (c *counting) Read(b []byte) (int, error) {
	for i := range b {
		*c++
		b[i] = byte(*c)
	}
	return len(b), nil
}

var (
	testSecret = Secret{1, 2, 3}
	testID     = SenderID{0xa1, 0xb2, 0xc3, 0xd4}
)

func newSealer(t testing.TB, id SenderID) *Sealer {
	t.Helper()
	s, err := NewSealer(testSecret, id, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sealed(t testing.TB, s *Sealer, text string) []byte {
	t.Helper()
	p, err := s.Seal(nil, []byte(text), []byte("room"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wantErr(t testing.TB, o *Opener, p []byte, want error) {
	t.Helper()
	if text, _, _, err := o.Open(nil, p, []byte("room")); !errors.Is(err, want) || text != nil {
		t.Errorf("Open = %q, %v, want %v", text, err, want)
	}
}

func wantOpen(t testing.TB, o *Opener, p []byte, want string, sequence uint64) {
	t.Helper()
	text, _, n, err := o.Open(nil, p, []byte("room"))
	if err != nil || string(text) != want || n != sequence {
		t.Errorf("Open = %q, %d, %v, want %q, %d", text, n, err, want, sequence)
	}
}

func TestSeal_OpensWhatWasSealed(t *testing.T) {
	s, o := newSealer(t, testID), NewOpener(testSecret, 0)
	for i, text := range []string{"", "a", "hello", strings.Repeat("long ", 13000)} {
		p, err := s.Seal([]byte("front"), []byte(text), []byte("room"))
		if err != nil || !bytes.HasPrefix(p, []byte("front")) || len(p) != 5+len(text)+Overhead {
			t.Fatalf("Seal = %d bytes, %v", len(p), err)
		}
		got, from, n, err := o.Open([]byte("before"), p[5:], []byte("room"))
		if err != nil || string(got) != "before"+text || from != testID || n != uint64(i+1) {
			t.Fatalf("Open = %d bytes, %v, %d, %v", len(got), from, n, err)
		}
	}
	if d := o.Dropped(); d != (Dropped{}) {
		t.Errorf("dropped %+v", d)
	}
}

// The bytes must not change between versions: members of one group run several.
func TestSeal_Golden(t *testing.T) {
	random := new(counting)
	s, err := NewSealer(testSecret, testID, random)
	if err != nil {
		t.Fatal(err)
	}
	p := sealed(t, s, "hello")
	want := "a1b2c3d4000000000000000000000000" +
		"0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20" +
		"0000000000000001" + "c3f3bdb1e8cdedbf03113d096d3814dff6ff1d09e3"
	if got := hex.EncodeToString(p); got != want {
		t.Errorf("sealed\n%s, want\n%s", got, want)
	}
}

func TestStretch(t *testing.T) {
	a, err := Stretch([]byte("correct horse"), "chat room kitchen")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hex.EncodeToString(a[:]), "aaca353ad6cd2a340252f861f9e1b02f0d6b81bf8b01c9e7f7f1acd08e7f3188"; got != want {
		t.Errorf("Stretch = %s, want %s", got, want)
	}
	b, _ := Stretch([]byte("correct horse"), "chat room hall")
	c, _ := Stretch([]byte("correct horses"), "chat room kitchen")
	if a == b || a == c {
		t.Error("another purpose or passphrase gives the same secret")
	}
	if _, err := Stretch(nil, "x"); !errors.Is(err, ErrNoPassphrase) {
		t.Errorf("empty passphrase: %v", err)
	}
	if s := fmt.Sprintf("%v %s %#v %+v", a, a, a, struct{ S Secret }{a}); strings.Count(s, "seal.Secret(hidden)") != 4 {
		t.Errorf("a secret prints as %s", s)
	}
}

func TestOpen_RefusesWhatIsNotAuthentic(t *testing.T) {
	s := newSealer(t, testID)
	p := sealed(t, s, "hello")
	for i := range p {
		for _, bit := range []byte{1, 0x80} {
			o := NewOpener(testSecret, 0)
			bad := bytes.Clone(p)
			bad[i] ^= bit
			if _, _, _, err := o.Open(nil, bad, []byte("room")); !errors.Is(err, ErrNotAuthentic) && !errors.Is(err, ErrGarbage) {
				t.Fatalf("byte %d changed: %v", i, err)
			}
			if o.Senders() != 0 {
				t.Fatalf("byte %d changed: a sender was remembered", i)
			}
		}
	}
	o := NewOpener(testSecret, 0)
	for n := range p {
		want := ErrNotAuthentic
		if n < Overhead {
			want = ErrGarbage
		}
		wantErr(t, o, p[:n], want)
	}
	if _, _, _, err := o.Open(nil, p, []byte("hall")); !errors.Is(err, ErrNotAuthentic) {
		t.Errorf("other additional bytes: %v", err)
	}
	wantErr(t, NewOpener(Secret{9}, 0), p, ErrNotAuthentic)
	if d := o.Dropped(); d.Garbage != Overhead || d.NotAuthentic != uint64(len(p)-Overhead)+1 {
		t.Errorf("dropped %+v", d)
	}
	wantOpen(t, o, p, "hello", 1)
}

// A forged counter far ahead must not push the window past what is still to come.
func TestOpen_ForgeryDoesNotMoveTheWindow(t *testing.T) {
	s, o := newSealer(t, testID), NewOpener(testSecret, 0)
	first, second := sealed(t, s, "1"), sealed(t, s, "2")
	wantOpen(t, o, first, "1", 1)
	forged := bytes.Clone(second)
	forged[idLen+startLen] = 0x7f
	wantErr(t, o, forged, ErrNotAuthentic)
	wantOpen(t, o, second, "2", 2)
}

func TestOpen_RefusesReplays(t *testing.T) {
	s, o := newSealer(t, testID), NewOpener(testSecret, 0)
	var all [][]byte
	for i := range 3 * Window {
		all = append(all, sealed(t, s, fmt.Sprint(i)))
	}
	wantOpen(t, o, all[2*Window-1], fmt.Sprint(2*Window-1), 2*Window)
	for i, p := range all[:2*Window] {
		if i <= Window-1 || i == 2*Window-1 {
			wantErr(t, o, p, ErrReplay) // too old to tell, or seen
			continue
		}
		wantOpen(t, o, p, fmt.Sprint(i), uint64(i+1))
		wantErr(t, o, p, ErrReplay)
	}
	wantOpen(t, o, all[3*Window-1], fmt.Sprint(3*Window-1), 3*Window)
	wantErr(t, o, all[2*Window-1], ErrReplay)
}

func TestOpen_ForgetsTheIdleButNotItsCounter(t *testing.T) {
	o := NewOpener(testSecret, 2)
	a, b, c := newSealer(t, SenderID{1}), newSealer(t, SenderID{2}), newSealer(t, SenderID{3})
	a1, a2, a3 := sealed(t, a, "a1"), sealed(t, a, "a2"), sealed(t, a, "a3")
	wantOpen(t, o, a1, "a1", 1)
	wantOpen(t, o, a2, "a2", 2)
	wantOpen(t, o, sealed(t, b, "b1"), "b1", 1)
	wantOpen(t, o, sealed(t, c, "c1"), "c1", 1) // a goes
	if d := o.Dropped(); o.Senders() != 2 || d.Forgotten != 1 {
		t.Fatalf("%d senders, %+v", o.Senders(), d)
	}
	wantErr(t, o, a1, ErrReplay)
	wantErr(t, o, a2, ErrReplay)
	wantOpen(t, o, a3, "a3", 3) // a was only silent; b goes
	wantErr(t, o, a2, ErrReplay)
	wantErr(t, o, a3, ErrReplay)
	if o.Senders() != 2 {
		t.Errorf("%d senders", o.Senders())
	}
}

func TestOpen_FullRefusesNewStartsAndKeepsTheOld(t *testing.T) {
	o := NewOpener(testSecret, 1)
	old := newSealer(t, testID)
	wantOpen(t, o, sealed(t, old, "1"), "1", 1)
	for range retiredLeast {
		p := sealed(t, newSealer(t, SenderID{7}), "x")
		if _, _, _, err := o.Open(nil, p, []byte("room")); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, o, sealed(t, newSealer(t, SenderID{8}), "x"), ErrFull)
	wantOpen(t, o, sealed(t, old, "2"), "2", 2)
	if d := o.Dropped(); d.Full != 1 || o.Senders() != 1 {
		t.Errorf("dropped %+v, %d senders", d, o.Senders())
	}
}

// A restarted sender, or a copy of it, has another key although its ID is the same.
func TestSealer_EachStartHasItsKey(t *testing.T) {
	a, b := newSealer(t, testID), newSealer(t, testID)
	pa, pb := sealed(t, a, "hello"), sealed(t, b, "hello")
	if bytes.Equal(pa[headerLen:], pb[headerLen:]) {
		t.Error("two starts seal to the same bytes")
	}
	o := NewOpener(testSecret, 0)
	wantOpen(t, o, pa, "hello", 1)
	wantOpen(t, o, pb, "hello", 1)
}

func TestSealer_StopsBeforeACounterRepeats(t *testing.T) {
	s := newSealer(t, testID)
	s.last = math.MaxUint64 - 1
	last := sealed(t, s, "last")
	if _, err := s.Seal(nil, nil, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("Seal at the end = %v", err)
	}
	o := NewOpener(testSecret, 0)
	wantOpen(t, o, last, "last", math.MaxUint64)
	wantErr(t, o, last, ErrReplay)
}

type noRandom struct{}

func (noRandom) Read([]byte) (int, error) { return 0, errors.New("no randomness") }

func TestNewSealer_FailsWithItsRandomness(t *testing.T) {
	if _, err := NewSealer(testSecret, testID, noRandom{}); err == nil || !strings.Contains(err.Error(), "no randomness") {
		t.Errorf("NewSealer = %v", err)
	}
}

// A slow twin: the window is a set and a highest counter.
func TestWindow_IsASetBehindTheHighest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		seen, highest := map[uint64]bool{}, uint64(0)
		front := rapid.Uint64Range(1, math.MaxUint64).Draw(t, "front")
		for range 200 {
			c := front
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				c += rapid.Uint64Range(0, 3).Draw(t, "ahead")
			case 1:
				c += rapid.Uint64Range(0, 3*Window).Draw(t, "far ahead")
			case 2:
				c -= rapid.Uint64Range(0, 2*Window).Draw(t, "behind")
			}
			if c == 0 {
				continue
			}
			want := seen[c] || c <= highest && highest-c >= Window
			if got := w.seen(c); got != want {
				t.Fatalf("seen(%d) = %v with highest %d", c, got, highest)
			}
			if !want {
				w.mark(c)
				seen[c], highest = true, max(highest, c)
			}
			front = max(highest, 1)
		}
	})
}

func FuzzOpen(f *testing.F) {
	random := new(counting)
	s, _ := NewSealer(testSecret, testID, random)
	p, _ := s.Seal(nil, []byte("hello"), []byte("room"))
	f.Add(p)
	f.Add(p[:Overhead-1])
	f.Add(bytes.Repeat([]byte{0xff}, Overhead))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := NewOpener(testSecret, 4)
		text, _, _, err := o.Open(nil, b, []byte("room"))
		if (err == nil) != (o.Senders() == 1) {
			t.Fatalf("%v with %d senders", err, o.Senders())
		}
		if err == nil && (len(text) != len(b)-Overhead || !bytes.Equal(b, p)) {
			t.Fatalf("opened %x", b)
		}
		if err == nil {
			wantErr(t, o, p, ErrReplay)
			return
		}
		wantOpen(t, o, p, "hello", 1) // whatever came before
	})
}

// Both directions run beside bare AES-256-GCM: the ratio is the price of the
// header, the counter and the window.
func BenchmarkSeal1400(b *testing.B) {
	plain, dst := make([]byte, 1400), make([]byte, 0, 1400+Overhead)
	s := newSealer(b, testID)
	b.Run("seal", func(b *testing.B) {
		b.SetBytes(1400)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.Seal(dst, plain, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		block, _ := aes.NewCipher(make([]byte, 32))
		aead, _ := cipher.NewGCM(block)
		nonce := make([]byte, nonceLen)
		b.SetBytes(1400)
		for b.Loop() {
			aead.Seal(dst, nonce, plain, nil)
		}
	})
}

func BenchmarkOpen1400(b *testing.B) {
	plain, dst := make([]byte, 1400), make([]byte, 0, 1400)
	const packets = 1 << 12
	var all [][]byte
	s := newSealer(b, testID)
	for range packets {
		p, _ := s.Seal(nil, plain, nil)
		all = append(all, p)
	}
	b.Run("open", func(b *testing.B) {
		o := NewOpener(testSecret, 0)
		b.SetBytes(1400)
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if i%packets == 0 {
				o = NewOpener(testSecret, 0) // which makes the key again, 1 packet in 4,096
			}
			if _, _, _, err := o.Open(dst, all[i%packets], nil); err != nil {
				b.Fatal(err)
			}
			i++
		}
	})
	b.Run("bare", func(b *testing.B) {
		block, _ := aes.NewCipher(make([]byte, 32))
		aead, _ := cipher.NewGCM(block)
		nonce := make([]byte, nonceLen)
		p := aead.Seal(nil, nonce, plain, nil)
		b.SetBytes(1400)
		for b.Loop() {
			if _, err := aead.Open(dst, nonce, p, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// What a forged packet costs: the derivation of a key that is then thrown away.
func BenchmarkOpenForged(b *testing.B) {
	o, p := NewOpener(testSecret, 0), make([]byte, 1400+Overhead)
	p[headerLen-1] = 1
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := o.Open(nil, p, nil); err == nil {
			b.Fatal("opened")
		}
	}
}
