package mdns

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

const printer = `link eth0 1 10.0.0.1/24
	claim box
	publish _x._tcp.local. 4500 PTR P._x._tcp.local.; P._x._tcp.local. 120 SRV 0 0 631 box.local. !; P._x._tcp.local. 4500 TXT "a=1" !
	at 10s
	--
	`

func TestResponder_RFC6762_6_7_IDQuestionAndSourceAreRepeated(t *testing.T) {
	out := play(t, printer+"recv 10.0.0.9:4000 1 query _X._tcp.local. PTR; id 513")
	expect(t, out, "10s send 1 10.0.0.9:4000 response id 513", "? _X._tcp.local. PTR", "= _x._tcp.local. 10 IN PTR P._x._tcp.local.", "!224.0.0.251")
}

func TestResponder_RFC6762_6_7_NoFlushBitAnywhere(t *testing.T) {
	out := play(t, printer+"recv 10.0.0.9:4000 1 query _x._tcp.local. PTR; id 7")
	expect(t, out, "+ P._x._tcp.local. 10 IN SRV", "+ box.local. 10 IN A 10.0.0.1", "!(flush)", "! 120 ", "! 4500 ")
}

func TestResponder_RFC6762_6_7_AShorterLifeStaysShort(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		publish a.local. 5 TXT "x"
		at 5s
		--
		recv 10.0.0.9:4000 1 query a.local. TXT; id 7`), "= a.local. 5 IN TXT")
}

func TestResponder_RFC6762_6_7_NoUnicastBitInTheQuestion(t *testing.T) {
	expect(t, play(t, printer+"recv 10.0.0.9:4000 1 query box.local. A QU; id 7"), "? box.local. A", "! QU")
}

func TestResponder_RFC6762_6_7_OthersRecordsAreNotAnswered(t *testing.T) {
	expect(t, play(t, printer+"recv 10.0.0.9:4000 1 query tin.local. A; id 7\nat 11s"), "!send")
}

func TestEngine_RFC6762_6_7_OurRecordsKeepTheirLife(t *testing.T) {
	expect(t, play(t, printer+"recv 10.0.0.9:4000 1 query box.local. A; id 7\n--\nrecv 10.0.0.9 1 query box.local. A\nat 10s"),
		"= box.local. 120 IN A 10.0.0.1 (flush)")
}

func TestMessage_RFC6762_18_14_SRVForALegacyResolverIsNotCompressed(t *testing.T) {
	m := &Message{Response: true, Answers: []Record{record(t, "P._x._tcp.local. 10 SRV 0 0 631 box.local.", false)}}
	b := m.legacy(512)
	if !bytes.HasSuffix(b, []byte("\x03box\x05local\x00")) {
		t.Errorf("%x", b)
	}
	again := new(dns.Msg)
	if err := again.Unpack(b); err != nil || again.Answer[0].(*dns.SRV).Target != "box.local." {
		t.Errorf("%v, %v", again, err)
	}
}

func TestMessage_RFC6762_18_5_ALegacyAnswerTooLongHasTC(t *testing.T) {
	m := &Message{ID: 7, Response: true}
	for i := range 20 {
		m.Answers = append(m.Answers, record(t, fmt.Sprintf("_x._tcp.local. 10 PTR %s%d._x._tcp.local.", strings.Repeat("p", 40), i), false))
	}
	b := m.legacy(512)
	got, err := ParseMessage(b)
	if err != nil || !got.Truncated || len(b) > 512 || len(got.Answers) == 0 {
		t.Errorf("%d bytes, %+v, %v", len(b), got, err)
	}
}
