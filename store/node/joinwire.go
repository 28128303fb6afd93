package node

import (
	"crypto/ed25519"
	"fmt"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
)

// The methods of joinProtocol.
const (
	// methodJoin asks to be let in: a joinRequest, answered with a joinReply.
	methodJoin uint16 = 1
	// methodJoined says that all of it is on the disk; nothing is answered.
	methodJoined uint16 = 2
)

// joinRequest is what the machine that joins says of itself; its key is proven by TLS.
type joinRequest struct {
	_      struct{} `cbor:",toarray"`
	Format uint8
	Name   string
	Space  uint64
}

// joinReply is everything that makes a machine a member.
type joinReply struct {
	_           struct{} `cbor:",toarray"`
	Format      uint8
	Secrets     []generationSecret // generation 0 first
	Certificate []byte
	Name        string // of the machine that lets it in
	Members     []memberAddress
}

// generationSecret is the pool's secret of one generation.
type generationSecret struct {
	_          struct{} `cbor:",toarray"`
	Generation uint32
	Secret     string // as pool.Secret.Text writes it
}

// memberAddress says where a member was last reached.
type memberAddress struct {
	_       struct{} `cbor:",toarray"`
	Machine store.MachineID
	Addrs   []string
}

const (
	joinFormat = 1
	// maxJoinMembers bounds the members whose addresses are handed over: enough to
	// find the others by.
	maxJoinMembers = 64
)

// membership is what a joinReply says, checked.
type membership struct {
	first       pool.Secret   // of generation 0
	later       []pool.Secret // of the others
	certificate *pool.Certificate
	inviter     string
	members     []memberAddress
}

// parseMembership reads a joinReply for the machine with key: secrets that are what they
// say, and a certificate that one of them has signed for the machine.
func parseMembership(raw []byte, key ed25519.PublicKey) (m membership, err error) {
	var r joinReply
	if err := strictCBOR.Unmarshal(raw, &r); err != nil {
		return m, fmt.Errorf("the answer cannot be read: %w", err)
	}
	if r.Format != joinFormat || len(r.Secrets) == 0 || len(r.Secrets) > pool.MaxGenerations || r.Secrets[0].Generation != 0 {
		return m, fmt.Errorf("the answer has format %d, with %d secrets", r.Format, len(r.Secrets))
	}
	secrets := map[uint32]pool.Secret{}
	for i, s := range r.Secrets {
		secret, err := pool.ParseSecret(s.Secret)
		if err != nil {
			return m, err
		}
		if secret.Generation() != s.Generation {
			return m, fmt.Errorf("the secret of generation %d is that of %d", s.Generation, secret.Generation())
		}
		secrets[s.Generation] = secret
		if i > 0 {
			m.later = append(m.later, secret)
		}
	}
	m.first, m.inviter, m.members = secrets[0], r.Name, r.Members
	if m.certificate, err = pool.ParseCertificate(r.Certificate); err != nil {
		return m, err
	}
	return m, m.certificate.Verify(m.first.ID(), key, func(g uint32) (pool.Secret, bool) {
		s, ok := secrets[g]
		return s, ok
	})
}
