package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/aether-lan/aether/internal/wire"
	"github.com/aether-lan/aether/store"
)

// ErrCorrupt reports a record on disk that is not what was put there.
var ErrCorrupt = errors.New("segment: corrupt record")

// MaxBody is the greatest length of a body in bytes.
const MaxBody = 8 << 20

const (
	recordMagic = 0x41456368 // "AEch"
	headSize    = 48
	crcAt       = 12
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Class says why a body is kept.
type Class uint8

const (
	// Replica is kept until it is deleted.
	Replica Class = iota
	// Cache is evicted, oldest first, when room is needed.
	Cache
	classes
)

// String returns the word that people see.
func (c Class) String() string {
	switch c {
	case Replica:
		return "replica"
	case Cache:
		return "cache"
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// recordHead returns what stands before a body.
func recordHead(ref store.Ref, class Class, body []byte) (head [headSize]byte) {
	b := binary.BigEndian.AppendUint32(head[:0], recordMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, byte(class), 0, 0, 0, 0, 0, 0, 0)
	copy(b[len(b):headSize], ref[:])
	c := crc32.Update(0, castagnoli, head[:crcAt])
	c = crc32.Update(c, castagnoli, head[crcAt+4:])
	binary.BigEndian.PutUint32(head[crcAt:], crc32.Update(c, castagnoli, body))
	return head
}

func checksum(record []byte) uint32 {
	c := crc32.Update(0, castagnoli, record[:crcAt])
	return crc32.Update(c, castagnoli, record[crcAt+4:])
}

// parseHead reads the first headSize bytes of a record.
func parseHead(b []byte) (ref store.Ref, class Class, length int, err error) {
	r := wire.NewReader(b)
	magic, n := r.Uint32(), r.Uint32()
	class = Class(r.Uint8())
	zero := r.Bytes(3)
	r.Skip(4)
	p := r.Bytes(len(ref))
	if r.Err() != nil {
		return ref, 0, 0, r.Err()
	}
	if magic != recordMagic || n > MaxBody || class >= classes || zero[0]|zero[1]|zero[2] != 0 {
		return ref, 0, 0, errors.New("no record here")
	}
	return store.Ref(p), class, int(n), nil
}

// parseRecord reads a whole record; the body is part of b.
func parseRecord(b []byte) (ref store.Ref, class Class, body []byte, err error) {
	ref, class, n, err := parseHead(b)
	if err != nil {
		return ref, 0, nil, err
	}
	if len(b) != headSize+n {
		return ref, 0, nil, fmt.Errorf("%d bytes, want %d", len(b), headSize+n)
	}
	if checksum(b) != binary.BigEndian.Uint32(b[crcAt:]) {
		return ref, 0, nil, errors.New("checksum differs")
	}
	return ref, class, b[headSize:], nil
}

// scan calls f for the records of r from offset on, and returns where the first
// thing begins that is not a whole record. It allocates for one record at a time,
// and no more than r holds.
func scan(r io.ReaderAt, offset, size int64, f func(ref store.Ref, class Class, offset int64, length int)) (int64, error) {
	var buf []byte
	for size-offset >= headSize {
		var head [headSize]byte
		if _, err := r.ReadAt(head[:], offset); err != nil {
			return offset, err
		}
		_, _, n, err := parseHead(head[:])
		if err != nil || int64(headSize+n) > size-offset {
			return offset, nil //nolint:nilerr // the whole records end here
		}
		if cap(buf) < headSize+n {
			buf = make([]byte, headSize+n)
		}
		b := buf[:headSize+n]
		if _, err := r.ReadAt(b, offset); err != nil {
			return offset, err
		}
		ref, class, _, err := parseRecord(b)
		if err != nil {
			return offset, nil //nolint:nilerr // the whole records end here
		}
		f(ref, class, offset, n)
		offset += int64(headSize + n)
	}
	return offset, nil
}

// place is an index entry: where the body of a chunk lies.
type place struct {
	segment uint32
	offset  uint32
	length  uint32 // of the body
	class   Class
}

func (p place) size() int64 { return headSize + int64(p.length) }

func (p place) value() []byte {
	b := binary.BigEndian.AppendUint32(nil, p.segment)
	b = binary.BigEndian.AppendUint32(b, p.offset)
	b = binary.BigEndian.AppendUint32(b, p.length)
	return append(b, byte(p.class))
}

func parsePlace(b []byte) (p place, err error) {
	r := wire.NewReader(b)
	p = place{r.Uint32(), r.Uint32(), r.Uint32(), Class(r.Uint8())}
	if p.length > MaxBody || p.class >= classes {
		r.Fail(fmt.Errorf("entry %x", b))
	}
	if err := r.End(); err != nil {
		return place{}, fmt.Errorf("segment: index: %w", err)
	}
	return p, nil
}

func refKey(ref store.Ref) []byte {
	return append([]byte{store.PrefixSegment, 'r'}, ref[:]...)
}

func orderKey(segment, offset uint32) []byte {
	b := binary.BigEndian.AppendUint32([]byte{store.PrefixSegment, 'o'}, segment)
	return binary.BigEndian.AppendUint32(b, offset)
}

func segmentKey(n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{store.PrefixSegment, 'g'}, n)
}

// file is a segment as the store knows it. size counts bytes given out to records,
// whether written yet or not; live counts records that are somebody's, saved those
// of them that the index holds. What is in size and not in live is dead.
type file struct {
	number uint32
	class  Class
	size   int64
	live   [classes]int64
	saved  [classes]int64

	deferred bool // its records are gathered in memory and written behind
	writers  int  // records that are being written
	bad      bool // a record could not be read, so it is not compacted
}

func (f *file) alive() int64 { return f.live[Replica] + f.live[Cache] }
func (f *file) dead() int64  { return f.size - f.alive() }

// value is the file as the index keeps it.
func (f *file) value() []byte {
	b := binary.BigEndian.AppendUint64([]byte{byte(f.class)}, uint64(f.size))
	for _, n := range f.saved {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return b
}

func parseFile(key, value []byte) (*file, error) {
	r := wire.NewReader(key)
	r.Skip(2)
	f := &file{number: r.Uint32()}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("segment: index: %w", err)
	}
	r = wire.NewReader(value)
	f.class, f.size = Class(r.Uint8()), int64(r.Uint64())
	for i := range f.saved {
		f.saved[i] = int64(r.Uint64())
	}
	if f.class >= classes || f.size < 0 {
		r.Fail(fmt.Errorf("segment %d: entry %x", f.number, value))
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("segment: index: %w", err)
	}
	f.live = f.saved
	return f, nil
}
