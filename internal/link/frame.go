package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrGarbage reports bytes that are no frame, or a frame that has no place here.
var ErrGarbage = errors.New("link: malformed frame")

// kind is what a frame is for.
type kind uint8

const (
	kindHello    kind = 1 // the first frame each way; body: see hello
	kindRequest  kind = 2 // method, header, body; answered on the same stream
	kindOneWay   kind = 3 // like a request; the answer is empty
	kindResponse kind = 4 // header, body
	kindError    kind = 5 // method: the code; body: text
	kindCancel   kind = 6 // nobody waits for the answer on this stream any more
	kindPing     kind = 7 // a sign of life; method 1 wants one in return
	kindDoubt    kind = 8 // body: a doubtMessage
)

// prefixLen is the size of a frame without header and body.
const prefixLen = 16

// frame is one frame. header and body alias the buffer they were read into.
type frame struct {
	kind   kind
	method uint16
	stream uint32
	header []byte
	body   []byte
}

// bounds are the largest header and body that a reader accepts.
type bounds struct{ header, body int }

// appendPrefix appends all of f but the body.
func (f *frame) appendPrefix(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(prefixLen-4+len(f.header)+len(f.body)))
	b = append(b, byte(f.kind), 0)
	b = binary.BigEndian.AppendUint16(b, f.method)
	b = binary.BigEndian.AppendUint32(b, f.stream)
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.header)))
	return append(b, f.header...)
}

// parsePrefix reads the first 16 bytes of a frame and returns the sizes of its
// header and body, which are within max.
func parsePrefix(p *[prefixLen]byte, max bounds) (f frame, header, body int, err error) {
	length := int64(binary.BigEndian.Uint32(p[0:]))
	f.kind = kind(p[4])
	f.method = binary.BigEndian.Uint16(p[6:])
	f.stream = binary.BigEndian.Uint32(p[8:])
	h := int64(binary.BigEndian.Uint32(p[12:]))
	b := length - (prefixLen - 4) - h
	switch {
	case f.kind < kindHello || f.kind > kindDoubt:
		err = fmt.Errorf("%w: kind %d", ErrGarbage, p[4])
	case p[5] != 0:
		err = fmt.Errorf("%w: flags %#x", ErrGarbage, p[5])
	case h > int64(max.header):
		err = fmt.Errorf("%w: header of %d bytes, limit %d", ErrGarbage, h, max.header)
	case b < 0:
		err = fmt.Errorf("%w: length %d too small for header of %d", ErrGarbage, length, h)
	case b > int64(max.body):
		err = fmt.Errorf("%w: body of %d bytes, limit %d", ErrGarbage, b, max.body)
	case f.kind == kindDoubt && (h != 0 || b > int64(peerIDLen*(1+maxTold)) || b%int64(peerIDLen) != 0 || b == 0):
		err = fmt.Errorf("%w: a doubt of %d bytes", ErrGarbage, h+b)
	case (f.kind == kindCancel || f.kind == kindPing) && h+b != 0:
		err = fmt.Errorf("%w: kind %d with %d bytes", ErrGarbage, f.kind, h+b)
	}
	return f, int(h), int(b), err
}

// readFrame reads one frame. The buffer behind header and body comes from the
// pool; it is nil for an empty frame and the caller's to release.
func readFrame(r io.Reader, prefix *[prefixLen]byte, max bounds) (frame, *buffer, error) {
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return frame{}, nil, err
	}
	f, h, b, err := parsePrefix(prefix, max)
	if err != nil || h+b == 0 {
		return f, nil, err
	}
	buf := newBuffer(h + b)
	if _, err := io.ReadFull(r, buf.b); err != nil {
		buf.release()
		return f, nil, noEOF(err)
	}
	f.header, f.body = buf.b[:h:h], buf.b[h:]
	return f, buf, nil
}

// noEOF turns an end in the middle of something into an error.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// buffer holds the bytes of one received frame.
type buffer struct {
	b    []byte
	pool *sync.Pool // nil for a size that is not kept
}

// bufferSizes are the sizes kept for reuse, each a little over a round number so
// that a chunk fits together with its header.
var bufferSizes = [...]int{2 << 10, 20 << 10, 80 << 10, 272 << 10, 1<<20 + 64<<10, 4<<20 + 64<<10}

var bufferPools [len(bufferSizes)]sync.Pool

func newBuffer(n int) *buffer {
	for i, size := range bufferSizes {
		if n > size {
			continue
		}
		if p, _ := bufferPools[i].Get().(*buffer); p != nil {
			p.b = p.b[:n]
			return p
		}
		return &buffer{b: make([]byte, n, size), pool: &bufferPools[i]}
	}
	return &buffer{b: make([]byte, n)}
}

func (b *buffer) release() {
	if b != nil && b.pool != nil {
		b.pool.Put(b)
	}
}

// hello is the body of the first frame in each direction.
type hello struct {
	// serves is how many requests of the other end are served at a time.
	serves uint32
	// header and body are the largest that this end accepts.
	header, body uint32
	// serial orders the connections that one machine dials: the greatest is the
	// newest. Zero from a listener.
	serial uint64
	// features are what this end can do beyond the first version.
	features uint32
}

// featureVigil is the feature of an end that answers pings, takes doubts, and does
// not ping by itself.
const featureVigil = 1

const helloLen = 20

func (h hello) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, h.serves)
	b = binary.BigEndian.AppendUint32(b, h.header)
	b = binary.BigEndian.AppendUint32(b, h.body)
	b = binary.BigEndian.AppendUint64(b, h.serial)
	if h.features != 0 {
		b = binary.BigEndian.AppendUint32(b, h.features)
	}
	return b
}

// peerIDLen is the length of a PeerID.
const peerIDLen = len(PeerID{})

// pingAsks is the method of a ping that wants one in return.
const pingAsks = 1

// append appends the body of a doubt.
func (d *doubtMessage) append(b []byte) []byte {
	b = append(b, d.About[:]...)
	for _, id := range d.Told {
		b = append(b, id[:]...)
	}
	return b
}

// parseDoubt reads the body of a doubt: one ID and more, whole ones.
func parseDoubt(b []byte) (d doubtMessage, err error) {
	if len(b) == 0 || len(b)%peerIDLen != 0 || len(b) > peerIDLen*(1+maxTold) {
		return d, fmt.Errorf("%w: a doubt of %d bytes", ErrGarbage, len(b))
	}
	d.About = PeerID(b[:peerIDLen])
	for b = b[peerIDLen:]; len(b) > 0; b = b[peerIDLen:] {
		d.Told = append(d.Told, PeerID(b[:peerIDLen]))
	}
	return d, nil
}

// parseHello reads a hello. Bytes behind the known fields are for later versions.
func parseHello(b []byte) (hello, error) {
	if len(b) < helloLen {
		return hello{}, fmt.Errorf("%w: hello of %d bytes", ErrGarbage, len(b))
	}
	h := hello{
		serves: binary.BigEndian.Uint32(b[0:]),
		header: binary.BigEndian.Uint32(b[4:]),
		body:   binary.BigEndian.Uint32(b[8:]),
		serial: binary.BigEndian.Uint64(b[12:]),
	}
	if len(b) >= helloLen+4 {
		h.features = binary.BigEndian.Uint32(b[helloLen:])
	}
	if h.serves == 0 {
		return hello{}, fmt.Errorf("%w: hello of a peer that serves nothing", ErrGarbage)
	}
	return h, nil
}
