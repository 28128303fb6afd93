package pool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// grown adds n generations to the pool in dir.
func grown(t *testing.T, dir string, p *Pool, n int, passphrase []byte) []Secret {
	t.Helper()
	var made []Secret
	for range n {
		s, err := p.Ring().Next()
		if err == nil {
			err = p.Ring().Add(dir, s, passphrase)
		}
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, s)
	}
	return made
}

func TestRing_GenerationsStay(t *testing.T) {
	for what, pass := range map[string][]byte{"open": nil, "sealed": []byte("words")} {
		t.Run(what, func(t *testing.T) {
			dir, p := create(t, pass)
			made := grown(t, dir, p, 3, pass)
			for i, s := range made {
				if i > 0 && s.Generation() <= made[i-1].Generation() {
					t.Errorf("generation %d is %d, the one before %d", i, s.Generation(), made[i-1].Generation())
				}
			}
			if err := p.Ring().Add(dir, made[0], pass); err != nil {
				t.Errorf("what is there was added again: %v", err)
			}
			q, err := Open(dir, pass)
			if err != nil || q.ID != p.ID || q.Secret() != p.Secret() {
				t.Fatalf("another pool: %v", err)
			}
			if want := p.Ring().Generations(); len(want) != 4 || !slices.Equal(q.Ring().Generations(), want) {
				t.Errorf("generations %d, want %d", q.Ring().Generations(), want)
			}
			if g := q.Ring().Newest(); g != made[2].Generation() {
				t.Errorf("newest %d, want %d", g, made[2].Generation())
			}
			for _, s := range made {
				if got, ok := q.Ring().Secret(s.Generation()); !ok || got != s {
					t.Errorf("generation %d is another, or gone", s.Generation())
				}
				if again, err := ParseSecret(s.Text()); err != nil || again != s {
					t.Errorf("ParseSecret of generation %d: %v", s.Generation(), err)
				}
			}
			if raw, _ := os.ReadFile(filepath.Join(dir, SecretFile)); (pass != nil) != isSealed(string(raw)) {
				t.Errorf("the file is %.20q", raw)
			}
			if left, _ := os.ReadDir(dir); len(left) != 2 {
				t.Errorf("files left behind: %v", left)
			}
		})
	}
}

// TestRing_OneLineIsGeneration0 opens the file of a pool that never had another.
func TestRing_OneLineIsGeneration0(t *testing.T) {
	dir, p := create(t, nil)
	raw, err := os.ReadFile(filepath.Join(dir, SecretFile))
	if err != nil || string(raw) != p.Secret().Text()+"\n" {
		t.Fatalf("the file is not one line: %q, %v", raw, err)
	}
	if g := p.Ring().Generations(); !slices.Equal(g, []uint32{0}) || p.Ring().Newest() != 0 {
		t.Errorf("generations %d", g)
	}
}

// TestRing_OrderDoesNotMatter: two machines that hear of the same generations in any
// order agree which is the newest.
func TestRing_OrderDoesNotMatter(t *testing.T) {
	dirA, a := create(t, nil)
	dirB := filepath.Join(t.TempDir(), "b")
	b, err := Join(dirB, a.Secret(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ofA, ofB := grown(t, dirA, a, 2, nil), grown(t, dirB, b, 2, nil)
	slices.Reverse(ofB)
	for _, s := range ofB {
		if err := a.Ring().Add(dirA, s, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Ring().AddAll(dirB, ofA, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(a.Ring().Generations(), b.Ring().Generations()) || a.Ring().Newest() != b.Ring().Newest() {
		t.Errorf("%d and %d", a.Ring().Generations(), b.Ring().Generations())
	}
	next, err := a.Ring().Next()
	if err != nil || next.Generation() <= b.Ring().Newest() {
		t.Errorf("the next generation is %d, newest %d: %v", next.Generation(), b.Ring().Newest(), err)
	}
}

// TestRing_WholeOrNotAtAll: what fails changes neither file nor memory.
func TestRing_WholeOrNotAtAll(t *testing.T) {
	dir, p := create(t, []byte("right"))
	file := filepath.Join(dir, SecretFile)
	before, _ := os.ReadFile(file)
	s, err := p.Ring().Next()
	if err != nil {
		t.Fatal(err)
	}
	for what, add := range map[string]func() error{
		"wrong passphrase": func() error { return p.Ring().Add(dir, s, []byte("wrong")) },
		"no passphrase":    func() error { return p.Ring().Add(dir, s, nil) },
		"no directory":     func() error { return p.Ring().Add(filepath.Join(dir, "gone"), s, []byte("right")) },
		"empty":            func() error { return p.Ring().AddAll(dir, []Secret{s, {}}, []byte("right")) },
		"another first":    func() error { return p.Ring().AddAll(dir, []Secret{s, NewSecret()}, []byte("right")) },
	} {
		if err := add(); err == nil {
			t.Errorf("%s: no error", what)
		}
		if after, _ := os.ReadFile(file); !bytes.Equal(after, before) || p.Ring().Newest() != 0 {
			t.Errorf("%s: something changed", what)
		}
	}
	// A writer that died has left its half of a file beside the whole one.
	if err := os.WriteFile(filepath.Join(dir, "."+SecretFile+"1234"), []byte("aether-po"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, []byte("right")); err != nil {
		t.Errorf("Open after a crash: %v", err)
	}
}

func TestRing_IsBounded(t *testing.T) {
	p := newPool([keySize]byte{1}, newRing(NewSecret()))
	for i := 1; i < MaxGenerations; i++ {
		s, err := p.Ring().Next()
		if err == nil {
			err = p.Ring().take(s)
		}
		if err != nil {
			t.Fatalf("generation %d: %v", i, err)
		}
	}
	if _, err := p.Ring().Next(); !errors.Is(err, ErrRingFull) {
		t.Errorf("generation %d: %v", MaxGenerations, err)
	}
	more := NewSecret()
	more.number = 5
	if err := p.Ring().take(more); !errors.Is(err, ErrRingFull) {
		t.Errorf("one more: %v", err)
	}
	// The longest file can be read again, sealed too.
	text := p.Ring().text()
	again, err := parseRing(text)
	if err != nil || !slices.Equal(again.Generations(), p.Ring().Generations()) {
		t.Errorf("parse of the longest: %v", err)
	}
	sealed, err := seal(text, []byte("p"), sealCost)
	if err != nil || len(sealed) > maxFile {
		t.Errorf("sealed it has %d bytes, limit %d: %v", len(sealed), maxFile, err)
	}
}

func TestRing_DamageIsReported(t *testing.T) {
	r := newRing(NewSecret())
	for range 2 {
		s, _ := r.Next()
		if err := r.take(s); err != nil {
			t.Fatal(err)
		}
	}
	l := strings.Split(r.text(), "\n")
	for what, lines := range map[string][]string{
		"no first":      l[1:],
		"two firsts":    {l[0], l[0]},
		"other order":   {l[0], l[2], l[1]},
		"twice":         {l[0], l[1], l[1]},
		"empty line":    {l[0], "", l[1]},
		"number 0":      {l[0], strings.Replace(l[1], "-1-1-", "-1-0-", 1)},
		"other number":  {l[0], strings.Replace(l[1], "-1-1-", "-1-2-", 1)},
		"number 01":     {l[0], strings.Replace(l[1], "-1-1-", "-1-01-", 1)},
		"number 1024":   {l[0], strings.Replace(l[1], "-1-1-", "-1-1024-", 1)},
		"one character": {l[0], l[1][:30] + "8" + l[1][31:]},
		"nothing":       {},
	} {
		if _, err := parseRing(strings.Join(lines, "\n")); !errors.Is(err, ErrBadText) {
			t.Errorf("%s: %v", what, err)
		} else if strings.Contains(err.Error(), l[1][25:33]) {
			t.Errorf("%s: the error shows the secret: %v", what, err)
		}
	}
}

func TestRing_ConcurrentUse(t *testing.T) {
	dir, p := create(t, nil)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			s, err := p.Ring().Next()
			if err == nil {
				err = p.Ring().Add(dir, s, nil)
			}
			if err != nil {
				t.Error(err)
			}
			p.Ring().Secret(p.Ring().Newest())
		})
	}
	wg.Wait()
	q, err := Open(dir, nil)
	if err != nil || len(q.Ring().Generations()) != 5 || q.Ring().Newest() != p.Ring().Newest() {
		t.Errorf("%d generations on the disk: %v", len(q.Ring().Generations()), err)
	}
}

func FuzzParseRing(f *testing.F) {
	r := newRing(Secret{b: [keySize]byte{1}})
	f.Add(r.text())
	_ = r.take(Secret{b: [keySize]byte{2}, number: 1})
	f.Add(r.text())
	f.Fuzz(func(t *testing.T, in string) {
		r, err := parseRing(in)
		if err != nil {
			return
		}
		again, err := parseRing(r.text())
		if err != nil || again.text() != r.text() {
			t.Fatalf("%q: %v", in, err)
		}
	})
}
