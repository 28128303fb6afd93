package node

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/pool"
)

// Why a machine is not admitted.
var (
	errStranger = errors.New("it knows no secret of this pool")
	errOutdated = errors.New("it knows an old secret of the pool only, and was never a member here; let it join again with an invitation")
)

// admissionProof is what each end of a connection presents: proofs of several of the
// pool's secrets, since neither end knows which of them the other has, and its
// certificate.
type admissionProof struct {
	_           struct{} `cbor:",toarray"`
	Format      uint8
	Proofs      []generationProof
	Certificate []byte
}

// generationProof proves knowledge of one generation's secret.
type generationProof struct {
	_          struct{} `cbor:",toarray"`
	Generation uint32
	Proof      []byte
}

const (
	admissionFormat = 1
	// maxProofs is how many generations a machine proves: the newest ones and the
	// first. Whoever lags behind by more has been away for as many revocations, and
	// is known to those who were there.
	maxProofs = 16
)

// admission is how the machine decides who may connect to it, and shows others that it
// belongs:
//
//   - Who was revoked, was forgotten or left is refused, whatever it knows.
//   - Who proves the newest secret that is known here is admitted. It may be one that
//     was never heard of: whoever has the secret may join.
//   - Who proves an older secret only is admitted when it was known as a member before:
//     it was away, and will be given the newest.
//
// A certificate that is there must be the machine's own and, where its generation is
// known here, bear the pool's signature.
func (m *Machine) admission() link.Admit {
	return link.Admit{Prove: m.proveMembership, Check: m.checkProof}
}

// admitGeneration proves and checks knowledge of one secret.
func admitGeneration(s pool.Secret) link.Admit { return link.AdmitSecret(s.Derive("aether admission")) }

// proveMembership returns the machine's admissionProof for one connection.
func (m *Machine) proveMembership(s link.Session) ([]byte, error) {
	cert, err := m.certificate()
	if err != nil {
		return nil, err
	}
	p := admissionProof{Format: admissionFormat, Certificate: cert.Append(nil)}
	generations := m.generations()
	if len(generations) > maxProofs {
		generations = append(generations[:maxProofs-1:maxProofs-1], generations[len(generations)-1])
	}
	for _, g := range generations {
		secret, ok := m.secretOf(g)
		if !ok {
			continue
		}
		proof, err := admitGeneration(secret).Prove(s)
		if err != nil {
			return nil, err
		}
		p.Proofs = append(p.Proofs, generationProof{Generation: g, Proof: proof})
	}
	return cbor.Marshal(p)
}

// checkProof decides whether the other end of a connection is admitted.
func (m *Machine) checkProof(s link.Session, raw []byte) error {
	var p admissionProof
	if err := strictCBOR.Unmarshal(raw, &p); err != nil {
		return fmt.Errorf("its proof cannot be read: %w", err)
	}
	if p.Format != admissionFormat || len(p.Proofs) > maxProofs {
		return fmt.Errorf("its proof has format %d, with %d proofs", p.Format, len(p.Proofs))
	}
	newest, err := m.proven(s, p.Proofs)
	if err != nil {
		return err
	}
	id := store.MachineIDOf(s.Peer)
	known, st, err := m.standingOf(id)
	if err != nil {
		return err
	}
	if st.Standing > Leaving {
		return fmt.Errorf("it %s by %s on %s", saidOf(st.Standing), m.NameOf(st.By), time.UnixMilli(st.When).Format(time.DateTime))
	}
	if !newest && !known {
		return errOutdated
	}
	return m.checkCertificate(s.Peer, p.Certificate)
}

// saidOf completes "it ... by NAME".
func saidOf(s Standing) string {
	if s == Left {
		return "left the pool, as said"
	}
	return "was " + s.String()
}

// proven checks the proofs of the secrets that are known here, and reports whether the
// newest of them is proven. None, or one that is wrong, is an error.
func (m *Machine) proven(s link.Session, proofs []generationProof) (newest bool, err error) {
	err = errStranger
	for _, p := range proofs {
		secret, ok := m.secretOf(p.Generation)
		if !ok {
			continue
		}
		if err = admitGeneration(secret).Check(s, p.Proof); err != nil {
			return false, errStranger
		}
		newest = newest || p.Generation == m.newestGeneration()
	}
	return newest, err
}

// standingOf returns what is known of a machine, and whether it was a member before: it
// has introduced itself in the log, was connected, or was let in.
func (m *Machine) standingOf(id store.MachineID) (known bool, s verdict, err error) {
	err = m.core.call(m.background, func() {
		s = m.core.members.standings[id]
		own := m.core.members.byID[id]
		known = own.Name != "" || own.Seen != 0 || !s.Inviter.IsZero()
	})
	return known, s, err
}

// checkCertificate checks the certificate of the machine with key.
func (m *Machine) checkCertificate(key ed25519.PublicKey, raw []byte) error {
	cert, err := pool.ParseCertificate(raw)
	if err != nil {
		return err
	}
	if _, ok := m.secretOf(cert.Generation); !ok && cert.Pool == m.pool.ID && cert.Machine.Equal(key) {
		return nil // of a generation that has yet to be heard of here
	}
	if err := cert.Verify(m.pool.ID, key, m.secretOf); err != nil {
		return err
	}
	m.credentials.note(cert)
	return nil
}

// credentials are the certificates of this machine and of those that have presented
// theirs since this one was opened.
type credentials struct {
	mu  sync.Mutex
	own *pool.Certificate
	of  map[store.MachineID]*pool.Certificate
}

// maxCertificates bounds the certificates of others that are kept; of more the last
// ones are not shown.
const maxCertificates = 4096

func (c *credentials) note(cert *pool.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[store.MachineID]*pool.Certificate{}
	}
	if _, ok := c.of[cert.ID()]; ok || len(c.of) < maxCertificates {
		c.of[cert.ID()] = cert
	}
}

// certificate returns this machine's certificate, of the newest generation: where
// another one or none is on the disk, it issues one, naming who let it in as before.
func (m *Machine) certificate() (*pool.Certificate, error) {
	m.credentials.mu.Lock()
	defer m.credentials.mu.Unlock()
	key := m.pool.Key().Public().(ed25519.PublicKey)
	g := m.newestGeneration()
	old := m.credentials.own
	if old == nil {
		var err error
		if old, err = pool.ReadCertificate(m.cfg.Dir); err == nil && old.Verify(m.pool.ID, key, m.secretOf) != nil {
			old = nil
		}
	}
	if old != nil && old.Generation == g {
		m.credentials.own = old
		return old, nil
	}
	issuer := m.ID()
	if old != nil {
		issuer = old.Issuer
	}
	secret, _ := m.secretOf(g)
	cert, err := pool.Issue(secret, pool.Certificate{
		Pool: m.pool.ID, Machine: key, Name: m.Name(), Generation: g, Issuer: issuer, Issued: m.now(),
	})
	if err == nil {
		err = pool.WriteCertificate(m.cfg.Dir, cert)
	}
	if err != nil {
		return nil, fmt.Errorf("node: certificate: %w", err)
	}
	m.credentials.own = cert
	return cert, nil
}

// certificateOf returns the certificate that a machine presented last, nil where it
// has not since this one was opened.
func (m *Machine) certificateOf(id store.MachineID) *pool.Certificate {
	if id == m.ID() {
		c, err := m.certificate()
		if err != nil {
			m.log.Warn("no certificate", "error", err)
		}
		return c
	}
	m.credentials.mu.Lock()
	defer m.credentials.mu.Unlock()
	return m.credentials.of[id]
}
