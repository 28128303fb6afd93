package node

import (
	"bytes"
	"errors"
	"sync"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store/pool"
)

// joinProtocol is the ALPN name of connections over which machines join: the members'
// connections are others, so nothing that is said on one is of use on the other.
const joinProtocol = "aether-join/1"

// labelSalt names the keying material of a connection that salts the code: see
// [pool.Code.Key].
const labelSalt = "EXPORTER-aether-join-1-salt"

// errWrongCode reports that the other end did not prove the code.
var errWrongCode = errors.New("wrong code")

// codeProof proves a code to the other end of a connection, and checks that it knows
// the code too. The end that dialled, which joins, proves first. Both proofs are HMACs
// under a key of code and connection (RFC 8446 section 7.5), over role and both keys: a
// machine in the middle has two connections with different keying material, so a proof
// that it passes on proves nothing, nor does one that it has recorded.
type codeProof struct {
	code pool.Code

	mu   sync.Mutex
	salt []byte
	key  []byte // for salt: the second use of it costs nothing
}

// of returns the admission that the key for s proves. Keys are worked out one at a
// time: each costs memory.
func (p *codeProof) of(s link.Session) (link.Admit, error) {
	salt, err := s.Export(labelSalt)
	if err != nil {
		return link.Admit{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !bytes.Equal(p.salt, salt) {
		p.salt, p.key = salt, p.code.Key(salt)
	}
	return link.AdmitSecret(p.key), nil
}

func (p *codeProof) prove(s link.Session) ([]byte, error) {
	a, err := p.of(s)
	if err != nil {
		return nil, err
	}
	return a.Prove(s)
}

func (p *codeProof) check(s link.Session, proof []byte) error {
	a, err := p.of(s)
	if err != nil {
		return err
	}
	if a.Check(s, proof) != nil {
		return errWrongCode
	}
	return nil
}
