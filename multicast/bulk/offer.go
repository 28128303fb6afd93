package bulk

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/aether-lan/aether/internal/wire"
)

// Sizes of an object's parts.
const (
	// MaxBlock is the longest block: with 17 bytes of header, 16 of a tag and 28 of
	// UDP and IPv4 it leaves room in an Ethernet frame, also for IPv6.
	MaxBlock = 1408
	// MinBlock is the shortest block.
	MinBlock = 64
	// SectionBlocks is how many blocks a section has, the last one's excepted.
	SectionBlocks = 1024
	// GroupBlocks is how many blocks share parity.
	GroupBlocks = 64
	// Groups of a section: block i is in group i mod Groups, so that a burst of
	// losses falls on all groups.
	Groups = SectionBlocks / GroupBlocks
)

// Object is what is sent: a run of bytes with a name.
type Object struct {
	// Name is a file name without directories.
	Name string
	// Size in bytes.
	Size int64
	// Root is the Merkle root over the hashes of the sections.
	Root [32]byte
	// Block is how many bytes a block has, the last one's excepted.
	Block int
}

// SectionSize returns how many bytes a section has, the last one excepted.
func (o Object) SectionSize() int { return o.Block * SectionBlocks }

// Sections returns how many sections o has; an empty object has one, empty.
func (o Object) Sections() int {
	n := int64(o.SectionSize())
	return int(max(1, (o.Size+n-1)/n))
}

// Length returns how many bytes section s has.
func (o Object) Length(s int) int {
	n := int64(o.SectionSize())
	return int(max(0, min(n, o.Size-int64(s)*n)))
}

// Offset returns where section s begins.
func (o Object) Offset(s int) int64 { return int64(s) * int64(o.SectionSize()) }

// Blocks returns how many blocks section s has.
func (o Object) Blocks(s int) int { return (o.Length(s) + o.Block - 1) / o.Block }

// BlockLength returns how many bytes block b of section s has.
func (o Object) BlockLength(s, b int) int { return max(0, min(o.Block, o.Length(s)-b*o.Block)) }

// check says what is wrong with an offered object.
func (o Object) check() error {
	switch {
	case o.Block < MinBlock || o.Block > MaxBlock:
		return fmt.Errorf("bulk: block of %d bytes, want %d to %d", o.Block, MinBlock, MaxBlock)
	case o.Size < 0 || o.Size/int64(o.SectionSize()) >= maxSections:
		return fmt.Errorf("bulk: object of %d bytes is too large for blocks of %d", o.Size, o.Block)
	}
	return CheckName(o.Name)
}

// CheckName says what is wrong with the name of an object: it must be one file
// name that every system takes, so that it cannot leave a directory, be hidden in
// it or be a device.
func CheckName(name string) error {
	stem, _, _ := strings.Cut(strings.ToUpper(name), ".")
	stem = strings.TrimRight(stem, " ")
	device := len(stem) == 4 && (stem[:3] == "COM" || stem[:3] == "LPT") && stem[3] >= '0' && stem[3] <= '9'
	switch {
	case name == "" || len(name) > maxName-len(stateSuffix):
		return fmt.Errorf("bulk: a name of %d bytes", len(name))
	case !utf8.ValidString(name):
		return fmt.Errorf("bulk: the name %q is not UTF-8", name)
	case strings.ContainsAny(name, `/\:*?"<>|`) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("bulk: the name %q has characters that a file name must not have", name)
	case name[0] == '.' || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("bulk: the name %q begins or ends with what a file name must not", name)
	case device || stem == "CON" || stem == "PRN" || stem == "AUX" || stem == "NUL":
		return fmt.Errorf("bulk: the name %q is a device on some systems", name)
	case strings.HasSuffix(name, partSuffix) || strings.HasSuffix(name, stateSuffix):
		return fmt.Errorf("bulk: the name %q is one of unfinished files", name)
	}
	return nil
}

// Offer announces an object. It is signed, and repeated while the transfer lasts.
type Offer struct {
	Session Session
	Object
	// Seed is what the key of the blocks is derived from when the transfer is sealed.
	Seed [32]byte
	// From is where the sender hears receivers, Pull its TCP port for sections.
	From netip.AddrPort
	Pull uint16
	// Group is where blocks go.
	Group netip.AddrPort
	// Receivers is how many the sender waits for.
	Receivers uint16
	// Key is the sender's Ed25519 public key; Signature is over all the rest.
	Key       [ed25519.PublicKeySize]byte
	Signature [ed25519.SignatureSize]byte
}

// The contexts keep a signature of one message from being one of another.
const (
	offerContext = "aether bulk offer 1\x00"
	closeContext = "aether bulk close 1\x00"
)

func (m Offer) unsigned(b []byte) []byte {
	b = appendUint64(b, uint64(m.Session))
	b = wire.AppendCounted(b, m.Name)
	b = appendUint64(b, uint64(m.Size))
	b = append(b, m.Root[:]...)
	b = binary.BigEndian.AppendUint16(b, uint16(m.Block))
	b = append(b, m.Seed[:]...)
	b = appendAddrPort(b, m.From)
	b = binary.BigEndian.AppendUint16(b, m.Pull)
	b = appendAddrPort(b, m.Group)
	b = binary.BigEndian.AppendUint16(b, m.Receivers)
	return append(b, m.Key[:]...)
}

func (m Offer) append(b []byte) []byte { return append(m.unsigned(b), m.Signature[:]...) }

func readOffer(r *wire.Reader) Message {
	m := Offer{Session: Session(r.Uint64())}
	m.Name = string(r.Counted(maxName))
	m.Size = int64(r.Uint64())
	copy(m.Root[:], r.Bytes(32))
	m.Block = int(r.Uint16())
	copy(m.Seed[:], r.Bytes(32))
	m.From, m.Pull = readAddrPort(r), r.Uint16()
	m.Group, m.Receivers = readAddrPort(r), r.Uint16()
	copy(m.Key[:], r.Bytes(len(m.Key)))
	copy(m.Signature[:], r.Bytes(len(m.Signature)))
	return m
}

// Sign returns m with key's public half and signature.
func (m Offer) Sign(key ed25519.PrivateKey) Offer {
	copy(m.Key[:], key.Public().(ed25519.PublicKey))
	copy(m.Signature[:], ed25519.Sign(key, m.unsigned([]byte(offerContext))))
	return m
}

// Verify says whether m is signed by the key in it and offers what can be had.
func (m Offer) Verify() error {
	if !ed25519.Verify(m.Key[:], m.unsigned([]byte(offerContext)), m.Signature[:]) {
		return fmt.Errorf("bulk: offer of %q: the signature is wrong", m.Name)
	}
	if !m.From.IsValid() || m.From.Port() == 0 || m.From.Addr().IsMulticast() || !m.Group.Addr().IsMulticast() {
		return fmt.Errorf("bulk: offer of %q: addresses %v and %v", m.Name, m.From, m.Group)
	}
	return m.check()
}

// Close ends a session for those who still listen. It is signed as the offer was.
type Close struct {
	Session   Session
	Text      string
	Signature [ed25519.SignatureSize]byte
}

func (m Close) unsigned(b []byte) []byte {
	return wire.AppendCounted(appendUint64(b, uint64(m.Session)), m.Text)
}

func (m Close) append(b []byte) []byte { return append(m.unsigned(b), m.Signature[:]...) }

func readClose(r *wire.Reader) Message {
	m := Close{Session: Session(r.Uint64()), Text: string(r.Counted(maxText))}
	copy(m.Signature[:], r.Bytes(len(m.Signature)))
	return m
}

// Sign returns m with key's signature.
func (m Close) Sign(key ed25519.PrivateKey) Close {
	copy(m.Signature[:], ed25519.Sign(key, m.unsigned([]byte(closeContext))))
	return m
}

// Verify says whether m is signed by key.
func (m Close) Verify(key []byte) bool {
	return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, m.unsigned([]byte(closeContext)), m.Signature[:])
}

// The ends of the names of an unfinished file and of its state.
const (
	partSuffix  = ".aether-part"
	stateSuffix = ".aether-state"
)
