package pool

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/store"
)

// ErrCertificate reports bytes that are no certificate, or one that does not say
// what it ought to.
var ErrCertificate = errors.New("pool: not a valid certificate")

// CertificateFile is where a machine keeps its certificate. It is no secret.
const CertificateFile = "machine.cert"

const (
	certificateFormat = 1
	// certificatePurpose is signed with each certificate, so that a signature of it is
	// of no use as one of anything else (RFC 8032 section 8.3 on contexts).
	certificatePurpose = "aether pool certificate 1\x00"

	// MaxCertificate bounds a certificate, in bytes.
	MaxCertificate = 512
	// MaxName bounds the name of a machine, in bytes.
	MaxName = 255
)

// Certificate says that a machine belongs to a pool: who it is, who let it in, when,
// and in which generation of the pool's secret. It is signed with a key that follows
// from that secret, so whoever knows the secret can issue one: it names, and bounds
// what an old secret is good for; the secret admits.
type Certificate struct {
	// Pool is the pool.
	Pool ID
	// Machine is the machine's public key; its ID is store.MachineIDOf of it.
	Machine ed25519.PublicKey
	// Name is what the machine was called, at most MaxName bytes.
	Name string
	// Generation is the generation whose secret signs.
	Generation uint32
	// Issuer is the machine that let this one in; itself where it had the secret.
	Issuer store.MachineID
	// Issued is when, by the issuer's clock, in milliseconds. It is shown, and nothing
	// follows from it: clocks are not trusted.
	Issued time.Time

	signature []byte
}

// certificateBody is what is signed, in the deterministic encoding of RFC 8949
// section 4.2.1.
type certificateBody struct {
	_          struct{} `cbor:",toarray"`
	Format     uint8
	Pool       ID
	Machine    []byte
	Name       string
	Generation uint32
	Issuer     store.MachineID
	Issued     int64 // Unix milliseconds
}

// signedCertificate is a certificate as it lies on disks and crosses networks.
type signedCertificate struct {
	_         struct{} `cbor:",toarray"`
	Body      []byte
	Signature []byte
}

var (
	certificateEncoding = func() cbor.EncMode {
		mode, err := cbor.CoreDetEncOptions().EncMode()
		if err != nil {
			panic(err) // the options are constant
		}
		return mode
	}()
	certificateDecoding = func() cbor.DecMode {
		mode, err := cbor.DecOptions{MaxNestedLevels: 4, MaxArrayElements: 16}.DecMode()
		if err != nil {
			panic(err) // the options are constant
		}
		return mode
	}()
)

// signingKey is the key with which the pool signs while secret is its newest.
func (s Secret) signingKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(s.Derive("aether certificates"))
}

// Issue signs c with the secret of generation c.Generation and returns it. It fails
// where c says what no certificate may.
func Issue(secret Secret, c Certificate) (*Certificate, error) {
	c.Machine = bytes.Clone(c.Machine)
	c.Issued = time.UnixMilli(c.Issued.UnixMilli()).UTC()
	if err := c.check(); err != nil {
		return nil, err
	}
	c.signature = ed25519.Sign(secret.signingKey(), c.signed())
	return &c, nil
}

// check refuses what no certificate may say.
func (c *Certificate) check() error {
	switch {
	case len(c.Machine) != ed25519.PublicKeySize:
		return fmt.Errorf("%w: a key of %d bytes", ErrCertificate, len(c.Machine))
	case len(c.Name) > MaxName || !utf8.ValidString(c.Name) || strings.ContainsFunc(c.Name, unicode.IsControl):
		return fmt.Errorf("%w: a name is at most %d bytes of text", ErrCertificate, MaxName)
	}
	return nil
}

func (c *Certificate) body() []byte {
	b, err := certificateEncoding.Marshal(certificateBody{
		Format: certificateFormat, Pool: c.Pool, Machine: c.Machine, Name: c.Name,
		Generation: c.Generation, Issuer: c.Issuer, Issued: c.Issued.UnixMilli(),
	})
	if err != nil {
		panic(fmt.Sprintf("pool: certificate: %v", err)) // such a struct can always be encoded
	}
	return b
}

// signed is what the signature is of.
func (c *Certificate) signed() []byte { return append([]byte(certificatePurpose), c.body()...) }

// Append appends the certificate to b as [ParseCertificate] reads it.
func (c *Certificate) Append(b []byte) []byte {
	raw, err := certificateEncoding.Marshal(signedCertificate{Body: c.body(), Signature: c.signature})
	if err != nil {
		panic(fmt.Sprintf("pool: certificate: %v", err)) // such a struct can always be encoded
	}
	return append(b, raw...)
}

// ParseCertificate reads what [Certificate.Append] writes, in that encoding and no
// other. The signature is not checked: see [Certificate.Verify]. The error wraps
// ErrCertificate.
func ParseCertificate(b []byte) (*Certificate, error) {
	if len(b) > MaxCertificate {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrCertificate, len(b), MaxCertificate)
	}
	var outer signedCertificate
	var body certificateBody
	if err := certificateDecoding.Unmarshal(b, &outer); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	if err := certificateDecoding.Unmarshal(outer.Body, &body); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCertificate, err)
	}
	switch {
	case body.Format != certificateFormat:
		return nil, fmt.Errorf("%w: format %d", ErrCertificate, body.Format)
	case len(outer.Signature) != ed25519.SignatureSize:
		return nil, fmt.Errorf("%w: a signature of %d bytes", ErrCertificate, len(outer.Signature))
	}
	c := &Certificate{
		Pool: body.Pool, Machine: body.Machine, Name: body.Name, Generation: body.Generation,
		Issuer: body.Issuer, Issued: time.UnixMilli(body.Issued).UTC(), signature: outer.Signature,
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if !bytes.Equal(c.Append(nil), b) {
		return nil, fmt.Errorf("%w: not in the one encoding", ErrCertificate)
	}
	return c, nil
}

// ID returns the ID of the machine that the certificate is of.
func (c *Certificate) ID() store.MachineID { return store.MachineIDOf(c.Machine) }

// Verify returns nil when the pool named pool issued c to the machine with key.
// secret returns the secret of a generation, where it is known. The error wraps
// ErrCertificate and says what is wrong.
func (c *Certificate) Verify(pool ID, machine ed25519.PublicKey, secret func(generation uint32) (Secret, bool)) error {
	if c.Pool != pool {
		return fmt.Errorf("%w: it is of pool %v", ErrCertificate, c.Pool)
	}
	if !c.Machine.Equal(machine) {
		return fmt.Errorf("%w: it is of machine %v", ErrCertificate, c.ID())
	}
	s, ok := secret(c.Generation)
	if !ok {
		return fmt.Errorf("%w: generation %d is not known here", ErrCertificate, c.Generation)
	}
	key := s.signingKey().Public().(ed25519.PublicKey)
	if !ed25519.Verify(key, c.signed(), c.signature) {
		return fmt.Errorf("%w: the signature does not fit", ErrCertificate)
	}
	return nil
}
