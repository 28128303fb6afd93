package chat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/aether-lan/aether/internal/wire"
	"github.com/aether-lan/aether/multicast/seal"
)

// MemberID names one start of a member: 16 random bytes. Who leaves and comes back
// has another one.
type MemberID = seal.SenderID

const (
	// pieceSize is how many bytes of a message every piece but the last carries.
	// With all headers a datagram stays below 1,280 bytes, the least MTU of IPv6
	// (RFC 8200 section 5), so that no link fragments it.
	pieceSize = 1000
	maxPieces = 64
	// maxBody is the longest message with its stamp, time and name.
	maxBody = maxPieces * pieceSize
	// MaxText is the longest text of one message in bytes.
	MaxText = maxBody - maxNameLen - 32
	// maxClaims bounds the entries of one hello, and maxWants those of a request.
	maxClaims = 48
	maxWants  = 32
	// maxWantCount bounds how many messages one entry of a request asks for.
	maxWantCount = 64
	// maxSequence keeps sums of sequences far from overflow.
	maxSequence = math.MaxUint64 >> 2
	// maxSent is the year 9999 in milliseconds.
	maxSent = 253402300799999
)

// errType says that a packet is of a type this version does not know.
var errType = errors.New("unknown type")

// packet is what members say to each other, before it is sealed: a [hello], a
// [goodbye], a [piece] or a [request].
type packet interface {
	// append writes the packet behind b.
	append(b []byte) []byte
}

// The types of packets, their first byte.
const (
	typeHello = iota + 1
	typeGoodbye
	typePiece
	typeRequest
)

// The flags of a hello.
const (
	flagNew  = 1 << iota // the sender has just come: answer with a hello
	flagSure             // the sender wants to know what arrived: answer with a hello
)

// hello says that the sender is here, and what it has.
//
//	1 ‖ flags (1) ‖ beat (varint) ‖ interval in ms (varint) ‖ name (counted) ‖ count (varint) ‖ claims
type hello struct {
	flags    uint8
	beat     uint64 // grows with each hello and goodbye of the sender
	interval uint64 // until the next hello, in milliseconds
	name     string
	claims   []claim
}

// claim says which messages of an author the sender of the hello has, and that it
// has heard of the author at all.
//
//	author (16) ‖ low, delivered, high (varints)
type claim struct {
	author MemberID
	// low to high is what can be asked for, with few holes; low > high is nothing.
	low, high uint64
	// delivered is up to where the sender has shown the messages to its user.
	delivered uint64
}

// goodbye says that the sender leaves.
//
//	2 ‖ beat (varint)
type goodbye struct{ beat uint64 }

// piece is one part of a message; most messages have one. Members repeat each
// other's pieces when one is asked for.
//
//	3 ‖ author (16) ‖ sequence (varint) ‖ index (1) ‖ count (1) ‖ bytes
type piece struct {
	author   MemberID
	sequence uint64 // from 1
	index    uint8
	count    uint8
	bytes    []byte
}

// request asks whoever has them for pieces.
//
//	4 ‖ count (varint) ‖ wants
type request struct{ wants []want }

// want is what a request asks for: count messages of an author in a row.
//
//	author (16) ‖ first (varint) ‖ count (varint) ‖ pieces (8)
type want struct {
	author MemberID
	first  uint64
	count  uint64
	// pieces has a bit for each piece wanted, when count is 1.
	pieces uint64
}

func (h *hello) append(b []byte) []byte {
	b = append(b, typeHello, h.flags)
	b = binary.AppendUvarint(b, h.beat)
	b = binary.AppendUvarint(b, h.interval)
	b = wire.AppendCounted(b, h.name)
	b = binary.AppendUvarint(b, uint64(len(h.claims)))
	for _, c := range h.claims {
		b = c.append(b)
	}
	return b
}

func (c *claim) append(b []byte) []byte {
	b = append(b, c.author[:]...)
	b = binary.AppendUvarint(b, c.low)
	b = binary.AppendUvarint(b, c.delivered)
	return binary.AppendUvarint(b, c.high)
}

func (g *goodbye) append(b []byte) []byte {
	return binary.AppendUvarint(append(b, typeGoodbye), g.beat)
}

func (p *piece) append(b []byte) []byte {
	b = append(b, typePiece)
	b = append(b, p.author[:]...)
	b = binary.AppendUvarint(b, p.sequence)
	b = append(b, p.index, p.count)
	return append(b, p.bytes...)
}

func (q *request) append(b []byte) []byte {
	b = append(b, typeRequest)
	b = binary.AppendUvarint(b, uint64(len(q.wants)))
	for _, w := range q.wants {
		b = append(b, w.author[:]...)
		b = binary.AppendUvarint(b, w.first)
		b = binary.AppendUvarint(b, w.count)
		b = binary.BigEndian.AppendUint64(b, w.pieces)
	}
	return b
}

// parse reads one packet. What it returns refers to b.
func parse(b []byte) (packet, error) {
	r := wire.NewReader(b)
	var p packet
	switch t := r.Uint8(); t {
	case typeHello:
		p = parseHello(r)
	case typeGoodbye:
		p = &goodbye{beat: r.Uvarint()}
	case typePiece:
		p = parsePiece(r)
	case typeRequest:
		p = parseRequest(r)
	default:
		r.Fail(fmt.Errorf("%w %d", errType, t))
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("chat: parse: %w", err)
	}
	return p, nil
}

func readID(r *wire.Reader) (id MemberID) {
	copy(id[:], r.Bytes(len(id)))
	return id
}

// readSequence reads a sequence of which sums cannot overflow.
func readSequence(r *wire.Reader) uint64 {
	n := r.Uvarint()
	if n > maxSequence {
		r.Fail(fmt.Errorf("sequence %d is beyond the end", n))
	}
	return n
}

// readCount reads how many entries follow, at most limit of at least size bytes.
func readCount(r *wire.Reader, limit, size int) int {
	n := r.Uvarint()
	if n > uint64(limit) || n*uint64(size) > uint64(r.Len()) {
		r.Fail(fmt.Errorf("%d entries in %d bytes", n, r.Len()))
		return 0
	}
	return int(n)
}

func parseHello(r *wire.Reader) *hello {
	h := &hello{flags: r.Uint8(), beat: r.Uvarint(), interval: r.Uvarint(), name: string(r.Counted(maxNameLen))}
	for range readCount(r, maxClaims, 19) {
		c := claim{author: readID(r), low: readSequence(r), delivered: readSequence(r)}
		c.high = readSequence(r)
		h.claims = append(h.claims, c)
	}
	return h
}

func parsePiece(r *wire.Reader) *piece {
	p := &piece{author: readID(r), sequence: readSequence(r), index: r.Uint8(), count: r.Uint8(), bytes: r.Rest()}
	switch {
	case r.Err() != nil:
	case p.sequence == 0 || p.count == 0 || p.count > maxPieces || p.index >= p.count:
		r.Fail(fmt.Errorf("piece %d of %d of message %d", p.index, p.count, p.sequence))
	case len(p.bytes) == 0 || len(p.bytes) > pieceSize || p.index < p.count-1 && len(p.bytes) != pieceSize:
		r.Fail(fmt.Errorf("piece of %d bytes", len(p.bytes)))
	}
	return p
}

func parseRequest(r *wire.Reader) *request {
	q := &request{}
	for range readCount(r, maxWants, 26) {
		w := want{author: readID(r), first: readSequence(r), count: r.Uvarint(), pieces: r.Uint64()}
		if w.count == 0 || w.count > maxWantCount {
			r.Fail(fmt.Errorf("request for %d messages", w.count))
		}
		q.wants = append(q.wants, w)
	}
	return q
}

// body is a message as its pieces carry it.
//
//	kind (1) ‖ stamp (varint) ‖ sent, ms since 1970 (varint) ‖ name (counted) ‖ text
type body struct {
	kind  Kind
	stamp uint64
	sent  uint64
	name  string
	text  string
}

func (m *body) append(b []byte) []byte {
	b = append(b, byte(m.kind))
	b = binary.AppendUvarint(b, m.stamp)
	b = binary.AppendUvarint(b, m.sent)
	b = wire.AppendCounted(b, m.name)
	return append(b, m.text...)
}

func parseBody(b []byte) (m body, err error) {
	r := wire.NewReader(b)
	m = body{kind: Kind(r.Uint8()), stamp: r.Uvarint(), sent: r.Uvarint(), name: string(r.Counted(maxNameLen)), text: string(r.Rest())}
	if m.kind > KindAction {
		r.Fail(fmt.Errorf("message of kind %d", m.kind))
	}
	if m.sent > maxSent || m.stamp > maxSequence {
		r.Fail(fmt.Errorf("message of the instant %d, stamp %d", m.sent, m.stamp))
	}
	if err := r.End(); err != nil {
		return body{}, fmt.Errorf("chat: parse message: %w", err)
	}
	return m, nil
}
