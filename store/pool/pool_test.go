package pool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	sealCost = cost{time: 1, memory: 64, threads: 1} // the tests need no strength
	os.Exit(m.Run())
}

func create(t *testing.T, passphrase []byte) (string, *Pool) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "new", "dir")
	p, err := Create(dir, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return dir, p
}

func TestPool_CreateOpenJoin(t *testing.T) {
	dir, p := create(t, nil)
	q, err := Open(dir, nil)
	if err != nil || q.ID != p.ID || q.Machine != p.Machine || q.Secret() != p.Secret() || !q.Key().Equal(p.Key()) {
		t.Fatalf("opened another pool than was made: %v", err)
	}
	if _, err := Create(dir, nil); !errors.Is(err, ErrExists) {
		t.Errorf("Create again = %v", err)
	}
	if _, err := Join(dir, p.Secret(), nil); err != nil {
		t.Errorf("Join again = %v", err)
	}
	if _, err := Join(dir, NewSecret(), nil); !errors.Is(err, ErrExists) {
		t.Errorf("Join of another pool = %v", err)
	}
	s, err := ParseSecret(p.Secret().Text())
	if err != nil {
		t.Fatal(err)
	}
	r, err := Join(t.TempDir(), s, nil)
	if err != nil || r.ID != p.ID || r.Machine == p.Machine {
		t.Errorf("joined %v as %v: %v", r.ID, r.Machine, err)
	}
	if _, err := Join(t.TempDir(), Secret{}, nil); !errors.Is(err, ErrBadText) {
		t.Errorf("Join of no pool = %v", err)
	}
	if _, err := Open(t.TempDir(), nil); !errors.Is(err, ErrNoPool) {
		t.Errorf("Open of nothing = %v", err)
	}
}

func TestPool_FilesAreTheOwnersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("file modes mean nothing on windows; run on unix")
	}
	dir, _ := create(t, nil)
	for _, name := range []string{KeyFile, SecretFile} {
		path := filepath.Join(dir, name)
		st, err := os.Stat(path)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", name, st.Mode(), err)
		}
		for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601} {
			os.Chmod(path, mode)
			_, err := Open(dir, nil)
			if !errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), "chmod 600") {
				t.Errorf("%s with mode %o: %v", name, mode, err)
			}
		}
		os.Chmod(path, 0o600)
	}
	left, _ := os.ReadDir(dir)
	if len(left) != 2 {
		t.Errorf("files left behind: %v", left)
	}
}

func TestPool_DamagedFilesAreReported(t *testing.T) {
	for _, name := range []string{KeyFile, SecretFile} {
		for what, change := range map[string]func([]byte) []byte{
			"empty":      func([]byte) []byte { return nil },
			"cut short":  func(b []byte) []byte { return b[:len(b)/2] },
			"one letter": func(b []byte) []byte { c := bytes.Clone(b); c[40] ^= 1; return c },
			"huge":       func([]byte) []byte { return make([]byte, maxFile+1) },
			"zeros":      func(b []byte) []byte { return make([]byte, len(b)) },
		} {
			dir, p := create(t, nil)
			path := filepath.Join(dir, name)
			b, _ := os.ReadFile(path)
			if err := os.WriteFile(path, change(b), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, nil)
			if !errors.Is(err, ErrBadText) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s %s: %v", name, what, err)
			}
			if _, err := Join(dir, p.Secret(), nil); !errors.Is(err, ErrBadText) {
				t.Errorf("%s %s: Join = %v", name, what, err)
			}
			if _, err := Create(dir, nil); err == nil {
				t.Errorf("%s %s: a new pool was written over it", name, what)
			}
		}
	}
}

func TestPool_ACrashBetweenTheFilesIsTakenUp(t *testing.T) {
	dir, p := create(t, nil)
	os.Remove(filepath.Join(dir, SecretFile))
	if _, err := Open(dir, nil); !errors.Is(err, ErrNoPool) {
		t.Errorf("Open = %v", err)
	}
	q, err := Create(dir, nil)
	if err != nil || q.Machine != p.Machine {
		t.Errorf("the key was not kept: %v", err)
	}
	os.Remove(filepath.Join(dir, KeyFile))
	if _, err := Open(dir, nil); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrNoPool) {
		t.Errorf("Open without a key = %v", err)
	}
}

func TestPool_DirectoryThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	os.WriteFile(file, nil, 0o600)
	if _, err := Create(filepath.Join(file, "dir"), nil); err == nil {
		t.Error("a directory below a file was made")
	}
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("the rest needs a user whom a read-only directory stops; run as one that is not root, on unix")
	}
	dir := t.TempDir()
	os.Chmod(dir, 0o500)
	if _, err := Create(dir, nil); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Create = %v", err)
	}
}

func TestPool_PassphraseSealsTheFiles(t *testing.T) {
	dir, p := create(t, []byte("tortoise"))
	for _, name := range []string{KeyFile, SecretFile} {
		b, _ := os.ReadFile(filepath.Join(dir, name))
		if !isSealed(string(b)) {
			t.Errorf("%s is not sealed", name)
		}
	}
	if q, err := Open(dir, []byte("tortoise")); err != nil || q.Secret() != p.Secret() || q.Machine != p.Machine {
		t.Errorf("Open = %v", err)
	}
	for _, wrong := range []string{"", "hare"} {
		if _, err := Open(dir, []byte(wrong)); !errors.Is(err, ErrPassphrase) {
			t.Errorf("Open with %q = %v", wrong, err)
		}
	}
}

func TestSeal_RefusesChangesAndExcess(t *testing.T) {
	text, err := seal("words", []byte("p"), sealCost)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unseal(text+"\n", []byte("p")); err != nil || got != "words" {
		t.Fatalf("unseal = %q, %v", got, err)
	}
	for i := range text {
		b := []byte(text)
		b[i] ^= 1
		if got, err := unseal(string(b), []byte("p")); err == nil {
			t.Errorf("byte %d changed: %q", i, got)
		}
	}
	greedy, _ := seal("words", []byte("p"), cost{time: maxCost.time + 1, memory: 64, threads: 1})
	if _, err := unseal(greedy, []byte("p")); !errors.Is(err, ErrBadText) {
		t.Errorf("greedy file: %v", err)
	}
}

func TestReadPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p")
	for in, want := range map[string]string{"word\n": "word", "two words": "two words", "a\r\nb\n": "a", "\n": "", "": ""} {
		os.WriteFile(path, []byte(in), 0o600)
		got, err := ReadPassphrase(path)
		if string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	if _, err := ReadPassphrase(t.TempDir()); err == nil {
		t.Error("a directory was read")
	}
}

func TestSecret_TextCanBeCopiedByHand(t *testing.T) {
	s := NewSecret()
	text := s.Text()
	if len(text) != len(secretPrefix)+textSize/groupSize*(groupSize+1)-1 {
		t.Errorf("text of %d characters", len(text))
	}
	body := strings.TrimPrefix(text, secretPrefix)
	for _, in := range []string{
		text, "  " + text + "\r\n", strings.ToUpper(text), secretPrefix + strings.ReplaceAll(body, "-", ""),
		secretPrefix + strings.ReplaceAll(body, "-", " \n"),
	} {
		if got, err := ParseSecret(in); err != nil || got != s {
			t.Errorf("a copy was refused: %v", err)
		}
	}
}

func TestSecret_ErrorsDoNotRepeatIt(t *testing.T) {
	text := NewSecret().Text()
	body := strings.TrimPrefix(text, secretPrefix)
	for name, in := range map[string]string{
		"empty": "", "no prefix": body, "other prefix": machinePrefix + body, "short": text[:len(text)-1], "long": text + "a",
		"digit": text[:20] + "1" + text[21:], "not ASCII": text[:20] + "é" + text[21:],
		"two changed": secretPrefix + body[:5] + flip(body[5]) + body[6:10] + body[10:],
		"huge":        text + strings.Repeat(" ", maxText),
	} {
		_, err := ParseSecret(in)
		if !errors.Is(err, ErrBadText) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i := 0; i+groupSize < len(body); i += groupSize + 1 {
			if strings.Contains(err.Error(), body[i:i+groupSize]) {
				t.Errorf("%s: the error shows a part of the secret", name)
			}
		}
	}
}

func flip(c byte) string {
	if c == 'q' {
		return "z"
	}
	return "q"
}

func TestSecret_HidesFromFormatting(t *testing.T) {
	s := NewSecret()
	var out bytes.Buffer
	fmt.Fprintf(&out, "%v %+v %#v %s %x %q %d", s, s, s, s, s, s, s)
	fmt.Fprintf(&out, "%v %+v", struct{ S Secret }{s}, &s)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", s)
	json.NewEncoder(&out).Encode(map[string]any{"s": s})
	dump := out.String()
	if n := strings.Count(dump, hidden); n != 11 {
		t.Errorf("%d of 11 are hidden: %s", n, dump)
	}
	if strings.Contains(dump, s.Text()[20:24]) || strings.Contains(dump, fmt.Sprintf("%x", s.b[:2])) {
		t.Error("it shows")
	}
}

func TestSecret_DerivedBytesDiffer(t *testing.T) {
	s, o := Secret{b: [keySize]byte{1}}, Secret{b: [keySize]byte{2}}
	seen := map[string]bool{}
	for _, b := range [][]byte{s.b[:], s.Derive("a"), s.Derive("b"), o.Derive("a"), s.derive("aether pool id 1", 32)} {
		if seen[string(b)] {
			t.Errorf("%x twice", b)
		}
		seen[string(b)] = true
	}
	// Pinned: a change would part old machines from new ones.
	if got := s.ID().String(); got != "9e2fbb3b0d31d099a2c80a22cd98eb82" {
		t.Errorf("ID = %s", got)
	}
	if id, err := ParseID(s.ID().String()); err != nil || id != s.ID() {
		t.Errorf("ParseID = %v, %v", id, err)
	}
	if _, err := ParseID("12"); err == nil {
		t.Error("a short ID was accepted")
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add(Secret{b: [keySize]byte{1}}.Text())
	f.Add("aether-pool-1-")
	f.Fuzz(func(t *testing.T, in string) {
		s, err := ParseSecret(in)
		if err != nil {
			return
		}
		if again, err := ParseSecret(s.Text()); err != nil || again != s {
			t.Fatalf("%q: %v", in, err)
		}
	})
}

func FuzzUnseal(f *testing.F) {
	text, _ := seal("words", []byte("p"), cost{time: 1, memory: 8, threads: 1})
	f.Add(text)
	f.Fuzz(func(t *testing.T, in string) {
		// Without a passphrase everything but the key derivation runs.
		if plain, err := unseal(in, nil); err == nil {
			t.Fatalf("opened without a passphrase: %q", plain)
		}
	})
}
