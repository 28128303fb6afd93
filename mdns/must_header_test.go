package mdns

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// flags are the bits of a header word that mean nothing in a received message.
var ignoredFlags = map[string]uint16{"AA": 1 << 10, "RD": 1 << 8, "RA": 1 << 7, "Z": 1 << 6, "AD": 1 << 5, "CD": 1 << 4}

// packed returns m as one packet with the bits of flags set too.
func packed(t *testing.T, m *Message, flags uint16) []byte {
	t.Helper()
	packets, dropped := m.Split(1472)
	if len(packets) != 1 || dropped > 0 {
		t.Fatalf("%d packets, %d dropped", len(packets), dropped)
	}
	b := packets[0]
	binary.BigEndian.PutUint16(b[2:], binary.BigEndian.Uint16(b[2:])|flags)
	return b
}

func TestParseMessage_RFC6762_18_MeaninglessBitsChangeNothing(t *testing.T) {
	response := &Message{Response: true, Answers: []Record{record(t, "box.local. 120 A 10.0.0.1", true)}}
	query := &Message{Questions: []AskedQuestion{{Question{"box.local.", dns.TypeA}, dns.ClassINET, true}}}
	for _, m := range []*Message{response, query} {
		for name, bit := range ignoredFlags {
			if got, err := ParseMessage(packed(t, m, bit)); err != nil || cmp.Diff(m, got) != "" {
				t.Errorf("%s (section 18): %v %s", name, err, cmp.Diff(m, got))
			}
		}
	}
}

func TestParseMessage_RFC6762_18_4_AnAnswerNeedNotBeAuthoritative(t *testing.T) {
	b := packed(t, &Message{Response: true, Answers: []Record{record(t, "box.local. 120 A 10.0.0.1", true)}}, 0)
	b[2] &^= bitAuthority >> 8
	if m, err := ParseMessage(b); err != nil || len(m.Answers) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestParseMessage_RFC6762_18_3_EveryOtherOpcodeIsIgnored(t *testing.T) {
	b := packed(t, &Message{Response: true, Answers: []Record{record(t, "box.local. 120 A 10.0.0.1", true)}}, 0)
	for opcode := byte(1); opcode < 16; opcode++ {
		b[2] = 0x84 | opcode<<3
		if _, err := ParseMessage(b); err == nil {
			t.Errorf("opcode %d was accepted", opcode)
		}
	}
}

func TestParseMessage_RFC6762_18_11_EveryOtherResponseCodeIsIgnored(t *testing.T) {
	b := packed(t, &Message{Response: true, Answers: []Record{record(t, "box.local. 120 A 10.0.0.1", true)}}, 0)
	for rcode := byte(1); rcode < 16; rcode++ {
		b[3] = rcode
		if _, err := ParseMessage(b); err == nil {
			t.Errorf("response code %d was accepted", rcode)
		}
	}
}

func TestEngine_RFC6762_18_1_TheIDOfAMulticastResponseIsIgnored(t *testing.T) {
	s := newStage(t)
	s.do([]string{"link", "eth0", "1", "10.0.0.1/24"})
	b := packed(t, &Message{ID: 77, Response: true, Answers: []Record{record(t, "a.local. 120 A 10.0.0.9", true)}}, 0)
	s.h.HandlePacket(t0, Packet{Data: b, From: addrPort("10.0.0.9:5353"), To: group4, IfIndex: 1})
	s.report()
	expect(t, s.out.String(), "change add a.local.")
}

func TestEngine_RFC6762_18_1_AMulticastAnswerHasIDZero(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 query box.local. A; id 7\nat 10s"), "send 1", "!id 7")
}

// Only a legacy answer repeats the query's id.
func TestEngine_RFC6762_18_1_ALegacyAnswerHasTheQuerysID(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9:4000 1 query box.local. A; id 65535\nat 10s"), "send 1 10.0.0.9:4000 response id 65535")
}

func TestMessage_RFC6762_18_HeaderOfAQuery(t *testing.T) {
	b := packed(t, &Message{Questions: []AskedQuestion{{Question{"box.local.", dns.TypeA}, dns.ClassINET, false}}}, 0)
	if !bytes.Equal(b[:headerSize], []byte{5: 1, 11: 0}) {
		t.Errorf("header %x", b[:headerSize])
	}
}

func TestEngine_RFC6762_18_5_TCOfAResponseIsIgnored(t *testing.T) {
	s := newStage(t)
	s.do([]string{"link", "eth0", "1", "10.0.0.1/24"})
	b := packed(t, &Message{Response: true, Answers: []Record{record(t, "a.local. 120 A 10.0.0.9", true)}}, bitTruncated)
	s.h.HandlePacket(t0, Packet{Data: b, From: addrPort("10.0.0.9:5353"), To: group4, IfIndex: 1})
	s.report()
	expect(t, s.out.String(), "change add a.local.")
}

func TestMessage_RFC6762_18_5_AResponseInSeveralPacketsHasNoTC(t *testing.T) {
	m := &Message{Response: true}
	for i := range 100 {
		m.Answers = append(m.Answers, Record{Name: "_x._tcp.local.", Type: dns.TypeTXT, Class: 1, TTL: 1, Data: append([]byte{99}, bytes.Repeat([]byte{byte(i)}, 99)...)})
	}
	packets, _ := m.Split(1472)
	for i, b := range packets {
		if flags := binary.BigEndian.Uint16(b[2:]); flags != bitResponse|bitAuthority {
			t.Errorf("packet %d of %d: flags %04x", i, len(packets), flags)
		}
	}
}

func TestMessage_RFC6762_18_12_UnicastBitIsNotPartOfTheClass(t *testing.T) {
	b := packed(t, &Message{Questions: []AskedQuestion{{Question{"box.local.", dns.TypeA}, dns.ClassINET, true}}}, 0)
	m, err := ParseMessage(b)
	if err != nil || !bytes.HasSuffix(b, []byte{0x80, 0x01}) || m.Questions[0].Class != dns.ClassINET || !m.Questions[0].Unicast {
		t.Errorf("%x: %+v, %v", b, m, err)
	}
}

func TestMessage_RFC6762_18_13_FlushBitIsNotPartOfTheClass(t *testing.T) {
	b := packed(t, &Message{Response: true, Answers: []Record{record(t, "a. 120 A 10.0.0.1", true)}}, 0)
	m, err := ParseMessage(b)
	if err != nil || !bytes.Contains(b, []byte{0x00, 0x01, 0x80, 0x01}) || m.Answers[0].Class != dns.ClassINET || !m.Answers[0].Flush {
		t.Errorf("%x: %+v, %v", b, m, err)
	}
}

func TestMessage_RFC6762_18_14_NamesAreCompressed(t *testing.T) {
	for _, zone := range []string{
		"a.local. 120 NS bbbbbbbb.a.local.", "a.local. 120 CNAME bbbbbbbb.a.local.", "a.local. 120 PTR bbbbbbbb.a.local.",
		"a.local. 120 DNAME bbbbbbbb.a.local.", "a.local. 120 MX 1 bbbbbbbb.a.local.", "a.local. 120 SRV 0 0 1 bbbbbbbb.a.local.",
		"a.local. 120 NSEC bbbbbbbb.a.local. A",
	} {
		m := &Message{Response: true, Answers: []Record{record(t, zone, true)}}
		b := packed(t, m, 0)
		if n := bytes.Count(b, []byte("\x05local")); n != 1 {
			t.Errorf("%s: the domain is written %d times", zone, n)
		}
		if got, err := ParseMessage(b); err != nil || cmp.Diff(m.Answers, got.Answers) != "" {
			t.Errorf("%s: %v", zone, err)
		}
	}
}

// Names in rdata of other types must not be compressed: nobody would know that
// there are names.
func TestMessage_RFC6762_18_14_UnknownRdataStaysAsItIs(t *testing.T) {
	data := []byte("\x01a\x05local\x00")
	b := packed(t, &Message{Response: true, Answers: []Record{{Name: "a.local.", Type: 65280, Class: 1, TTL: 1, Data: data}}}, 0)
	if !bytes.HasSuffix(b, data) {
		t.Errorf("%x", b)
	}
}
