package gossip

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"

	"github.com/aether-lan/aether/store"
)

// hash is a place in a machine's chain: it stands for one entry and for all that
// come before it.
type hash = [sha256.Size]byte

// sealSize is the length of a seal: the author's public key and its signature of
// a head.
const sealSize = ed25519.PublicKeySize + ed25519.SignatureSize

// start is the chain of a machine that has written nothing.
func start(m store.MachineID) hash {
	return sha256.Sum256(append([]byte("aether log 1\x00"), m[:]...))
}

// follow returns the chain after the entry d, which follows before.
func follow(before hash, d store.Dot, payload []byte) hash {
	var room [512]byte // on the stack: most entries fit
	b := append(room[:0], before[:]...)
	b = append(b, d.Machine[:]...)
	b = binary.BigEndian.AppendUint64(b, d.Seq)
	if len(payload) <= len(room)-len(b) {
		return sha256.Sum256(append(b, payload...))
	}
	h := sha256.New()
	h.Write(b)
	h.Write(payload)
	return hash(h.Sum(nil))
}

// end returns the chain after the entries of r, which has nothing to do yet with
// whether its author wrote them.
func (r *run) end() hash {
	h := r.Before
	for i, p := range r.Payloads {
		h = follow(h, store.Dot{Machine: r.Machine, Seq: r.First + uint64(i)}, p)
	}
	return h
}

// headText is what an author signs: that its log up to n is the one with the
// chain h.
func headText(m store.MachineID, n uint64, h hash) []byte {
	b := append([]byte("aether head 1\x00"), m[:]...)
	b = binary.BigEndian.AppendUint64(b, n)
	return append(b, h[:]...)
}

// softText is what a machine signs of its inventory.
func softText(m store.MachineID, counter store.Time, inventory []byte) []byte {
	h := sha256.Sum256(inventory)
	b := append([]byte("aether inventory 1\x00"), m[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(counter))
	return append(b, h[:]...)
}

// sealed reports whether seal is m's signature of text. The ID of a machine is the
// hash of its key, so nothing else need be known of it.
func sealed(m store.MachineID, text, seal []byte) bool {
	if len(seal) != sealSize {
		return false
	}
	key := ed25519.PublicKey(seal[:ed25519.PublicKeySize])
	return store.MachineIDOf(key) == m && ed25519.Verify(key, text, seal[ed25519.PublicKeySize:])
}

// signer makes the seals of this machine. A head is signed when it is first sent,
// so that writing costs no signature; the latest are kept, since each goes to
// several peers.
type signer struct {
	self store.MachineID
	key  ed25519.PrivateKey
	last map[uint64][]byte
}

// maxSigned bounds the seals kept.
const maxSigned = 64

func (s *signer) seal(text []byte) []byte {
	b := append([]byte{}, s.key.Public().(ed25519.PublicKey)...)
	return append(b, ed25519.Sign(s.key, text)...)
}

// head returns the seal of this machine's log up to n.
func (s *signer) head(n uint64, h hash) []byte {
	if b, ok := s.last[n]; ok {
		return b
	}
	if len(s.last) >= maxSigned {
		clear(s.last)
	}
	s.last[n] = s.seal(headText(s.self, n, h))
	return s.last[n]
}
