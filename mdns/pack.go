package mdns

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Positions of the counts in a DNS header, by section.
const (
	sectionQuestion = iota
	sectionAnswer
	sectionAuthority
	sectionAdditional
)

// packer writes one message of at most limit bytes.
type packer struct {
	b     []byte
	limit int
	names map[string]int // names in wire form that a pointer can reach
	plain bool           // leave SRV targets uncompressed, for legacy queriers
	items int
}

func newPacker(m *Message, limit int, plain bool) *packer {
	p := &packer{limit: limit, names: make(map[string]int), plain: plain}
	p.b = make([]byte, headerSize, limit)
	binary.BigEndian.PutUint16(p.b, m.ID)
	if m.Response {
		// Every answer is authoritative (RFC 6762 section 18.4).
		binary.BigEndian.PutUint16(p.b[2:], bitResponse|bitAuthority)
	}
	return p
}

func (p *packer) truncate() { p.b[2] |= bitTruncated >> 8 }

// name appends a name in wire form, with a pointer for the part that was written
// before. Case must agree, so that what is shown elsewhere keeps its case.
func (p *packer) name(wire []byte) {
	for off := 0; off < len(wire) && wire[off] != 0; off += 1 + int(wire[off]) {
		suffix := string(wire[off:])
		if at, ok := p.names[suffix]; ok {
			p.b = binary.BigEndian.AppendUint16(p.b, 0xc000|uint16(at))
			return
		}
		if len(p.b) < 0x4000 {
			p.names[suffix] = len(p.b)
		}
		p.b = append(p.b, wire[off:off+1+int(wire[off])]...)
	}
	p.b = append(p.b, 0)
}

// add runs write and counts one item of section, or undoes it and reports false
// when the message has become too long.
func (p *packer) add(section int, write func() bool) bool {
	before := len(p.b)
	if write() && len(p.b) <= p.limit {
		at := 4 + 2*section
		binary.BigEndian.PutUint16(p.b[at:], binary.BigEndian.Uint16(p.b[at:])+1)
		p.items++
		return true
	}
	p.b = p.b[:before]
	for suffix, at := range p.names {
		if at >= before {
			delete(p.names, suffix)
		}
	}
	return false
}

func (p *packer) question(q AskedQuestion) bool {
	return p.add(sectionQuestion, func() bool {
		wire, err := appendName(nil, q.Name)
		if err != nil {
			return false
		}
		p.name(wire)
		class := q.Class
		if q.Unicast {
			class |= flushBit
		}
		p.b = binary.BigEndian.AppendUint16(p.b, q.Type)
		p.b = binary.BigEndian.AppendUint16(p.b, class)
		return true
	})
}

func (p *packer) record(section int, r Record) bool {
	return p.add(section, func() bool {
		wire, err := appendName(nil, r.Name)
		if err != nil {
			return false
		}
		p.name(wire)
		p.b = binary.BigEndian.AppendUint16(p.b, r.Type)
		p.b = binary.BigEndian.AppendUint16(p.b, r.wireClass())
		p.b = binary.BigEndian.AppendUint32(p.b, r.TTL)
		at := len(p.b)
		p.b = append(p.b, 0, 0)
		p.data(r)
		n := len(p.b) - at - 2
		binary.BigEndian.PutUint16(p.b[at:], uint16(n))
		return n <= 0xffff
	})
}

// data appends rdata, compressing the names where RFC 6762 section 18.14 allows.
func (p *packer) data(r Record) {
	layout, ok := rdataLayouts[r.Type]
	if !ok || layout.names == 0 || len(r.Data) < layout.fixed || p.plain && r.Type == dns.TypeSRV {
		p.b = append(p.b, r.Data...)
		return
	}
	p.b = append(p.b, r.Data[:layout.fixed]...)
	rest := r.Data[layout.fixed:]
	for range layout.names {
		n := nameLen(rest)
		if n == 0 {
			break
		}
		p.name(rest[:n])
		rest = rest[n:]
	}
	p.b = append(p.b, rest...)
}

// nameLen returns the length of the uncompressed name at the front of b, or 0.
func nameLen(b []byte) int {
	for off := 0; off < len(b); off += 1 + int(b[off]) {
		if b[off] == 0 {
			return off + 1
		}
		if b[off] > 63 {
			return 0
		}
	}
	return 0
}

// Split returns m as packets of at most limit bytes each, and how many records
// had no room anywhere. Known answers and answers continue in further packets;
// additional records that do not fit are left out. A single record over the limit
// travels alone in a packet of up to 8952 bytes (RFC 6762 section 17), and so does
// a probe, whose records must stay together (section 8.2).
func (m *Message) Split(limit int) (packets [][]byte, dropped int) {
	s := splitter{m: m, limit: limit, p: newPacker(m, limit, false)}
	if m.Response {
		s.response()
	} else {
		s.query()
	}
	s.flush()
	return s.packets, s.dropped
}

// legacy returns m as one packet for a plain DNS resolver: it repeats the
// questions, and says by its TC bit when not all fits (RFC 6762 sections 6.7, 18.5).
func (m *Message) legacy(limit int) []byte {
	p := newPacker(m, limit, true)
	for _, q := range m.Questions {
		p.question(q)
	}
	for _, r := range m.Answers {
		if !p.record(sectionAnswer, r) {
			p.truncate()
			return p.b
		}
	}
	for _, r := range m.Additional {
		p.record(sectionAdditional, r)
	}
	return p.b
}

type splitter struct {
	m       *Message
	limit   int
	p       *packer
	packets [][]byte
	dropped int
}

func (s *splitter) flush() {
	if s.p.items > 0 {
		s.packets = append(s.packets, s.p.b)
	}
	s.p = newPacker(s.m, s.limit, false)
}

func (s *splitter) query() {
	for _, q := range s.m.Questions {
		if s.p.question(q) {
			continue
		}
		if len(s.m.Authority) > 0 {
			s.p.limit = maxMessage
		} else {
			if len(s.m.Answers) > 0 {
				s.p.truncate() // they come behind the last question (section 7.2)
			}
			s.flush()
		}
		if !s.p.question(q) {
			s.dropped++
		}
	}
	for _, r := range s.m.Answers {
		if s.p.record(sectionAnswer, r) {
			continue
		}
		// More known answers follow, in packets without questions (section 7.2).
		s.p.truncate()
		s.flush()
		s.alone(r)
	}
	for _, r := range s.m.Authority {
		if s.p.record(sectionAuthority, r) {
			continue
		}
		s.p.limit = maxMessage
		if !s.p.record(sectionAuthority, r) {
			s.dropped++
		}
	}
}

func (s *splitter) response() {
	for _, r := range s.m.Answers {
		if !s.p.record(sectionAnswer, r) {
			s.flush()
			s.alone(r)
		}
	}
	for _, r := range s.m.Additional {
		if !s.p.record(sectionAdditional, r) {
			return
		}
	}
}

// alone puts r into the empty packet, and sends it by itself when it is too long
// for company.
func (s *splitter) alone(r Record) {
	if s.p.record(sectionAnswer, r) {
		return
	}
	s.p.limit = maxMessage
	if !s.p.record(sectionAnswer, r) {
		s.dropped++
		return
	}
	s.flush()
}
