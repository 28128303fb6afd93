package node

import (
	"bytes"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
)

// A machine that has what it says proves it; one that has lost it cannot, does not
// count any more, finds out itself, and fetches it again.
func TestChallenge(t *testing.T) {
	hosts := servePool(t, 2, 2, ServeConfig{})
	a, b := hosts[0], hosts[1]
	body := randomBytes(1, 2<<20)
	a.put(t, "f", body)
	a.flush(t)
	b.flush(t)
	eventually(t, "b proves what it has", func() bool { return a.challengeOne(t.Context(), b.ID()) == nil })
	if f := a.faults.list(); len(f) != 0 {
		t.Fatalf("faults %+v", f)
	}
	e, err := b.drive.Stat("/f")
	if err != nil {
		t.Fatal(err)
	}
	for ref := range refsOf(t, b.Machine, e.Version.Content) { // as if it lied: it does not know
		if err := b.bodies.Delete(ref); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.challengeOne(t.Context(), b.ID()); !errors.Is(err, errWrong) {
		t.Fatalf("a proof of what is not there: %v", err)
	}
	if f := a.faults.list(); len(f) != 1 || f[0].What != FaultUnproved || f[0].Machine != b.ID() {
		t.Errorf("faults %+v", f)
	}
	eventually(t, "b has fetched it again", func() bool { return b.isHere(t, "/f") })
	a.flush(t)
	if err := a.challengeOne(t.Context(), b.ID()); err != nil {
		t.Errorf("b has it again: %v", err)
	}
	if got := b.cat(t, "/f"); !bytes.Equal(got, body) {
		t.Error("wrong bytes")
	}
}

func FuzzParseProofRequest(f *testing.F) {
	b, err := cbor.Marshal(proofRequest{Ref: store.Ref{1}, Nonce: make([]byte, nonceSize)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseProofRequest(b)
		if err != nil {
			return
		}
		again, err := cbor.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if s, err := parseProofRequest(again); err != nil || s.Ref != r.Ref || !bytes.Equal(s.Nonce, r.Nonce) {
			t.Fatalf("%+v is not read again: %+v, %v", r, s, err)
		}
	})
}
