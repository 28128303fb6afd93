package mdns

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/miekg/dns"
)

// maxMessage is the largest message accepted, and sent when a single record is
// that large: 9000 bytes with the IPv6 and UDP headers (RFC 6762 section 17).
const maxMessage = 9000 - 40 - 8

// headerSize is the size of a DNS header in bytes.
const headerSize = 12

// Bits of the second 16-bit word of the header.
const (
	bitResponse  = 1 << 15
	maskOpcode   = 0xf << 11
	bitAuthority = 1 << 10
	bitTruncated = 1 << 9
	maskRcode    = 0xf
)

// ErrMessage reports a packet that is not a multicast DNS message.
var ErrMessage = errors.New("not a multicast DNS message")

// Message is one multicast DNS message.
type Message struct {
	// ID is 0 but in legacy queries and their answers (RFC 6762 section 18.1).
	ID uint16
	// Response tells answers from questions.
	Response bool
	// Truncated in a query says that more known answers follow (section 18.5).
	Truncated bool
	// Questions of a response are parsed and mean nothing (section 6).
	Questions []AskedQuestion
	// Answers of a query are its known answers (section 7.1).
	Answers []Record
	// Authority of a query is what a probing host wants to own (section 8.2).
	Authority []Record
	// Additional records were not asked for and are just as true.
	Additional []Record
	// Skipped counts records that were there but not understood.
	Skipped int
}

// AskedQuestion is a question as it stands in a message.
type AskedQuestion struct {
	Question
	// Class is the class without the top bit; 255 asks for any.
	Class uint16
	// Unicast is the unicast-response bit: a QU question (section 5.4).
	Unicast bool
}

// records returns the records of all three sections.
func (m *Message) records() []Record {
	all := make([]Record, 0, len(m.Answers)+len(m.Authority)+len(m.Additional))
	all = append(all, m.Answers...)
	all = append(all, m.Authority...)
	return append(all, m.Additional...)
}

// ParseMessage reads b. A record whose rdata is wrong is skipped and counted, so
// that it does not cost the others (RFC 6762 section 6.1); reading stops without
// an error where the bounds of records can no longer be known. It fails with
// [ErrMessage] for what has no header, is too long, has questions that cannot be
// read, or an opcode or response code that must be ignored (sections 18.3, 18.11).
func ParseMessage(b []byte) (*Message, error) {
	if len(b) < headerSize || len(b) > maxMessage+48 {
		return nil, fmt.Errorf("mdns: message of %d bytes: %w", len(b), ErrMessage)
	}
	flags := binary.BigEndian.Uint16(b[2:])
	if flags&maskOpcode != 0 || flags&maskRcode != 0 {
		return nil, fmt.Errorf("mdns: opcode or response code is not zero: %w", ErrMessage)
	}
	m := &Message{
		ID:        binary.BigEndian.Uint16(b),
		Response:  flags&bitResponse != 0,
		Truncated: flags&bitTruncated != 0,
	}
	off := headerSize
	for range binary.BigEndian.Uint16(b[4:]) {
		q, next, err := parseQuestion(b, off)
		if err != nil {
			return nil, err
		}
		m.Questions = append(m.Questions, q)
		off = next
	}
	for i, section := range []*[]Record{&m.Answers, &m.Authority, &m.Additional} {
		for range binary.BigEndian.Uint16(b[6+2*i:]) {
			r, next, err := parseRecord(b, off)
			if next == 0 {
				m.Skipped++
				return m, nil
			}
			off = next
			// A pseudo-record belongs to the message, not to the data (section 10.2).
			if err != nil || r.Type == dns.TypeOPT || r.Type == dns.TypeTSIG {
				m.Skipped++
				continue
			}
			*section = append(*section, r)
		}
	}
	return m, nil
}

func parseQuestion(b []byte, off int) (q AskedQuestion, next int, err error) {
	q.Name, off, err = dns.UnpackDomainName(b, off)
	if err != nil || off+4 > len(b) {
		return q, 0, fmt.Errorf("mdns: question: %w", ErrMessage)
	}
	q.Type = binary.BigEndian.Uint16(b[off:])
	class := binary.BigEndian.Uint16(b[off+2:])
	q.Class, q.Unicast = class&^flushBit, class&flushBit != 0
	return q, off + 4, nil
}

// parseRecord reads the record at off. next is where the following one begins, or
// 0 when that cannot be known; err says why r is of no use.
func parseRecord(b []byte, off int) (r Record, next int, err error) {
	r.Name, off, err = dns.UnpackDomainName(b, off)
	if err != nil || off+10 > len(b) {
		return r, 0, fmt.Errorf("record header: %w", ErrMessage)
	}
	r.Type = binary.BigEndian.Uint16(b[off:])
	class := binary.BigEndian.Uint16(b[off+2:])
	r.Class, r.Flush = class&^flushBit, class&flushBit != 0
	r.TTL = binary.BigEndian.Uint32(b[off+4:])
	end := off + 10 + int(binary.BigEndian.Uint16(b[off+8:]))
	if end > len(b) {
		return r, 0, fmt.Errorf("rdata beyond the end: %w", ErrMessage)
	}
	r.Data, err = plainData(r.Type, b, off+10, end)
	return r, end, err
}

// rdataLayout says where names are in rdata: behind fixed bytes come names, then
// tail bytes (-1: any number).
type rdataLayout struct{ fixed, names, tail int }

// rdataLayouts are the types whose rdata may hold compressed names (RFC 6762
// section 18.14), and those of fixed length.
var rdataLayouts = map[uint16]rdataLayout{
	dns.TypeA:     {4, 0, 0},
	dns.TypeAAAA:  {16, 0, 0},
	dns.TypeNS:    {0, 1, 0},
	dns.TypeCNAME: {0, 1, 0},
	dns.TypePTR:   {0, 1, 0},
	dns.TypeDNAME: {0, 1, 0},
	dns.TypeSOA:   {0, 2, 20},
	dns.TypeMX:    {2, 1, 0},
	dns.TypeAFSDB: {2, 1, 0},
	dns.TypeRT:    {2, 1, 0},
	dns.TypeKX:    {2, 1, 0},
	dns.TypeRP:    {0, 2, 0},
	dns.TypePX:    {2, 2, 0},
	dns.TypeSRV:   {6, 1, 0},
	dns.TypeNSEC:  {0, 1, -1},
}

// plainData returns a copy of the rdata b[off:end] of a record of type typ with
// its names written out.
func plainData(typ uint16, b []byte, off, end int) ([]byte, error) {
	if typ == dns.TypeTXT {
		return textData(b[off:end])
	}
	layout, ok := rdataLayouts[typ]
	if !ok {
		return append([]byte(nil), b[off:end]...), nil
	}
	if off+layout.fixed > end {
		return nil, fmt.Errorf("%s rdata of %d bytes: %w", dns.Type(typ), end-off, ErrMessage)
	}
	data := append([]byte(nil), b[off:off+layout.fixed]...)
	off += layout.fixed
	for range layout.names {
		name, next, err := dns.UnpackDomainName(b, off)
		if err != nil || next > end {
			return nil, fmt.Errorf("name in %s rdata: %w", dns.Type(typ), ErrMessage)
		}
		if data, err = appendName(data, name); err != nil {
			return nil, err
		}
		off = next
	}
	if layout.tail >= 0 && end-off != layout.tail {
		return nil, fmt.Errorf("%s rdata has %d bytes too many: %w", dns.Type(typ), end-off-layout.tail, ErrMessage)
	}
	return append(data, b[off:end]...), nil
}

// textData checks that b is a series of counted strings. An empty one stands for
// a single empty string (RFC 6763 section 6.1).
func textData(b []byte) ([]byte, error) {
	for off := 0; off < len(b); {
		off += 1 + int(b[off])
		if off > len(b) {
			return nil, fmt.Errorf("TXT string beyond the end: %w", ErrMessage)
		}
	}
	if len(b) == 0 {
		return []byte{0}, nil
	}
	return append([]byte(nil), b...), nil
}
