package node

import (
	"crypto/ed25519"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store/pool"
)

// aReply is an answer of a machine to the one with the key that follows from seed.
func aReply(tb testing.TB, m *Machine, seed byte) (joinReply, ed25519.PublicKey) {
	tb.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize))).Public().(ed25519.PublicKey)
	r, err := m.reply(key, "guest")
	if err != nil {
		tb.Fatal(err)
	}
	return r, key
}

func TestParseMembership(t *testing.T) {
	m := open(t, filepath.Join(t.TempDir(), "m"), pool.Secret{})
	if err := m.newGeneration(t.Context()); err != nil {
		t.Fatal(err)
	}
	good, key := aReply(t, m, 'g')
	_, other := aReply(t, m, 'o')
	for _, c := range []struct {
		name   string
		change func(r *joinReply)
		key    ed25519.PublicKey
		reason string // empty: it is taken
	}{
		{"good", func(*joinReply) {}, key, ""},
		{"another format", func(r *joinReply) { r.Format = 2 }, key, "format 2"},
		{"no secrets", func(r *joinReply) { r.Secrets = nil }, key, "0 secrets"},
		{"not from the first", func(r *joinReply) { r.Secrets = r.Secrets[1:] }, key, "with 1 secrets"},
		{"secrets without the newest", func(r *joinReply) { r.Secrets = r.Secrets[:1] }, key, "is not known here"},
		{"a secret of another number", func(r *joinReply) { r.Secrets[1].Generation++ }, key, "is that of"},
		{"no secret at all", func(r *joinReply) { r.Secrets[1].Secret = "x" }, key, "not a valid key or secret"},
		{"another pool's secret", func(r *joinReply) { r.Secrets[0].Secret = pool.NewSecret().Text() }, key, "it is of pool"},
		{"another machine's certificate", func(*joinReply) {}, other, "it is of machine"},
		{"no certificate", func(r *joinReply) { r.Certificate = nil }, key, "not a valid certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := good
			r.Secrets = append([]generationSecret(nil), good.Secrets...)
			c.change(&r)
			raw, err := cbor.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			got, err := parseMembership(raw, c.key)
			if c.reason == "" && (err != nil || got.first != m.pool.Secret() || len(got.later) != 1 || got.inviter != m.Name()) {
				t.Errorf("%+v, %v", got, err)
			}
			if c.reason != "" && (err == nil || !strings.Contains(err.Error(), c.reason)) {
				t.Errorf("taken, or refused for another reason than %q: %v", c.reason, err)
			}
		})
	}
}

func FuzzParseMembership(f *testing.F) {
	cfg := Config{Dir: filepath.Join(f.TempDir(), "m"), Set: Settings{Space: 1 << 30}}
	if _, err := Init(cfg, pool.Secret{}); err != nil {
		f.Fatal(err)
	}
	m, err := Open(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = m.Close() })
	r, key := aReply(f, m, 'g')
	raw, err := cbor.Marshal(r)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := parseMembership(raw, key)
		if err == nil && (m.first.IsZero() && len(m.later) > 0 || !m.certificate.Machine.Equal(key)) {
			t.Errorf("%x was taken", raw)
		}
	})
}
