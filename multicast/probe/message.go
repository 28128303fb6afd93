package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/internal/wire"
)

// Packet is a UDP payload with its addresses.
type Packet struct {
	Data []byte
	// From is the sender of a received packet; it is not set in one to be sent.
	From netip.AddrPort
	// To is the destination: a group, or an address of a host.
	To netip.AddrPort
	// HopLimit is the TTL or hop limit that a received packet arrived with, 0 where
	// unknown.
	HopLimit int
	// Received is when the system received it. Zero means when the engine got it.
	Received time.Time
}

// The wire format, all integers in network byte order. A message may be followed by
// any number of bytes, which are ignored: they make packets as long as wanted.
//
//	 0  4  "aemp"
//	 4  1  version, 1
//	 5  1  kind
//	 6  1  hop limit with which the message was sent
//	 7  1  path: how the message was sent, 0 unicast, 1 multicast
//	 8  6  epoch of the sender, milliseconds since 1970
//	14  6  identity of the sender, random
//	20  4  interval between two messages, microseconds
//	24  8  number of the message, from 1; in an end, how many there were
//	32  8  instant of sending by the sender's clock, nanoseconds since 1970
//	40     in an answer only:
//	40  6  epoch of who asked
//	46  6  identity of who asked
//	52  1  path of the question
//	53  1  hops that the question took, 255 unknown
//	54  2  0
const (
	headerLen  = 40
	messageLen = 56 // of questions and answers: an answer is no longer than its question
	version    = 1
)

const magic = "aemp"

// MinBytes is the length of the shortest test datagram in bytes.
const MinBytes = headerLen

// MaxBytes is the length of the longest in bytes, which IP will fragment.
const MaxBytes = 65507

// kind is what a message is.
type kind uint8

const (
	kindTest   kind = 1 // one of a stream
	kindEnd    kind = 2 // a stream has ended
	kindAsk    kind = 3
	kindAnswer kind = 4
	kindBye    kind = 5 // answers will not come any more
)

// origin names one run of one sender.
type origin struct {
	epoch uint64 // 48 bits
	id    uint64 // 48 bits
}

const bits48 = 1<<48 - 1

// newOrigin cuts its arguments to what the wire carries.
func newOrigin(start time.Time, id uint64) origin {
	return origin{epoch: uint64(start.UnixMilli()) & bits48, id: id & bits48}
}

// start is the instant that the epoch stands for.
func (o origin) start() time.Time { return time.UnixMilli(int64(o.epoch)).UTC() }

// message is what a packet says.
type message struct {
	kind     kind
	hopLimit uint8
	path     uint8
	from     origin
	interval time.Duration // whole microseconds, below 2^32
	seq      uint64
	sent     int64 // nanoseconds since 1970
	echo     echo  // of an answer
}

// echo is what an answer says of the question.
type echo struct {
	asker origin
	path  uint8
	hops  uint8
}

const unknownHops = 255

// errForeign says that a packet is of another program.
var errForeign = errors.New("probe: not a message of ours")

// errMessage says that a packet claims to be ours and makes no sense.
var errMessage = errors.New("probe: malformed message")

// parseMessage reads a message. It returns an error that wraps errForeign or
// errMessage.
func parseMessage(b []byte) (m message, err error) {
	if len(b) < len(magic) || string(b[:len(magic)]) != magic {
		return m, errForeign
	}
	r := wire.NewReader(b[len(magic):])
	v := r.Uint8()
	m.kind, m.hopLimit, m.path = kind(r.Uint8()), r.Uint8(), r.Uint8()
	m.from = origin{uint48(r), uint48(r)}
	m.interval = time.Duration(r.Uint32()) * time.Microsecond
	m.seq, m.sent = r.Uint64(), int64(r.Uint64())
	if m.kind == kindAnswer {
		m.echo.asker = origin{uint48(r), uint48(r)}
		m.echo.path, m.echo.hops = r.Uint8(), r.Uint8()
		r.Skip(2)
	}
	switch {
	case r.Err() != nil:
		return m, fmt.Errorf("%w: %w", errMessage, r.Err())
	case v != version:
		return m, fmt.Errorf("%w: version %d", errMessage, v)
	case m.kind < kindTest || m.kind > kindBye:
		return m, fmt.Errorf("%w: kind %d", errMessage, m.kind)
	case m.path > 1 || m.echo.path > 1:
		return m, fmt.Errorf("%w: path", errMessage)
	case m.seq == 0 && (m.kind == kindTest || m.kind == kindAsk || m.kind == kindAnswer):
		return m, fmt.Errorf("%w: number 0", errMessage)
	}
	return m, nil
}

func uint48(r *wire.Reader) uint64 {
	return uint64(r.Uint16())<<32 | uint64(r.Uint32())
}

// append appends m's wire form, followed by zeros up to a length of size.
func (m message) append(b []byte, size int) []byte {
	begin := len(b)
	b = append(b, magic...)
	b = append(b, version, byte(m.kind), m.hopLimit, m.path)
	b = append48(append48(b, m.from.epoch), m.from.id)
	b = binary.BigEndian.AppendUint32(b, uint32(m.interval/time.Microsecond))
	b = binary.BigEndian.AppendUint64(b, m.seq)
	b = binary.BigEndian.AppendUint64(b, uint64(m.sent))
	if m.kind == kindAnswer {
		b = append48(append48(b, m.echo.asker.epoch), m.echo.asker.id)
		b = append(b, m.echo.path, m.echo.hops, 0, 0)
	}
	if n := size - (len(b) - begin); n > 0 {
		b = append(b, make([]byte, n)...)
	}
	return b
}

func append48(b []byte, v uint64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(v>>32)), uint32(v))
}
