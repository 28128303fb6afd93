package chat

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/aether-lan/aether/multicast/seal"
)

const (
	magic = "AEC1" // aether chat, version 1
	// tagLen is the length of the hash that tells rooms of one group apart.
	tagLen      = 8
	envelopeLen = len(magic) + 1 + tagLen
	markOpen    = 0
	markSealed  = 1
	maxDatagram = 1280 - 48 // of IPv6's least MTU, RFC 8200 section 5, what IP and UDP leave
)

// What can be wrong with a datagram, beside what package seal says.
var (
	errForeign = errors.New("of another room or protocol")
	errMark    = errors.New("of a room of this name with a passphrase, or without")
	errOwn     = errors.New("own")
)

// envelope puts packets into datagrams and takes them out again. In a sealed room
//
//	"AEC1" ‖ 1 ‖ hash of the room's name (8) ‖ sealed packet
//
// and in an open one
//
//	"AEC1" ‖ 0 ‖ hash of the room's name (8) ‖ sender (16) ‖ packet
//
// All before the sealed packet is authenticated with it.
type envelope struct {
	self   MemberID
	header [envelopeLen]byte
	sealer *seal.Sealer // nil in an open room
	opener *seal.Opener
	plain  []byte
}

// newEnvelope draws the member's ID, and in a sealed room its start, from random.
func newEnvelope(room string, secret *seal.Secret, members int, random io.Reader) (*envelope, error) {
	e := &envelope{}
	if _, err := io.ReadFull(random, e.self[:]); err != nil {
		return nil, fmt.Errorf("random bytes: %w", err)
	}
	tag := sha256.Sum256([]byte("aether chat room\x00" + room))
	copy(e.header[:], magic)
	copy(e.header[len(magic)+1:], tag[:tagLen])
	if secret == nil {
		return e, nil
	}
	e.header[len(magic)] = markSealed
	// Twice the members: some have just restarted, and have two starts.
	e.opener = seal.NewOpener(*secret, 2*members)
	var err error
	e.sealer, err = seal.NewSealer(*secret, e.self, random)
	return e, err
}

func (e *envelope) sealed() bool { return e.sealer != nil }

// wrap makes the datagram that carries p.
func (e *envelope) wrap(p packet) ([]byte, error) {
	e.plain = p.append(e.plain[:0])
	b := make([]byte, 0, envelopeLen+seal.Overhead+len(e.plain))
	b = append(b, e.header[:]...)
	if e.sealer == nil {
		b = append(b, e.self[:]...)
		return append(b, e.plain...), nil
	}
	return e.sealer.Seal(b, e.plain, e.header[:])
}

// unwrap returns the packet in a datagram and its sender. In an open room the
// sender is whoever it says.
func (e *envelope) unwrap(b []byte) (packet, MemberID, error) {
	mark := len(magic)
	switch {
	case len(b) < envelopeLen+len(MemberID{}) || !bytes.Equal(b[:mark], e.header[:mark]) || !bytes.Equal(b[mark+1:envelopeLen], e.header[mark+1:]):
		return nil, MemberID{}, errForeign
	case b[mark] != e.header[mark]:
		return nil, MemberID{}, errMark
	}
	from, plain := MemberID(b[envelopeLen:]), b[envelopeLen+len(MemberID{}):]
	if from == e.self { // heard by our own socket, or forged
		return nil, from, errOwn
	}
	if e.opener != nil {
		var err error
		if plain, _, _, err = e.opener.Open(nil, b[envelopeLen:], e.header[:]); err != nil {
			return nil, from, err
		}
	}
	p, err := parse(plain)
	return p, from, err
}
