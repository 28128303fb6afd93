package link

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base32"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// PeerID names a machine: the first 16 bytes of the SHA-256 of its Ed25519
// public key. The zero PeerID names none, and where one is expected means any.
type PeerID [16]byte

var peerText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// PeerIDOf returns the ID of the machine that holds the private half of key.
func PeerIDOf(key ed25519.PublicKey) PeerID {
	h := sha256.Sum256(key)
	return PeerID(h[:16])
}

// String returns the ID as 26 characters of lower-case base32.
func (p PeerID) String() string { return peerText.EncodeToString(p[:]) }

// IsZero reports whether p names no machine.
func (p PeerID) IsZero() bool { return p == PeerID{} }

// Identity is a machine's key and the certificate that carries it through TLS.
// It is immutable and safe for concurrent use.
type Identity struct {
	cert tls.Certificate
	key  ed25519.PublicKey
	id   PeerID
}

// NewIdentity makes the Identity of key. The certificate lives in memory only and
// holds nothing but the public key. It fails for a key of the wrong length.
func NewIdentity(key ed25519.PrivateKey) (*Identity, error) {
	if len(key) != ed25519.PrivateKeySize {
		return nil, fmt.Errorf("link: identity: key of %d bytes, want %d", len(key), ed25519.PrivateKeySize)
	}
	pub := key.Public().(ed25519.PublicKey)
	id := PeerIDOf(pub)
	// The dates are fixed and never checked: clocks are not trusted.
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: id.String()},
		NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		return nil, fmt.Errorf("link: identity: %w", err)
	}
	return &Identity{cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, key: pub, id: id}, nil
}

// ID returns the machine's ID.
func (i *Identity) ID() PeerID { return i.id }

// PublicKey returns the machine's public key.
func (i *Identity) PublicKey() ed25519.PublicKey { return i.key }

var errCertificate = errors.New("peer did not present one Ed25519 certificate")

// tlsConfig returns the settings of one handshake. The peer's key is left in
// *peer; want, when not zero, is the only peer that is accepted.
func (i *Identity) tlsConfig(protocol string, want PeerID, peer *ed25519.PublicKey) *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{i.cert},
		NextProtos:   []string{protocol},
		ClientAuth:   tls.RequireAnyClientCert,
		// Not insecure: VerifyConnection does the checking, by key instead of by
		// authority and host name.
		InsecureSkipVerify:          true,
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) != 1 || cs.DidResume {
				return errCertificate
			}
			key, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
			if !ok {
				return errCertificate
			}
			if cs.NegotiatedProtocol != protocol {
				return fmt.Errorf("peer speaks %q, not %q", cs.NegotiatedProtocol, protocol)
			}
			*peer = key
			if id := PeerIDOf(key); !want.IsZero() && id != want {
				return fmt.Errorf("%w: not %v", ErrWrongPeer, want)
			}
			return nil
		},
	}
}
