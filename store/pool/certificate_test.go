package pool

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/store"
)

// testKey is the key of a machine; each n has its own.
func testKey(n byte) ed25519.PublicKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+n)), 32))).Public().(ed25519.PublicKey)
}

// secretsOf returns a lookup of the secrets of generations 0, 1, ...
func secretsOf(secrets ...Secret) func(uint32) (Secret, bool) {
	return func(g uint32) (Secret, bool) {
		if int(g) >= len(secrets) {
			return Secret{}, false
		}
		return secrets[g], true
	}
}

func issue(t *testing.T, s Secret, c Certificate) *Certificate {
	t.Helper()
	got, err := Issue(s, c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestCertificate_SaysWhoMayBeTrusted(t *testing.T) {
	zero, one := NewSecret(), NewSecret()
	key, other := testKey(0), testKey(1)
	good := Certificate{Pool: zero.ID(), Machine: key, Name: "alice", Issuer: store.MachineIDOf(other), Issued: time.UnixMilli(1_700_000_000_123)}
	first := good
	first.Generation = 1
	strange := good
	strange.Pool = one.ID()
	future := good
	future.Generation = 7
	for _, c := range []struct {
		name   string
		cert   *Certificate
		key    ed25519.PublicKey
		reason string // empty: it is valid
	}{
		{"valid", issue(t, zero, good), key, ""},
		{"valid, generation 1", issue(t, one, first), key, ""},
		{"of another machine", issue(t, zero, good), other, "of machine"},
		{"of another pool", issue(t, zero, strange), key, "of pool"},
		{"signed with an older secret", issue(t, zero, first), key, "signature"},
		{"signed by a stranger", issue(t, NewSecret(), good), key, "signature"},
		{"of a generation that nobody has", issue(t, one, future), key, "generation 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			read, err := ParseCertificate(c.cert.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			if read.Name != "alice" || !read.Machine.Equal(key) || read.Issuer != good.Issuer || !read.Issued.Equal(good.Issued) || read.ID() != store.MachineIDOf(key) {
				t.Errorf("read %+v", read)
			}
			err = read.Verify(zero.ID(), c.key, secretsOf(zero, one))
			if c.reason == "" && err != nil {
				t.Errorf("Verify = %v", err)
			}
			if c.reason != "" && (!errors.Is(err, ErrCertificate) || !strings.Contains(err.Error(), c.reason)) {
				t.Errorf("Verify = %v, want %q", err, c.reason)
			}
		})
	}
}

func TestCertificate_EveryChangedBitShows(t *testing.T) {
	s := NewSecret()
	raw := issue(t, s, Certificate{Pool: s.ID(), Machine: testKey(0), Name: "a", Issued: time.UnixMilli(1)}).Append(nil)
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			c, err := ParseCertificate(raw)
			if err == nil {
				err = c.Verify(s.ID(), testKey(0), secretsOf(s))
			}
			if !errors.Is(err, ErrCertificate) {
				t.Fatalf("byte %d, bit %d: %v", i, bit, err)
			}
			raw[i] ^= 1 << bit
		}
	}
	for n := range raw {
		if _, err := ParseCertificate(raw[:n]); !errors.Is(err, ErrCertificate) {
			t.Fatalf("%d of %d bytes: %v", n, len(raw), err)
		}
	}
}

func TestIssue_RefusesWhatNoCertificateMaySay(t *testing.T) {
	for name, c := range map[string]Certificate{
		"short key": {Machine: testKey(0)[:31]},
		"long name": {Machine: testKey(0), Name: strings.Repeat("n", MaxName+1)},
		"bell":      {Machine: testKey(0), Name: "a\a"},
		"no text":   {Machine: testKey(0), Name: "\xff"},
	} {
		if _, err := Issue(NewSecret(), c); !errors.Is(err, ErrCertificate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	longest, err := Issue(NewSecret(), Certificate{Machine: testKey(0), Name: strings.Repeat("n", MaxName), Generation: 1<<32 - 1, Issued: time.UnixMilli(1 << 62)})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(longest.Append(nil)); n > MaxCertificate {
		t.Errorf("the longest certificate has %d bytes", n)
	}
}

func FuzzParseCertificate(f *testing.F) {
	c, err := Issue(Secret{}, Certificate{Machine: testKey(0), Name: "alice", Generation: 3})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Append(nil))
	f.Add([]byte{0x82, 0x40, 0x40})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCertificate(b)
		if err != nil {
			return
		}
		if got := c.Append(nil); string(got) != string(b) {
			t.Errorf("%x was read and is written as %x", b, got)
		}
	})
}
