// Package wire reads and writes the bytes of packets.
//
// A [Reader] keeps the first error it meets and from then on returns zeros, so
// that a codec reads a whole header straight through and asks once, at the end,
// whether everything was there. It never allocates by a length it has not
// checked. Writing is done with the append functions of encoding/binary; this
// package adds the few that it lacks.
//
// All integers are big endian (network byte order).
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrShort reports that a packet ended before the field that was read.
var ErrShort = errors.New("wire: packet too short")

// ErrTrailing reports bytes behind the last field of a packet.
var ErrTrailing = errors.New("wire: bytes behind the end")

// Reader reads fields from the front of a byte slice. Its zero value is an
// empty packet. A Reader is not safe for concurrent use.
type Reader struct {
	b   []byte
	off int
	err error
}

// NewReader returns a Reader at the first byte of b. It keeps b, does not copy it.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns the first error met, which wraps [ErrShort], or nil.
func (r *Reader) Err() error { return r.err }

// Fail makes err the Reader's error unless it has one already. A codec calls it
// for values that are there but wrong.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Len returns the number of bytes not yet read; 0 after an error.
func (r *Reader) Len() int {
	if r.err != nil {
		return 0
	}
	return len(r.b) - r.off
}

// Offset returns how many bytes have been read.
func (r *Reader) Offset() int { return r.off }

// Bytes returns the next n bytes without copying them, or nil after an error.
// A negative n is an error.
func (r *Reader) Bytes(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.b)-r.off {
		r.err = fmt.Errorf("%w: want %d bytes at offset %d of %d", ErrShort, n, r.off, len(r.b))
		return nil
	}
	p := r.b[r.off : r.off+n : r.off+n]
	r.off += n
	return p
}

// Rest returns all bytes not yet read, without copying them.
func (r *Reader) Rest() []byte { return r.Bytes(r.Len()) }

// Skip passes over n bytes.
func (r *Reader) Skip(n int) { r.Bytes(n) }

// Uint8 reads one byte.
func (r *Reader) Uint8() uint8 {
	if p := r.Bytes(1); p != nil {
		return p[0]
	}
	return 0
}

// Uint16 reads two bytes.
func (r *Reader) Uint16() uint16 {
	if p := r.Bytes(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if p := r.Bytes(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

// Uint64 reads eight bytes.
func (r *Reader) Uint64() uint64 {
	if p := r.Bytes(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// Uvarint reads an unsigned integer in the encoding of [binary.AppendUvarint].
func (r *Reader) Uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.off:])
	if n <= 0 {
		r.err = fmt.Errorf("%w: bad varint at offset %d", ErrShort, r.off)
		return 0
	}
	r.off += n
	return v
}

// Counted reads a length as [Reader.Uvarint] and then that many bytes, without
// copying them. It fails on a length over limit before it looks at the bytes.
func (r *Reader) Counted(limit int) []byte {
	n := r.Uvarint()
	if r.err == nil && n > uint64(limit) {
		r.err = fmt.Errorf("wire: field of %d bytes, limit %d", n, limit)
	}
	if r.err != nil {
		return nil
	}
	return r.Bytes(int(n))
}

// End fails with [ErrTrailing] when bytes are left, and returns the Reader's error.
func (r *Reader) End() error {
	if r.err == nil && r.off != len(r.b) {
		r.err = fmt.Errorf("%w: %d of %d", ErrTrailing, len(r.b)-r.off, len(r.b))
	}
	return r.err
}

// AppendCounted appends the length of p as a varint and then p: the reverse of
// [Reader.Counted].
func AppendCounted[T ~[]byte | ~string](b []byte, p T) []byte {
	b = binary.AppendUvarint(b, uint64(len(p)))
	return append(b, p...)
}
