package segment

import (
	"bytes"
	"encoding/binary"
	"io"
)

// searched bounds the bytes of what only looks like a record that scan reads for
// each byte of the file: a body can be made of heads.
const searched = 4

// scan calls f for the records of r from offset on, and returns where the last one
// ends. What is no whole record it steps over: a write that failed, or a torn or
// rotten record, has others behind it. It allocates for one record at a time, and no
// more than r holds. An error of f ends it.
func scan(r io.ReaderAt, offset, size int64, f func(rec record) error) (end int64, err error) {
	s := scanner{r: r, size: size, left: searched*(size-offset) + MaxBody}
	end = offset
	for size-offset >= headSize && s.left >= 0 {
		rec, ok, err := s.record(offset)
		if err != nil {
			return end, err
		}
		if !ok {
			if offset, err = s.search(offset + 1); err != nil {
				return end, err
			}
			continue
		}
		rec.offset = uint32(offset)
		if err := f(rec); err != nil {
			return end, err
		}
		offset += rec.size()
		end = offset
	}
	return end, nil
}

type scanner struct {
	r    io.ReaderAt
	size int64
	left int64 // bytes that may be read in vain
	buf  []byte
}

// record reads the record at offset, if a whole one is there.
func (s *scanner) record(offset int64) (rec record, ok bool, err error) {
	var head [headSize]byte
	if _, err := s.r.ReadAt(head[:], offset); err != nil {
		return record{}, false, err
	}
	_, n, err := parseHead(head[:])
	if err != nil || int64(n) > s.size-offset {
		return record{}, false, nil //nolint:nilerr // no record
	}
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:n]
	if _, err := s.r.ReadAt(b, offset); err != nil {
		return record{}, false, err
	}
	rec, _, err = parseRecord(b)
	if err != nil {
		s.left -= int64(n)
	}
	return rec, err == nil, nil
}

// search returns the offset from which on the next record may begin.
func (s *scanner) search(offset int64) (int64, error) {
	var window [16 << 10]byte
	magic := binary.BigEndian.AppendUint32(nil, recordMagic)
	for n := int64(256); s.size-offset >= headSize; n = min(2*n, int64(len(window))) {
		b := window[:min(n, s.size-offset)]
		s.left -= int64(len(b))
		if _, err := s.r.ReadAt(b, offset); err != nil {
			return 0, err
		}
		if i := bytes.Index(b, magic); i >= 0 {
			return offset + int64(i), nil
		}
		offset += int64(len(b) - len(magic) + 1)
	}
	return s.size, nil
}
