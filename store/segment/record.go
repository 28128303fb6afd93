package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/aether-lan/aether/store"
)

// ErrCorrupt reports a record that is not what was written: bit rot.
var ErrCorrupt = errors.New("segment: corrupt record")

// Class says why a chunk is kept.
type Class uint8

// The classes.
const (
	// Replica is a chunk that this machine has promised to keep.
	Replica Class = 1
	// Cache is a chunk that is kept while there is room.
	Cache Class = 2
)

const (
	headerSize    = 48
	recordVersion = 1
	// MaxBody is the largest body in bytes.
	MaxBody = 16 << 20
)

var magic = [4]byte{'a', 'S', 'E', 'G'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the part of a record before its body.
type header struct {
	class  Class
	length uint32
	ref    store.Ref
	sum    uint32
}

// appendHeader appends the header of the record of body.
func appendHeader(b []byte, ref store.Ref, class Class, body []byte) []byte {
	start := len(b)
	b = append(b, magic[:]...)
	b = append(b, recordVersion, byte(class), 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, ref[:]...)
	sum := crc32.Update(crc32.Checksum(b[start:], castagnoli), castagnoli, body)
	return binary.BigEndian.AppendUint32(b, sum)
}

// parseHeader reads a header; b has headerSize bytes.
func parseHeader(b []byte) (h header, err error) {
	if [4]byte(b[:4]) != magic || b[4] != recordVersion || b[6] != 0 || b[7] != 0 {
		return h, fmt.Errorf("%w: not a record", ErrCorrupt)
	}
	h = header{class: Class(b[5]), length: binary.BigEndian.Uint32(b[8:]), ref: store.Ref(b[12:44]), sum: binary.BigEndian.Uint32(b[44:])}
	if h.class != Replica && h.class != Cache || h.length > MaxBody {
		return h, fmt.Errorf("%w: class %d, %d bytes", ErrCorrupt, h.class, h.length)
	}
	return h, nil
}

// parseRecord checks a whole record and returns its body, which lies in b.
func parseRecord(b []byte) (header, []byte, error) {
	if len(b) < headerSize {
		return header{}, nil, fmt.Errorf("%w: cut off", ErrCorrupt)
	}
	h, err := parseHeader(b[:headerSize])
	if err != nil {
		return h, nil, err
	}
	body := b[headerSize:]
	if int(h.length) != len(body) {
		return h, nil, fmt.Errorf("%w: %d bytes where %d belong", ErrCorrupt, len(body), h.length)
	}
	if crc32.Update(crc32.Checksum(b[:44], castagnoli), castagnoli, body) != h.sum {
		return h, nil, fmt.Errorf("%w: wrong checksum", ErrCorrupt)
	}
	return h, body, nil
}

// scan calls f for each record of a segment file of the given size, until f or the
// file ends, or a record is met that cannot be read: what is behind it cannot be
// found. body is f's only until it returns.
func scan(r io.ReaderAt, size int64, f func(off int64, h header, body []byte) error) error {
	buf := make([]byte, headerSize)
	for off := int64(0); off < size; {
		if size-off < headerSize {
			return fmt.Errorf("%w: cut off at %d", ErrCorrupt, off)
		}
		if _, err := r.ReadAt(buf[:headerSize], off); err != nil {
			return fmt.Errorf("segment: read at %d: %w", off, err)
		}
		h, err := parseHeader(buf[:headerSize])
		if err != nil {
			return fmt.Errorf("%w at %d", err, off)
		}
		n := headerSize + int(h.length)
		if size-off < int64(n) {
			return fmt.Errorf("%w: cut off at %d", ErrCorrupt, off)
		}
		if cap(buf) < n {
			buf = append(make([]byte, 0, 2*n), buf...)
		}
		buf = buf[:n]
		if _, err := r.ReadAt(buf, off); err != nil {
			return fmt.Errorf("segment: read at %d: %w", off, err)
		}
		_, body, err := parseRecord(buf)
		if err != nil {
			return fmt.Errorf("%w at %d", err, off)
		}
		if err := f(off, h, body); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}
