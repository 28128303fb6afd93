package igmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// errMessage is what messages that cannot be written wrap.
var errMessage = errors.New("cannot be written")

func unwritable(format string, args ...any) error {
	return fmt.Errorf("igmp: message %w: %s", errMessage, fmt.Sprintf(format, args...))
}

// layout is what differs between the messages of the two protocols.
type layout struct {
	addr                               int // bytes of an address
	query, report1, report2, leave, v3 uint8
}

var (
	layout4 = layout{4, typeQuery, typeReport1, typeReport2, typeLeave, typeReport3}
	layout6 = layout{16, typeMLDQuery, 0, typeMLDv1, typeMLDDone, typeMLDv2}
)

// AppendMessage appends m as an IGMP message with its checksum. Times that the
// wire cannot carry are rounded as [Packet.Append] says. It fails, leaving b as
// it was, when an address is not IPv4 or a field does not fit.
func AppendMessage(b []byte, m Message) ([]byte, error) {
	out, err := layout4.append(b, m)
	if err != nil {
		return b, err
	}
	binary.BigEndian.PutUint16(out[len(b)+2:], checksum(0, out[len(b):]))
	return out, nil
}

// AppendMLD appends m as an ICMPv6 message with the checksum of a packet from
// src to dst, and is otherwise like [AppendMessage] for IPv6.
func AppendMLD(b []byte, m Message, src, dst netip.Addr) ([]byte, error) {
	out, err := layout6.append(b, m)
	if err != nil {
		return b, err
	}
	body := out[len(b):]
	binary.BigEndian.PutUint16(body[2:], checksum(pseudoHeader(src, dst, len(body)), body))
	return out, nil
}

// append writes a message whose checksum is 0.
func (f layout) append(b []byte, m Message) ([]byte, error) {
	switch m := m.(type) {
	case *Query:
		return f.appendQuery(b, m)
	case *Report:
		return f.appendReport(b, m)
	case *Leave:
		return f.appendShort(b, f.leave, 0, m.Group, m.Additional)
	case *Unknown:
		if !f.unknown(m.Type) {
			return b, unwritable("type %d is a known one", m.Type)
		}
		return append(append(b, m.Type, m.Code, 0, 0), m.Body...), nil
	}
	return b, unwritable("%T", m)
}

// unknown reports whether an [Unknown] may be of type t.
func (f layout) unknown(t uint8) bool {
	if f.addr == 16 {
		return t >= typeMRDFirst && t <= typeMRDLast
	}
	return t != f.query && t != f.report1 && t != f.report2 && t != f.leave && t != f.v3
}

// appendShort writes the layout that versions 1 and 2 share; code is in the units
// of the family.
func (f layout) appendShort(b []byte, typ uint8, code uint16, group netip.Addr, additional []byte) ([]byte, error) {
	if f.addr == 4 {
		b = append(b, typ, uint8(code), 0, 0)
	} else {
		b = append(b, typ, 0, 0, 0, uint8(code>>8), uint8(code), 0, 0)
	}
	b, err := f.appendAddr(b, group)
	return append(b, additional...), err
}

func (f layout) appendQuery(b []byte, q *Query) ([]byte, error) {
	code, err := f.responseCode(q)
	if err != nil {
		return b, err
	}
	if q.Version != V3 {
		if len(q.Additional) != 0 { // its length would make it another version
			return b, unwritable("additional data in a %v query", q.Version)
		}
		return f.appendShort(b, f.query, code, q.Group, nil)
	}
	if q.Flags > 15 || len(q.Sources) > 0xffff {
		return b, unwritable("flags %#x, %d sources", q.Flags, len(q.Sources))
	}
	if b, err = f.appendShort(b, f.query, code, q.Group, nil); err != nil {
		return b, err
	}
	bits := q.Flags << 4
	if q.Suppress {
		bits |= 8
	}
	if q.Robustness <= 7 {
		bits |= q.Robustness
	}
	b = append(b, bits, uint8(encodeFloat(units(q.Interval, time.Second), mantissa8)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(q.Sources)))
	b, err = f.appendAddrs(b, q.Sources)
	return append(b, q.Additional...), err
}

// responseCode returns q's maximum response time as its version has it.
func (f layout) responseCode(q *Query) (uint16, error) {
	unit, mantissa, most := unit4, uint(mantissa8), uint64(0xff)
	if f.addr == 16 {
		unit, mantissa, most = unit6, mantissa16, 0xffff
	}
	n := units(q.MaxResponse, unit)
	switch {
	case q.Version == V1 && f.addr == 4:
		return 0, nil
	case q.Version == V2 && f.addr == 4 && n == 0:
		return 0, unwritable("without a response time it would be a query of version 1")
	case q.Version == V2:
		return uint16(min(n, most)), nil
	case q.Version == V3:
		return encodeFloat(n, mantissa), nil
	}
	return 0, unwritable("query of version %d", q.Version)
}

func (f layout) appendReport(b []byte, r *Report) ([]byte, error) {
	switch {
	case r.Version == V1 && f.addr == 4:
		return f.appendShort(b, f.report1, 0, r.Group, r.Additional)
	case r.Version == V2:
		return f.appendShort(b, f.report2, 0, r.Group, r.Additional)
	case r.Version != V3:
		return b, unwritable("report of version %d", r.Version)
	case len(r.Records) > 0xffff:
		return b, unwritable("%d records", len(r.Records))
	}
	b = append(b, f.v3, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, r.Flags)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Records)))
	for _, rec := range r.Records {
		if len(rec.Aux)%4 != 0 || len(rec.Aux) > 4*0xff || len(rec.Sources) > 0xffff {
			return b, unwritable("record with %d bytes of aux data, %d sources", len(rec.Aux), len(rec.Sources))
		}
		b = append(b, uint8(rec.Type), uint8(len(rec.Aux)/4))
		b = binary.BigEndian.AppendUint16(b, uint16(len(rec.Sources)))
		var err error
		if b, err = f.appendAddr(b, rec.Group); err != nil {
			return b, err
		}
		if b, err = f.appendAddrs(b, rec.Sources); err != nil {
			return b, err
		}
		b = append(b, rec.Aux...)
	}
	return append(b, r.Additional...), nil
}

// appendAddr writes a; the zero Addr is the unspecified address.
func (f layout) appendAddr(b []byte, a netip.Addr) ([]byte, error) {
	switch {
	case !a.IsValid():
		return append(b, make([]byte, f.addr)...), nil
	case a.BitLen() != 8*f.addr:
		return b, unwritable("%v is not an address of %d bytes", a, f.addr)
	}
	return append(b, a.AsSlice()...), nil
}

func (f layout) appendAddrs(b []byte, list []netip.Addr) ([]byte, error) {
	for _, a := range list {
		if a.BitLen() != 8*f.addr {
			return b, unwritable("source %v is not an address of %d bytes", a, f.addr)
		}
		b = append(b, a.AsSlice()...)
	}
	return b, nil
}
