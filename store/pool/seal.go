package pool

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
)

// ErrPassphrase reports a sealed file without a passphrase, or a wrong one.
var ErrPassphrase = errors.New("pool: passphrase missing or wrong")

// A sealed file is one line: the prefix, then base64 of
//
//	salt 16 | time 4 | memory in KiB 4 | threads 1 | nonce 12 | sealed text
//
// All but the sealed text, and the prefix, are authenticated with it.
const (
	sealedPrefix = "aether-sealed-1 "
	saltSize     = 16
	nonceSize    = 12
	sealedHeader = saltSize + 4 + 4 + 1 + nonceSize
)

// cost is what Argon2id spends.
type cost struct {
	time, memory uint32 // passes, KiB
	threads      uint8
}

// sealCost is the second recommendation of RFC 9106 section 4: about 0.2 s.
var sealCost = cost{time: 3, memory: 64 << 10, threads: 4}

// maxCost bounds what a file may ask of the machine that opens it.
var maxCost = cost{time: 32, memory: 1 << 20, threads: 16}

func (c cost) aead(passphrase, salt []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(argon2.IDKey(passphrase, salt, c.time, c.memory, c.threads, 32))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal encrypts text under passphrase.
func seal(text string, passphrase []byte, c cost) (string, error) {
	head := make([]byte, saltSize, sealedHeader+len(text)+16)
	rand.Read(head)
	head = binary.BigEndian.AppendUint32(head, c.time)
	head = binary.BigEndian.AppendUint32(head, c.memory)
	head = append(head, c.threads)
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	head = append(head, nonce...)
	aead, err := c.aead(passphrase, head[:saltSize])
	if err != nil {
		return "", fmt.Errorf("pool: seal: %w", err)
	}
	box := aead.Seal(head, nonce, []byte(text), append([]byte(sealedPrefix), head...))
	return sealedPrefix + base64.RawStdEncoding.EncodeToString(box), nil
}

// isSealed reports whether text is what seal wrote.
func isSealed(text string) bool { return strings.HasPrefix(text, sealedPrefix) }

// unseal is the reverse of seal.
func unseal(text string, passphrase []byte) (string, error) {
	coded, ok := strings.CutPrefix(strings.TrimSpace(text), sealedPrefix)
	if !ok {
		return "", fmt.Errorf("%w: it is not sealed", ErrBadText)
	}
	box, err := base64.RawStdEncoding.Strict().DecodeString(coded)
	if err != nil || len(box) < sealedHeader+16 {
		return "", fmt.Errorf("%w: sealed file cut short or changed", ErrBadText)
	}
	head := box[:sealedHeader]
	c := cost{
		time: binary.BigEndian.Uint32(head[saltSize:]), memory: binary.BigEndian.Uint32(head[saltSize+4:]),
		threads: head[saltSize+8],
	}
	if c.time == 0 || c.threads == 0 || c.time > maxCost.time || c.memory > maxCost.memory || c.threads > maxCost.threads {
		return "", fmt.Errorf("%w: sealed file asks for %d passes over %d KiB by %d threads", ErrBadText, c.time, c.memory, c.threads)
	}
	if len(passphrase) == 0 {
		return "", ErrPassphrase
	}
	aead, err := c.aead(passphrase, head[:saltSize])
	if err != nil {
		return "", fmt.Errorf("pool: unseal: %w", err)
	}
	plain, err := aead.Open(nil, head[sealedHeader-nonceSize:], box[sealedHeader:], append([]byte(sealedPrefix), head...))
	if err != nil {
		return "", ErrPassphrase
	}
	return string(plain), nil
}

// ReadPassphrase reads a passphrase from a file that only its owner may read: its
// first line.
func ReadPassphrase(path string) ([]byte, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
		return nil, fmt.Errorf("pool: %s: no passphrase in it", path)
	}
	return line, nil
}
