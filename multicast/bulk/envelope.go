package bulk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/aether-lan/aether/multicast/seal"
)

// Packet is one datagram.
type Packet struct {
	// From is the sender's address; it is set on what is received.
	From netip.AddrPort
	// To is the receiver's. The zero value is the group.
	To netip.AddrPort
	// Payload is the UDP payload.
	Payload []byte
}

// The first three bytes of every packet: magic, version and whether it is sealed,
// sort.
const (
	magic       = 0xae
	version     = 1
	sealedFlag  = 0x80
	sortControl = 0
	prefixLen   = 3
	// blockHeader is prefix, session (8), section (4) and index (2).
	blockHeader = prefixLen + 14
	tagLen      = 16
)

// Block is a block of a section, or a row of its parity.
type Block struct {
	Session Session
	Section uint32
	// Index is the block's number in its section; of parity, the group's number in
	// the high byte and the row in the low one.
	Index uint16
	// Parity tells which.
	Parity bool
	// Content is the block; parity has always the full length.
	Content []byte
}

// Why an envelope refuses a packet.
var (
	// ErrSealed says that a packet is sealed and there is no secret to open it.
	ErrSealed = errors.New("sealed with a secret")
	// ErrPlain says that a packet is not sealed although there is a secret.
	ErrPlain = errors.New("not sealed")
)

// maxSenders bounds the starts of senders whose replay windows are kept.
const maxSenders = 512

// envelope wraps and opens the packets of one party. Control messages are sealed as
// a chat's are, with a counter. Blocks have a key of their own session and a nonce
// made of their place in it: a block that is sent again is the same packet, so that
// the key and nonce pair never covers two texts, and a replay says nothing new.
type envelope struct {
	secret  *seal.Secret
	sealer  *seal.Sealer
	opener  *seal.Opener
	blocks  cipher.AEAD
	current Session // the session of blocks
}

func newEnvelope(secret *seal.Secret, random io.Reader) (*envelope, error) {
	e := &envelope{secret: secret}
	if secret == nil {
		return e, nil
	}
	var id seal.SenderID
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	var err error
	if e.sealer, err = seal.NewSealer(*secret, id, random); err != nil {
		return nil, fmt.Errorf("bulk: %w", err)
	}
	e.opener = seal.NewOpener(*secret, maxSenders)
	return e, nil
}

// session makes the key of the blocks of the session that o offers.
func (e *envelope) session(o *Offer) error {
	e.current = o.Session
	if e.secret == nil {
		return nil
	}
	key, err := hkdf.Key(sha256.New, e.secret[:], o.Seed[:], "aether bulk v1 blocks", 32)
	if err != nil {
		return fmt.Errorf("bulk: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return fmt.Errorf("bulk: %w", err)
	}
	e.blocks, err = cipher.NewGCM(block)
	return err
}

func (e *envelope) flags() byte {
	if e.secret != nil {
		return version | sealedFlag
	}
	return version
}

// wrap returns the packet of a control message. Only a sealer that has used all its
// counters, after 2^64 packets, makes it fail.
func (e *envelope) wrap(m Message) ([]byte, error) {
	b := []byte{magic, e.flags(), sortControl}
	if e.secret == nil {
		return AppendMessage(b, m), nil
	}
	return e.sealer.Seal(b, AppendMessage(nil, m), b[:prefixLen:prefixLen])
}

// blockLen returns how long the packet of a block of n bytes is.
func (e *envelope) blockLen(n int) int {
	if e.secret != nil {
		return blockHeader + n + tagLen
	}
	return blockHeader + n
}

// appendBlock appends the packet of a block of the envelope's session.
func (e *envelope) appendBlock(b []byte, m *Block) []byte {
	from := len(b)
	sort := byte(KindBlock)
	if m.Parity {
		sort = byte(KindParity)
	}
	b = append(b, magic, e.flags(), sort)
	b = appendUint64(b, uint64(m.Session))
	b = binary.BigEndian.AppendUint32(b, m.Section)
	b = binary.BigEndian.AppendUint16(b, m.Index)
	if e.secret == nil {
		return append(b, m.Content...)
	}
	nonce := blockNonce(b[from:])
	return e.blocks.Seal(b, nonce[:], m.Content, b[from:from+blockHeader])
}

// blockNonce is sort, section and index: once for each text under a session's key.
func blockNonce(header []byte) (nonce [12]byte) {
	nonce[0] = header[2]
	copy(nonce[6:], header[prefixLen+8:blockHeader])
	return nonce
}

// open reads a packet: either m or, for a block, ok of block. It changes p, where
// the content of the block then lies.
func (e *envelope) open(p []byte) (m Message, block Block, err error) {
	if len(p) < prefixLen || p[0] != magic {
		return nil, block, ErrGarbage
	}
	if p[1]&^sealedFlag != version {
		return nil, block, fmt.Errorf("%w: %d", ErrVersion, p[1]&^sealedFlag)
	}
	switch sealed := p[1]&sealedFlag != 0; {
	case sealed && e.secret == nil:
		return nil, block, ErrSealed
	case !sealed && e.secret != nil:
		return nil, block, ErrPlain
	}
	switch p[2] {
	case sortControl:
		m, err = e.openControl(p)
		return m, block, err
	case byte(KindBlock), byte(KindParity):
		block, err = e.openBlock(p)
		return nil, block, err
	}
	return nil, block, ErrGarbage
}

func (e *envelope) openControl(p []byte) (Message, error) {
	if e.secret == nil {
		return ParseMessage(p[prefixLen:])
	}
	text, _, _, err := e.opener.Open(nil, p[prefixLen:], p[:prefixLen])
	if err != nil {
		return nil, err
	}
	return ParseMessage(text)
}

// openBlock opens blocks of the envelope's session; those of others are garbage to it.
func (e *envelope) openBlock(p []byte) (b Block, err error) {
	if len(p) < blockHeader {
		return b, ErrGarbage
	}
	b.Session = Session(binary.BigEndian.Uint64(p[prefixLen:]))
	if b.Session != e.current {
		return b, errOtherSession
	}
	b.Section = binary.BigEndian.Uint32(p[prefixLen+8:])
	b.Index = binary.BigEndian.Uint16(p[prefixLen+12:])
	b.Parity = p[2] == byte(KindParity)
	b.Content = p[blockHeader:]
	if e.secret == nil {
		return b, nil
	}
	if e.blocks == nil {
		return b, errOtherSession
	}
	nonce := blockNonce(p)
	b.Content, err = e.blocks.Open(p[blockHeader:blockHeader], nonce[:], p[blockHeader:], p[:blockHeader])
	if err != nil {
		return b, seal.ErrNotAuthentic
	}
	return b, nil
}

// errOtherSession says that a block is of a session that we are not in.
var errOtherSession = errors.New("of another session")
