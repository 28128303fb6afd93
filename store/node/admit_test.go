package node

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
)

// open makes a machine in dir and opens it, without a network.
func open(t *testing.T, dir string, secret pool.Secret) *Machine {
	t.Helper()
	cfg := Config{Dir: dir, Set: Settings{Name: filepath.Base(dir), Space: 1 << 30}}
	if _, err := Init(cfg, secret); err != nil {
		t.Fatal(err)
	}
	m, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// sessions are the two ends of one connection, a's first.
func sessions(a, b *Machine) (link.Session, link.Session) {
	export := func(label string) ([]byte, error) { return []byte(fmt.Sprintf("%-32s", label)[:32]), nil }
	ka, kb := a.pool.Key().Public().(ed25519.PublicKey), b.pool.Key().Public().(ed25519.PublicKey)
	return link.Session{Self: ka, Peer: kb, Dialled: true, Export: export}, link.Session{Self: kb, Peer: ka, Export: export}
}

func TestAdmission_WhoIsLetIn(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a, b := open(t, filepath.Join(dir, "a"), secret), open(t, filepath.Join(dir, "b"), secret)
	stranger := open(t, filepath.Join(dir, "stranger"), pool.NewSecret())
	atA, atB := sessions(a, b)
	good := func() admissionProof {
		raw, err := b.proveMembership(atB)
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) > link.MaxProof {
			t.Errorf("a proof of %d bytes", len(raw))
		}
		var p admissionProof
		if err := cbor.Unmarshal(raw, &p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, c := range []struct {
		name   string
		change func(p *admissionProof)
		reason string // empty: it is admitted
	}{
		{"a member", func(*admissionProof) {}, ""},
		{"another format", func(p *admissionProof) { p.Format = 9 }, "format 9"},
		{"no proof", func(p *admissionProof) { p.Proofs = nil }, errStranger.Error()},
		{"a wrong proof", func(p *admissionProof) { p.Proofs[0].Proof[0] ^= 1 }, errStranger.Error()},
		{"a short proof", func(p *admissionProof) { p.Proofs[0].Proof = nil }, errStranger.Error()},
		{"a right and a wrong proof", func(p *admissionProof) { p.Proofs = append(p.Proofs, generationProof{Proof: []byte("x")}) }, errStranger.Error()},
		{"a generation that nobody knows", func(p *admissionProof) { p.Proofs[0].Generation = 77 }, errStranger.Error()},
		{"too many proofs", func(p *admissionProof) { p.Proofs = make([]generationProof, maxProofs+1) }, "17 proofs"},
		{"no certificate", func(p *admissionProof) { p.Certificate = nil }, "not a valid certificate"},
		{"another's certificate", func(p *admissionProof) { c, _ := a.certificate(); p.Certificate = c.Append(nil) }, "it is of machine " + a.ID().String()},
		{"another pool's certificate", func(p *admissionProof) { c, _ := stranger.certificate(); p.Certificate = c.Append(nil) }, "it is of pool"},
		{"a certificate of its own making", func(p *admissionProof) {
			c, err := pool.Issue(pool.NewSecret(), pool.Certificate{Pool: a.pool.ID, Machine: atB.Self})
			if err != nil {
				t.Fatal(err)
			}
			p.Certificate = c.Append(nil)
		}, "signature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := good()
			c.change(&p)
			raw, err := cbor.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			err = a.checkProof(atA, raw)
			if c.reason == "" && err != nil || c.reason != "" && (err == nil || !strings.Contains(err.Error(), c.reason)) {
				t.Errorf("checkProof = %v, want %q", err, c.reason)
			}
		})
	}
	_, atStranger := sessions(a, stranger)
	raw, err := stranger.proveMembership(atStranger)
	if err != nil {
		t.Fatal(err)
	}
	here, _ := sessions(a, stranger)
	if err := a.checkProof(here, raw); !errors.Is(err, errStranger) {
		t.Errorf("a machine of another pool: %v", err)
	}
}

func FuzzCheckProof(f *testing.F) {
	dir := f.TempDir()
	cfg := Config{Dir: filepath.Join(dir, "a"), Set: Settings{Space: 1 << 30}}
	if _, err := Init(cfg, pool.Secret{}); err != nil {
		f.Fatal(err)
	}
	m, err := Open(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = m.Close() })
	here, there := sessions(m, m)
	good, err := m.proveMembership(there)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var p admissionProof
		if m.checkProof(here, raw) == nil && (strictCBOR.Unmarshal(raw, &p) != nil || len(p.Proofs) == 0) {
			t.Errorf("%x was admitted", raw)
		}
	})
}

func TestRefusals_AreFewAndSaidRarely(t *testing.T) {
	var f refusals
	refused := func(machine byte, why string) error {
		return &link.PeerError{Peer: link.PeerID{machine}, Addr: netip.MustParseAddrPort("192.0.2.1:1"), Err: fmt.Errorf("%w: %s", link.ErrNotAdmitted, why)}
	}
	start := time.Unix(1000, 0)
	for i, c := range []struct {
		at    time.Duration
		err   error
		say   bool
		count int
	}{
		{0, refused(1, "x"), true, 1},
		{time.Second, refused(1, "x"), false, 2},
		{2 * time.Second, refused(1, "y"), false, 1},
		{3 * time.Second, refused(2, "x"), true, 1},
		{61 * time.Second, refused(1, "x"), true, 3},
		{62 * time.Second, errors.New("a cable"), false, 0},
		{62 * time.Second, &link.PeerError{Peer: link.PeerID{3}, Err: link.ErrWrongPeer}, false, 0},
	} {
		r, say := f.note(start.Add(c.at), c.err)
		if say != c.say || r.Count != c.count {
			t.Errorf("%d: said %v, %d times", i, say, r.Count)
		}
	}
	if all := f.all(); len(all) != 3 || all[0].Count != 3 || all[0].Reason != "x" || all[0].Machine != (store.MachineID{1}) {
		t.Errorf("%+v", all)
	}
	for i := range 1000 {
		f.note(start.Add(time.Hour), refused(byte(i), fmt.Sprint(i)))
	}
	if n := len(f.all()); n != maxRefusals || len(f.said) > maxRefusals+1 {
		t.Errorf("%d refusals are kept, %d machines", n, len(f.said))
	}
}

// After a new generation: a member that was away still knows the old secret only; it is
// let in and given the new one. A machine that nobody has heard of and that has the old
// secret, as a thief makes one, is not.
func TestAdmission_TheOldSecretIsForThoseWhoWereAway(t *testing.T) {
	dir := t.TempDir()
	secret := pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	away := serve(t, filepath.Join(dir, "away"), secret, a.addr)
	thief := serve(t, filepath.Join(dir, "thief"), secret, a.addr)
	eventually(t, "all know each other", func() bool { return a.knows(away) && a.knows(thief) })
	away.stop()
	if _, _, err := a.client.Revoke(t.Context(), "thief"); err != nil {
		t.Fatal(err)
	}
	g := a.newestGeneration()
	if g == 0 {
		t.Fatal("no new generation has begun")
	}
	again := serve(t, filepath.Join(dir, "thief again"), secret, a.addr)
	ev := a.await(t, func(ev Event) bool { return ev.Kind == EventRefused && ev.Machine == again.ID() })
	if !strings.Contains(ev.Reason, errOutdated.Error()) {
		t.Errorf("refused because %s", ev.Reason)
	}
	away = serve(t, filepath.Join(dir, "away"), secret, a.addr)
	eventually(t, "the one that was away has the new secret", func() bool { return away.newestGeneration() == g })

	// Who joins now has all secrets, and the certificate of today; who was away when it
	// joined has heard of neither and lets it in by the secret that both have.
	i := invite(t, a)
	if _, err := Join(t.Context(), Config{Dir: filepath.Join(dir, "new")}, JoinConfig{Code: i.code(t), At: i.at()}); err != nil {
		t.Fatal(err)
	}
	fresh := serve(t, filepath.Join(dir, "new"), pool.Secret{})
	if fresh.newestGeneration() != g {
		t.Errorf("generation %d, want %d", fresh.newestGeneration(), g)
	}
	eventually(t, "the new machine's certificate", func() bool {
		c := a.certificateOf(fresh.ID())
		return c != nil && c.Generation == g && c.Issuer == a.ID()
	})
	if _, ok := thief.secretOf(g); ok {
		t.Error("the thief has the new secret")
	}
	if _, ok := again.secretOf(g); ok {
		t.Error("the thief's second machine has the new secret")
	}
}

// The certificate follows the generations, and keeps who let the machine in.
func TestCertificate_IsIssuedAnewUnderANewGeneration(t *testing.T) {
	m := open(t, filepath.Join(t.TempDir(), "m"), pool.Secret{})
	first, err := m.certificate()
	if err != nil || first.Generation != 0 || first.Issuer != m.ID() {
		t.Fatalf("%+v, %v", first, err)
	}
	if err := m.newGeneration(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := m.certificate()
	if err != nil || second.Generation != m.newestGeneration() || second.Verify(m.pool.ID, second.Machine, m.secretOf) != nil {
		t.Errorf("%+v, %v", second, err)
	}
	onDisk, err := pool.ReadCertificate(m.cfg.Dir)
	if err != nil || onDisk.Generation != second.Generation {
		t.Errorf("on the disk %+v, %v", onDisk, err)
	}
}
