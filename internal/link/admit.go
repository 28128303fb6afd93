package link

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"net/netip"
)

// Errors of authentication. They come inside a [*PeerError].
var (
	// ErrWrongPeer reports that another machine answered than the one expected.
	ErrWrongPeer = errors.New("wrong peer answered")
	// ErrNotAdmitted reports a peer whose proof of belonging was wrong or
	// missing, or one that did not accept ours.
	ErrNotAdmitted = errors.New("not admitted")
	// ErrSelf reports that the machine that answered is this one.
	ErrSelf = errors.New("peer is this machine")
)

// PeerError says which machine an error of authentication is about.
type PeerError struct {
	// Peer is who answered, proven by TLS.
	Peer PeerID
	// Addr is where; invalid where the connection has no such address.
	Addr netip.AddrPort
	// Err is ErrWrongPeer, ErrNotAdmitted or ErrSelf, or wraps one.
	Err error
}

// Error names the machine, the address and the reason.
func (e *PeerError) Error() string {
	s := "link: peer " + e.Peer.String()
	if e.Addr.IsValid() {
		s += " at " + e.Addr.String()
	}
	return s + ": " + e.Err.Error()
}

// Unwrap returns Err.
func (e *PeerError) Unwrap() error { return e.Err }

// Session is what a proof of belonging can be bound to.
type Session struct {
	// Self and Peer are the keys of this end and the other, proven by TLS.
	Self, Peer ed25519.PublicKey
	// Dialled says whether this end dialled.
	Dialled bool
	// Export returns 32 bytes that only the two ends of this connection know
	// (RFC 8446 section 7.5), different for each label.
	Export func(label string) ([]byte, error)
}

// Admit is how the two ends of a connection prove that they belong together,
// after TLS has proven who they are. The dialler proves first; a listener that is
// not satisfied closes without a word.
type Admit struct {
	// Prove returns the proof of this end, at most MaxProof bytes.
	Prove func(s Session) ([]byte, error)
	// Check returns nil when proof is one of the other end's for s. The error
	// becomes part of the ErrNotAdmitted that the caller sees; it is not sent.
	Check func(s Session, proof []byte) error
}

// MaxProof is the number of bytes that a proof may have.
const MaxProof = 2048

// The labels differ by direction, so that a proof sent back proves nothing.
const (
	labelDialler  = "EXPORTER-aether-link-1-dialler"
	labelListener = "EXPORTER-aether-link-1-listener"
)

// AdmitSecret admits peers that know secret: 32 random bytes that all machines of
// a pool share. The proof is an HMAC-SHA256 under secret of the prover's role,
// both keys and keying material of the connection, so it is of no use on any
// other connection. The slice is copied.
func AdmitSecret(secret []byte) Admit {
	secret = append([]byte(nil), secret...)
	return Admit{
		Prove: func(s Session) ([]byte, error) { return secretProof(secret, s, s.Dialled, s.Self, s.Peer) },
		Check: func(s Session, proof []byte) error {
			want, err := secretProof(secret, s, !s.Dialled, s.Peer, s.Self)
			if err != nil {
				return err
			}
			if !hmac.Equal(proof, want) {
				return errors.New("proof does not match the secret")
			}
			return nil
		},
	}
}

func secretProof(secret []byte, s Session, dialler bool, prover, checker ed25519.PublicKey) ([]byte, error) {
	label := labelListener
	if dialler {
		label = labelDialler
	}
	material, err := s.Export(label)
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, secret)
	for _, b := range [][]byte{[]byte(label), {0}, prover, checker, material} {
		m.Write(b) // all but the label have a fixed length
	}
	return m.Sum(nil), nil
}

// AdmitAnyone admits every peer that has a key: for connections whose peer is
// pinned, and for tests.
func AdmitAnyone() Admit {
	return Admit{
		Prove: func(Session) ([]byte, error) { return nil, nil },
		Check: func(Session, []byte) error { return nil },
	}
}
