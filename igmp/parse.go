package igmp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// The types of messages.
const (
	typeQuery    = 0x11
	typeReport1  = 0x12
	typeReport2  = 0x16
	typeLeave    = 0x17
	typeReport3  = 0x22
	typeMLDQuery = 130 // RFC 2710 section 3
	typeMLDv1    = 131
	typeMLDDone  = 132
	typeMLDv2    = 143 // RFC 9777 section 5.2
	typeMRDFirst = 151 // multicast router discovery, RFC 4286 section 7
	typeMRDLast  = 153
)

// The sizes of messages, in bytes.
const (
	headerLen  = 4 // type, code, checksum
	short4     = 8 // a message of IGMPv1 or v2; the fixed part of a report of v3
	query4Len  = 12
	short6     = 24 // a message of MLDv1
	query6Len  = 28
	recordHead = 4 // type, length of aux data, number of sources
)

// The units of times in messages.
const (
	unit4 = 100 * time.Millisecond // RFC 9776 section 4.1.1
	unit6 = time.Millisecond       // RFC 2710 section 3.4
)

func malformed(offset int, format string, args ...any) error {
	return &ParseError{Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// ParseMessage reads an IGMP message, the payload of an IPv4 packet. The result
// keeps nothing of b. Errors are of type [*ParseError]: one that wraps
// [ErrChecksum] for a wrong checksum, [ErrLength] for a query of 9 to 11 bytes.
func ParseMessage(b []byte) (Message, error) {
	if len(b) < headerLen {
		return nil, malformed(len(b), "message of %d bytes", len(b))
	}
	if checksum(0, b) != 0 {
		return nil, &ParseError{Offset: 2, Reason: ErrChecksum.Error(), Err: ErrChecksum}
	}
	switch b[0] {
	case typeQuery, typeReport1, typeReport2, typeLeave, typeReport3:
		if len(b) < short4 {
			return nil, malformed(len(b), "type %#02x in %d bytes", b[0], len(b))
		}
	}
	switch b[0] {
	case typeQuery:
		return parseQuery4(b)
	case typeReport1, typeReport2:
		v := V2
		if b[0] == typeReport1 {
			v = V1
		}
		return &Report{Version: v, Group: addrAt(b, 4, 4), Additional: rest(b, short4)}, nil
	case typeLeave:
		return &Leave{Group: addrAt(b, 4, 4), Additional: rest(b, short4)}, nil
	case typeReport3:
		return parseReport(b, 4)
	}
	return &Unknown{Type: b[0], Code: b[1], Body: rest(b, headerLen)}, nil
}

// ParseMLD reads a message of Multicast Listener Discovery, an ICMPv6 message
// whose packet went from src to dst. The result keeps nothing of b. Errors are as
// with [ParseMessage], and [ErrNotGroupProtocol] for other ICMPv6 messages.
func ParseMLD(b []byte, src, dst netip.Addr) (Message, error) {
	if len(b) < headerLen {
		return nil, malformed(len(b), "message of %d bytes", len(b))
	}
	switch t := b[0]; {
	case t >= typeMRDFirst && t <= typeMRDLast:
	case t != typeMLDQuery && t != typeMLDv1 && t != typeMLDDone && t != typeMLDv2:
		return nil, fmt.Errorf("igmp: ICMPv6 type %d: %w", t, ErrNotGroupProtocol)
	}
	if checksum(pseudoHeader(src, dst, len(b)), b) != 0 {
		return nil, &ParseError{Offset: 2, Reason: ErrChecksum.Error(), Err: ErrChecksum}
	}
	switch b[0] {
	case typeMLDQuery, typeMLDv1, typeMLDDone:
		if len(b) < short6 {
			return nil, malformed(len(b), "type %d in %d bytes", b[0], len(b))
		}
	}
	switch b[0] {
	case typeMLDQuery:
		return parseQuery6(b)
	case typeMLDv1:
		return &Report{Version: V2, Group: addrAt(b, 8, 16), Additional: rest(b, short6)}, nil
	case typeMLDDone:
		return &Leave{Group: addrAt(b, 8, 16), Additional: rest(b, short6)}, nil
	case typeMLDv2:
		return parseReport(b, 16)
	}
	return &Unknown{Type: b[0], Code: b[1], Body: rest(b, headerLen)}, nil
}

// parseQuery4 tells the versions apart by RFC 9776 section 7.1.
func parseQuery4(b []byte) (Message, error) {
	q := &Query{Version: V2, Group: queryGroup(b, 4, 4)}
	switch {
	case len(b) == short4 && b[1] == 0:
		q.Version = V1
		return q, nil
	case len(b) == short4:
		q.MaxResponse = time.Duration(b[1]) * unit4
		return q, nil
	case len(b) < query4Len:
		return nil, &ParseError{Offset: len(b), Reason: fmt.Sprintf("query of %d bytes, the length of no version", len(b)), Err: ErrLength}
	}
	q.Version = V3
	q.MaxResponse = time.Duration(decodeFloat(uint16(b[1]), mantissa8)) * unit4
	return parseQueryTail(q, b, short4, 4)
}

// parseQuery6 tells the versions apart by RFC 9777 section 8.1.
func parseQuery6(b []byte) (Message, error) {
	q := &Query{Version: V2, Group: queryGroup(b, 8, 16)}
	code := binary.BigEndian.Uint16(b[4:])
	switch {
	case len(b) == short6:
		q.MaxResponse = time.Duration(code) * unit6
		return q, nil
	case len(b) < query6Len:
		return nil, &ParseError{Offset: len(b), Reason: fmt.Sprintf("query of %d bytes, the length of no version", len(b)), Err: ErrLength}
	}
	q.Version = V3
	q.MaxResponse = time.Duration(decodeFloat(code, mantissa16)) * unit6
	return parseQueryTail(q, b, short6, 16)
}

// parseQueryTail reads what version 3 adds, from offset at, with addresses of
// size bytes. The fixed part is there.
func parseQueryTail(q *Query, b []byte, at, size int) (Message, error) {
	q.Flags, q.Suppress, q.Robustness = b[at]>>4, b[at]&8 != 0, b[at]&7
	q.Interval = time.Duration(decodeFloat(uint16(b[at+1]), mantissa8)) * time.Second
	n := int(binary.BigEndian.Uint16(b[at+2:]))
	at += 4
	var err error
	if q.Sources, err = sourcesAt(b, at, n, size); err != nil {
		return nil, err
	}
	q.Additional = rest(b, at+n*size)
	return q, nil
}

// parseReport reads a report of version 3, whose layout but for the addresses is
// the same in both protocols (RFC 9776 section 4.2, RFC 9777 section 5.2).
func parseReport(b []byte, size int) (Message, error) {
	if len(b) < short4 {
		return nil, malformed(len(b), "report of %d bytes", len(b))
	}
	r := &Report{Version: V3, Flags: binary.BigEndian.Uint16(b[4:])}
	n, at := int(binary.BigEndian.Uint16(b[6:])), short4
	if n > (len(b)-at)/(recordHead+size) {
		return nil, malformed(6, "%d records cannot be in %d bytes", n, len(b)-at)
	}
	for range n {
		rec, end, err := parseRecord(b, at, size)
		if err != nil {
			return nil, err
		}
		r.Records = append(r.Records, rec)
		at = end
	}
	r.Additional = rest(b, at)
	return r, nil
}

// parseRecord reads the record at offset at and returns the offset of its end.
func parseRecord(b []byte, at, size int) (Record, int, error) {
	if len(b)-at < recordHead+size {
		return Record{}, 0, malformed(len(b), "record from byte %d is cut off", at)
	}
	rec := Record{Type: RecordType(b[at]), Group: addrAt(b, at+recordHead, size)}
	aux, n := 4*int(b[at+1]), int(binary.BigEndian.Uint16(b[at+2:]))
	at += recordHead + size
	var err error
	if rec.Sources, err = sourcesAt(b, at, n, size); err != nil {
		return Record{}, 0, err
	}
	at += n * size
	if len(b)-at < aux {
		return Record{}, 0, malformed(len(b), "%d bytes of aux data from byte %d are cut off", aux, at)
	}
	rec.Aux = rest(b[:at+aux], at)
	return rec, at + aux, nil
}

// sourcesAt reads n addresses; it looks whether they are there before it
// allocates for them.
func sourcesAt(b []byte, at, n, size int) ([]netip.Addr, error) {
	if n == 0 {
		return nil, nil
	}
	if (len(b)-at)/size < n {
		return nil, malformed(len(b), "%d sources from byte %d are cut off", n, at)
	}
	sources := make([]netip.Addr, n)
	for i := range sources {
		sources[i] = addrAt(b, at+i*size, size)
	}
	return sources, nil
}

func addrAt(b []byte, at, size int) netip.Addr {
	if size == 4 {
		return netip.AddrFrom4([4]byte(b[at:]))
	}
	return netip.AddrFrom16([16]byte(b[at:]))
}

// queryGroup is addrAt, but the unspecified address, which means all groups, is
// the zero Addr.
func queryGroup(b []byte, at, size int) netip.Addr {
	if g := addrAt(b, at, size); !g.IsUnspecified() {
		return g
	}
	return netip.Addr{}
}

// rest returns a copy of b from offset at on, nil when nothing is left.
func rest(b []byte, at int) []byte {
	if at >= len(b) {
		return nil
	}
	return bytes.Clone(b[at:])
}
