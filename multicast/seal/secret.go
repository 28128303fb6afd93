package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// Secret is what the members of a group share and nobody else knows: 32 bytes that
// cannot be guessed. Make it with [Stretch] or from a source of randomness.
type Secret [32]byte

// String hides the secret, so that it does not reach a log.
func (s Secret) String() string { return "seal.Secret(hidden)" }

// GoString hides the secret from %#v as well.
func (s Secret) GoString() string { return s.String() }

// The parameters of Argon2id: the second choice of RFC 9106 section 4, for
// machines that cannot spare 2 GiB. All members must use the same ones.
const (
	argonPasses  = 3
	argonMemory  = 64 << 10 // KiB
	argonLanes   = 4
	argonSaltLen = 16 // RFC 9106 section 3.1
)

// ErrNoPassphrase says that a passphrase was empty.
var ErrNoPassphrase = errors.New("empty passphrase")

// Stretch makes a secret from a passphrase with Argon2id (RFC 9106: 3 passes over
// 64 MiB in 4 lanes, about a fifth of a second), so that each guess costs an
// attacker as much. The salt is the purpose's hash, since members who have never
// met cannot agree on a random one: name the protocol and the group in it, and the
// same passphrase gives unrelated secrets elsewhere. It fails with
// [ErrNoPassphrase].
func Stretch(passphrase []byte, purpose string) (Secret, error) {
	if len(passphrase) == 0 {
		return Secret{}, fmt.Errorf("seal: stretch: %w", ErrNoPassphrase)
	}
	salt := sha256.Sum256([]byte("aether seal v1 salt\x00" + purpose))
	return Secret(argon2.IDKey(passphrase, salt[:argonSaltLen], argonPasses, argonMemory, argonLanes, 32)), nil
}

// SenderID names a sender within its group. Senders choose it at random.
type SenderID [16]byte

// String returns the first four bytes in hexadecimal, enough to tell senders apart.
func (id SenderID) String() string { return fmt.Sprintf("%x", id[:4]) }

// origin is one start of one sender, as it stands in front of a packet.
type origin struct {
	id    SenderID
	start [startLen]byte
}

// extract is the first half of HKDF (RFC 5869 section 2.2), the same for all starts.
func extract(secret *Secret) ([]byte, error) { return hkdf.Extract(sha256.New, secret[:], nil) }

// cipherOf derives the key of one start, the second half of HKDF: the sender's ID
// and the start are its info (RFC 5869 section 3.2).
func cipherOf(extracted []byte, o *origin) (cipher.AEAD, error) {
	info := make([]byte, 0, 64+len(o.id)+len(o.start))
	info = append(info, "aether seal v1 key\x00"...)
	info = append(info, o.id[:]...)
	info = append(info, o.start[:]...)
	key, err := hkdf.Expand(sha256.New, extracted, string(info), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
