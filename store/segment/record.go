package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

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
	numberSize  = 8 // the number that follows the head of a numbered record
	crcAt       = 12
	numbered    = 1 // the version of a record with a number
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Class says why a body is kept.
type Class uint8

const (
	// Replica is kept until it is deleted.
	Replica Class = iota
	// Cache is evicted, oldest first, when room is needed.
	Cache
	// Log is kept as a replica is, and Store.Logs finds it in the order of the puts.
	Log
	classes
)

// kinds counts what lies apart in segments and is accounted for apart: replicas,
// with the log, and cache.
const kinds = 2

// kind returns Replica or Cache: what a class is accounted for as.
func (c Class) kind() Class {
	if c == Cache {
		return Cache
	}
	return Replica
}

// String returns the word that people see.
func (c Class) String() string {
	switch c {
	case Replica:
		return "replica"
	case Cache:
		return "cache"
	case Log:
		return "log"
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// recordHead returns what stands before a body: the head and, unless order is 0, it
// as the number.
func recordHead(ref store.Ref, class Class, order uint64, body []byte) []byte {
	b := make([]byte, 0, headSize+numberSize)
	b = binary.BigEndian.AppendUint32(b, recordMagic)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, byte(class), 0, 0, 0, 0, 0, 0, 0)
	b = append(b, ref[:]...)
	if order != 0 {
		b[9] = numbered
		b = binary.BigEndian.AppendUint64(b, order)
	}
	c := crc32.Update(checksum(b), castagnoli, body)
	binary.BigEndian.PutUint32(b[crcAt:], c)
	return b
}

func checksum(record []byte) uint32 {
	c := crc32.Update(0, castagnoli, record[:crcAt])
	return crc32.Update(c, castagnoli, record[crcAt+4:])
}

// parseHead reads the first headSize bytes of a record. Of the place it fills in
// length and class; size is that of the record.
func parseHead(b []byte) (rec record, size int, err error) {
	r := wire.NewReader(b)
	magic, n := r.Uint32(), r.Uint32()
	rec.class = Class(r.Uint8())
	version := r.Uint8()
	zero := r.Uint16()
	r.Skip(4)
	ref := r.Bytes(len(rec.ref))
	if r.Err() != nil {
		return record{}, 0, r.Err()
	}
	if magic != recordMagic || n > MaxBody || rec.class >= classes || version > numbered || zero != 0 {
		return record{}, 0, errors.New("no record here")
	}
	rec.ref, rec.length = store.Ref(ref), n
	return rec, headSize + int(version)*numberSize + int(n), nil
}

// parseRecord reads a whole record; the body is part of b. Of the place segment and
// offset are left 0.
func parseRecord(b []byte) (rec record, body []byte, err error) {
	rec, size, err := parseHead(b)
	if err != nil {
		return record{}, nil, err
	}
	if len(b) != size {
		return record{}, nil, fmt.Errorf("%d bytes, want %d", len(b), size)
	}
	if checksum(b) != binary.BigEndian.Uint32(b[crcAt:]) {
		return record{}, nil, errors.New("checksum differs")
	}
	if b[9] == numbered {
		if rec.order = binary.BigEndian.Uint64(b[headSize:]); rec.order == 0 {
			return record{}, nil, errors.New("number 0")
		}
	}
	return rec, b[size-int(rec.length):], nil
}

// place is an index entry: where the body of a chunk lies.
type place struct {
	segment uint32
	offset  uint32
	length  uint32 // of the body
	class   Class
	order   uint64 // the number of a numbered record, else 0
}

// record is a body's entry.
type record struct {
	ref store.Ref
	place
}

func (p place) size() int64 {
	if p.order != 0 {
		return headSize + numberSize + int64(p.length)
	}
	return headSize + int64(p.length)
}

// at reports whether both lie at the same place, whatever their class.
func (p place) at(q place) bool { return p.segment == q.segment && p.offset == q.offset }

func (p place) value() []byte {
	b := binary.BigEndian.AppendUint32(nil, p.segment)
	b = binary.BigEndian.AppendUint32(b, p.offset)
	b = binary.BigEndian.AppendUint32(b, p.length)
	b = append(b, byte(p.class))
	if p.order != 0 {
		b = binary.BigEndian.AppendUint64(b, p.order)
	}
	return b
}

func parsePlace(b []byte) (p place, err error) {
	r := wire.NewReader(b)
	p = place{segment: r.Uint32(), offset: r.Uint32(), length: r.Uint32(), class: Class(r.Uint8())}
	if r.Err() == nil && r.Len() > 0 {
		if p.order = r.Uint64(); p.order == 0 {
			r.Fail(fmt.Errorf("entry %x", b))
		}
	}
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

func parseOrderKey(k []byte) (segment, offset uint32, err error) {
	r := wire.NewReader(k)
	r.Skip(2)
	segment, offset = r.Uint32(), r.Uint32()
	return segment, offset, r.End()
}

func segmentKey(n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{store.PrefixSegment, 'g'}, n)
}

// logKey has the ref in it, since a record that was no Log for a while may have a
// number that was given again.
func logKey(order uint64, ref store.Ref) []byte {
	b := binary.BigEndian.AppendUint64([]byte{store.PrefixSegment, 'l'}, order)
	return append(b, ref[:]...)
}

// numberKey has the greatest numbers given, to a segment and to a Log.
func numberKey() []byte { return []byte{store.PrefixSegment, 'n'} }

func numberValue(segment uint32, order uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(nil, segment), order)
}

func parseNumbers(b []byte) (segment uint32, order uint64, err error) {
	r := wire.NewReader(b)
	segment, order = r.Uint32(), r.Uint64()
	if err := r.End(); err != nil {
		return 0, 0, fmt.Errorf("segment: index: %w", err)
	}
	return segment, order, nil
}

// set makes the index entries of rec, and unset removes them.
func (rec record) set(txn store.Txn) {
	_ = txn.Set(refKey(rec.ref), rec.value()) // what fails here fails the commit
	_ = txn.Set(orderKey(rec.segment, rec.offset), rec.ref[:])
	if rec.class == Log {
		_ = txn.Set(logKey(rec.order, rec.ref), nil)
	}
}

func (rec record) unset(txn store.Txn) {
	_ = txn.Delete(refKey(rec.ref))
	_ = txn.Delete(orderKey(rec.segment, rec.offset))
	if rec.class == Log {
		_ = txn.Delete(logKey(rec.order, rec.ref))
	}
}

// file is a segment as the store knows it. size counts bytes given out to records,
// whether written yet or not; live counts records that are somebody's, saved those
// of them that the index holds. What is in size and not in live is dead.
type file struct {
	number  uint32
	class   Class // Replica or Cache
	moved   bool  // compaction writes here
	size    int64
	indexed int64 // the offset from which on Open looks for records
	live    [kinds]int64
	saved   [kinds]int64

	deferred bool // its records are gathered in memory and written behind
	bad      bool // a record could not be read, so compacting is of no use
}

func (f *file) alive() int64 { return f.live[Replica] + f.live[Cache] }
func (f *file) dead() int64  { return f.size - f.alive() }

// value is the file as the index keeps it.
func (f *file) value() []byte {
	b := binary.BigEndian.AppendUint64([]byte{byte(f.class)}, uint64(f.indexed))
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
	f.class, f.indexed = Class(r.Uint8()), int64(r.Uint64())
	for i := range f.saved {
		f.saved[i] = int64(r.Uint64())
	}
	if f.class >= kinds || f.indexed < 0 {
		r.Fail(fmt.Errorf("segment %d: entry %x", f.number, value))
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("segment: index: %w", err)
	}
	f.size, f.live = f.indexed, f.saved
	return f, nil
}
