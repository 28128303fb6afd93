package pool

import (
	"crypto/ed25519"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/aether-lan/aether/store"
)

func TestCertificateFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadCertificate(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read of nothing: %v", err)
	}
	s := NewSecret()
	for _, name := range []string{"first", "second"} {
		if err := WriteCertificate(dir, issue(t, s, Certificate{Pool: s.ID(), Machine: testKey(0), Name: name})); err != nil {
			t.Fatal(err)
		}
		if c, err := ReadCertificate(dir); err != nil || c.Name != name || c.Verify(s.ID(), testKey(0), secretsOf(s)) != nil {
			t.Errorf("read %+v, %v", c, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, CertificateFile), []byte(certificatePrefix+"AAAA\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCertificate(dir); !errors.Is(err, ErrCertificate) {
		t.Errorf("read of nonsense: %v", err)
	}
}

func TestPrepareKey_IsTheKeyOfTheMachineThatJoins(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	key, err := PrepareKey(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := PrepareKey(dir, nil)
	if err != nil || !again.Equal(key) {
		t.Errorf("the second time another key: %v", err)
	}
	p, err := Join(dir, NewSecret(), nil)
	if err != nil || !p.Key().Equal(key) || p.Machine != store.MachineIDOf(key.Public().(ed25519.PublicKey)) {
		t.Errorf("joined as %v: %v", p, err)
	}
	if _, err := PrepareKey(dir, nil); !errors.Is(err, ErrExists) {
		t.Errorf("PrepareKey in a pool: %v", err)
	}
}

func TestChangePassphrase(t *testing.T) {
	dir, p := create(t, nil)
	a, b := []byte("correct horse"), []byte("battery staple")
	opens := func(pass []byte) bool {
		q, err := Open(dir, pass)
		return err == nil && q.Machine == p.Machine && q.Secret() == p.Secret()
	}
	for _, c := range []struct{ old, fresh []byte }{{nil, a}, {a, a}, {a, b}, {b, nil}, {nil, nil}, {nil, b}} {
		if err := ChangePassphrase(dir, c.old, c.fresh); err != nil {
			t.Fatalf("%q to %q: %v", c.old, c.fresh, err)
		}
		if !opens(c.fresh) {
			t.Fatalf("%q to %q: it does not open", c.old, c.fresh)
		}
	}
	for _, wrong := range [][]byte{nil, []byte("guess")} {
		if err := ChangePassphrase(dir, wrong, a); !errors.Is(err, ErrPassphrase) {
			t.Errorf("with a wrong passphrase: %v", err)
		}
	}
	if !opens(b) {
		t.Error("a refused change has changed something")
	}
	if err := ChangePassphrase(t.TempDir(), nil, a); err == nil {
		t.Error("a directory without a machine was sealed")
	}
}

// A crash between the two files leaves one sealed with the new passphrase; the same
// order again ends it.
func TestChangePassphrase_EndsWhatACrashInterrupted(t *testing.T) {
	old, fresh := []byte("old"), []byte("new")
	dir, p := create(t, old)
	other := t.TempDir()
	for _, name := range sealedFiles {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(other, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := ChangePassphrase(other, old, fresh); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(other, KeyFile), filepath.Join(dir, KeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, old); !errors.Is(err, ErrPassphrase) {
		t.Errorf("half changed, it opens: %v", err)
	}
	if err := ChangePassphrase(dir, old, fresh); err != nil {
		t.Fatal(err)
	}
	if q, err := Open(dir, fresh); err != nil || q.Machine != p.Machine {
		t.Errorf("after the second call: %v", err)
	}
}
