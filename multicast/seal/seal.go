package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// The lengths of a sealed packet's parts in bytes.
const (
	idLen      = 16
	startLen   = 32
	counterLen = 8
	headerLen  = idLen + startLen + counterLen
	tagLen     = 16
	nonceLen   = 12

	// Overhead is how many bytes longer a sealed packet is than its plaintext.
	Overhead = headerLen + tagLen
)

// ErrExhausted says that a Sealer has used all its counters. A new one goes on.
var ErrExhausted = errors.New("all counters of this start are used")

// Sealer seals the packets of one sender. It is not safe for concurrent use.
type Sealer struct {
	aead   cipher.AEAD
	header [headerLen]byte // its counter is that of the last packet
	nonce  [nonceLen]byte
	last   uint64
}

// NewSealer starts a sender. It reads the 32 bytes of this start from random, which
// must never give the same bytes twice: crypto/rand.Reader, but for tests. It fails
// when random does.
func NewSealer(secret Secret, id SenderID, random io.Reader) (*Sealer, error) {
	o := origin{id: id}
	if _, err := io.ReadFull(random, o.start[:]); err != nil {
		return nil, fmt.Errorf("seal: new sealer: %w", err)
	}
	var aead cipher.AEAD
	extracted, err := extract(&secret)
	if err == nil {
		aead, err = cipherOf(extracted, &o)
	}
	if err != nil {
		return nil, fmt.Errorf("seal: new sealer: %w", err)
	}
	s := &Sealer{aead: aead}
	copy(s.header[:], id[:])
	copy(s.header[idLen:], o.start[:])
	return s, nil
}

// ID returns the sender's ID.
func (s *Sealer) ID() SenderID { return SenderID(s.header[:idLen]) }

// Seal appends the sealed plaintext to dst, which is [Overhead] bytes longer.
// additional is not sent but must be the same when the packet is opened. dst and
// plaintext must not overlap. It fails with [ErrExhausted] instead of using a
// counter twice.
func (s *Sealer) Seal(dst, plaintext, additional []byte) ([]byte, error) {
	if s.last == math.MaxUint64 {
		return nil, fmt.Errorf("seal: seal: %w", ErrExhausted)
	}
	s.last++
	binary.BigEndian.PutUint64(s.header[idLen+startLen:], s.last)
	binary.BigEndian.PutUint64(s.nonce[nonceLen-counterLen:], s.last)
	dst = append(dst, s.header[:]...)
	return s.aead.Seal(dst, s.nonce[:], plaintext, additional), nil
}
