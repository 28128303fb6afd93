package mdns

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestOwned_RFC6762_6_1_TheTTLDoesNotDependOnTheOrder(t *testing.T) {
	both := []Record{record(t, "P._x._tcp.local. 120 SRV 0 0 631 box.local.", true), record(t, "P._x._tcp.local. 4500 TXT x", true)}
	for range 2 {
		if nsec := denial(t, "P._x._tcp.local.", both...); nsec.TTL != HostTTL {
			t.Errorf("TTL %d", nsec.TTL)
		}
		slices.Reverse(both)
	}
}

func TestResponder_RFC6762_6_6_HalfOfTheLifeIsNotCorrected(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 response _x._tcp.local. 2250 PTR P._x._tcp.local.\nat 11s"), "!send")
	expect(t, play(t, box+"recv 10.0.0.9 1 response _x._tcp.local. 2249 PTR P._x._tcp.local.\nat 11s"), "send 1")
}

// Somebody says goodbye for a record that we have too.
func TestResponder_RFC6762_10_1_AForeignGoodbyeIsCorrected(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 response _x._tcp.local. 0 PTR P._x._tcp.local.\nat 11s"), "= _x._tcp.local. 4500 IN PTR P._x._tcp.local.")
}

func TestCache_RFC6762_10_1_AGoodbyeIsTakenBackWithinASecond(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		recv 10.0.0.9 1 response _x._tcp.local. 4500 PTR P._x._tcp.local.
		at 5s
		recv 10.0.0.9 1 response _x._tcp.local. 0 PTR P._x._tcp.local.
		at 5900ms
		recv 10.0.0.8 1 response _x._tcp.local. 4500 PTR P._x._tcp.local.
		at 100s`), "!remove")
}

func TestCache_RFC6762_10_1_AGoodbyeForTheUnknownIsNothing(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\nrecv 10.0.0.9 1 response a.local. 0 A 10.0.0.9 !\nat 5s"), "!change")
}

func TestCache_RFC6762_10_2_AGoodbyeFlushesNothingElse(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		recv 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !; a.local. 120 A 10.0.0.8 !
		at 5s
		recv 10.0.0.9 1 response a.local. 0 A 10.0.0.9 !
		at 100s`), "remove a.local. 120 IN A 10.0.0.9 (flush) (goodbye)", "!remove a.local. 120 IN A 10.0.0.8")
}

func TestEngine_RFC6762_10_1_AGoodbyeOnlyForWhatWasAnnounced(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\nclaim box\nat 300ms\n--\nwithdraw 1\nat 5s"), "!send")
}

func TestEngine_RFC6762_10_1_NoGoodbyeForWhatAnotherSetStillHas(t *testing.T) {
	expect(t, play(t, `link eth0 1 10.0.0.1/24
		publish _services._dns-sd._udp.local. 4500 PTR _x._tcp.local.; a.local. 120 TXT one
		publish _services._dns-sd._udp.local. 4500 PTR _x._tcp.local.; b.local. 120 TXT two
		at 10s
		--
		withdraw 1`), "= a.local. 0 IN TXT", "!= _services")
}

func TestEngine_RFC6762_8_4_AChangeNeedsNoNewProbe(t *testing.T) {
	out := play(t, printer+`update 2 _x._tcp.local. 4500 PTR P._x._tcp.local.; P._x._tcp.local. 120 SRV 0 0 632 box.local. !; P._x._tcp.local. 4500 TXT "a=1" !
		at 15s`)
	expect(t, out, "= P._x._tcp.local. 120 IN SRV 0 0 632 box.local. (flush)", "!probe", "! 0 IN SRV")
	if strings.Count(out, "event 1 announce") < 2 {
		t.Error(out)
	}
}

func TestQuerier_RFC6762_7_3_AQuestionThatDiffersDoesNotCount(t *testing.T) {
	const asking = "link eth0 1 10.0.0.1/24\nask _x._tcp.local. PTR\nat 500ms\n"
	for name, query := range map[string]string{
		"unicast":         "_x._tcp.local. PTR QU",
		"another type":    "_x._tcp.local. TXT",
		"another name":    "_y._tcp.local. PTR",
		"knows more":      "_x._tcp.local. PTR; known _x._tcp.local. 4500 PTR P._x._tcp.local.",
		"more may follow": "_x._tcp.local. PTR; tc",
	} {
		if out := play(t, asking+"recv 10.0.0.9 1 query "+query+"\n--\nat 1200ms"); !strings.Contains(out, "? _x._tcp.local. PTR") {
			t.Errorf("%s: not asked: %s", name, out)
		}
	}
}

func TestMessage_RFC6762_18_14_QuestionsAndKnownAnswersAreCompressed(t *testing.T) {
	m := &Message{Questions: []AskedQuestion{
		{Question{"_x._tcp.local.", dns.TypePTR}, 1, false}, {Question{"_y._tcp.local.", dns.TypePTR}, 1, false},
	}}
	for i := range 3 {
		m.Answers = append(m.Answers, record(t, fmt.Sprintf("_x._tcp.local. 4500 PTR p%d._x._tcp.local.", i), false))
	}
	if b := packed(t, m, 0); bytes.Count(b, []byte("\x05local")) != 1 || bytes.Count(b, []byte("\x02_x")) != 1 {
		t.Errorf("%x", b)
	}
}

func TestParseMessage_RFC6762_18_14_CompressedSRVIsRead(t *testing.T) {
	b := []byte("\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00" +
		"\x03box\x05local\x00\x00\x21\x80\x01\x00\x00\x00\x78\x00\x08\x00\x00\x00\x00\x00\x01\xc0\x0c")
	m, err := ParseMessage(b)
	if err != nil || len(m.Answers) != 1 || !strings.HasSuffix(m.Answers[0].String(), "SRV 0 0 1 box.local. (flush)") {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestCache_RFC6762_16_CaseIsKeptAndIgnored(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\nrecv 10.0.0.9 1 response BoX.local. 120 A 10.0.0.9 !\n--\nask bOx.LOCAL. A"), "known add BoX.local. 120 IN A 10.0.0.9")
}

func TestHost_RFC6762_14_AnEchoFromTheOtherInterfaceIsNoRival(t *testing.T) {
	s := newStage(t)
	for _, line := range []string{"link eth0 1 10.0.0.1/24", "link wlan0 2 10.0.0.2/24", "claim box"} {
		s.do(strings.Fields(line))
	}
	// The two are bridged: what one sends the other hears.
	for next, ok := s.h.NextTimeout(); ok && next.Sub(t0).Seconds() < 10; next, ok = s.h.NextTimeout() {
		s.now = next
		s.h.HandleTimeout(next)
		for _, p := range s.h.Outgoing() {
			from := addrPort(fmt.Sprintf("10.0.0.%d:5353", p.IfIndex))
			for _, to := range []int{1, 2} {
				s.h.HandlePacket(next, Packet{Data: p.Data, From: from, To: group4, IfIndex: to})
			}
		}
	}
	s.report()
	expect(t, s.out.String(), "claimed box.local.", "!renamed", "!conflict", "!deferred")
}

// A change may bring a name that is not ours yet.
func TestEngine_RFC6762_8_1_AChangeToANewNameIsProbedFor(t *testing.T) {
	out := play(t, printer+`update 2 _x._tcp.local. 4500 PTR R._x._tcp.local.; R._x._tcp.local. 120 SRV 0 0 631 box.local. !; R._x._tcp.local. 4500 TXT "a=1" !
		at 15s`)
	expect(t, out, "= _x._tcp.local. 0 IN PTR P._x._tcp.local.", "= P._x._tcp.local. 0 IN SRV", "? R._x._tcp.local. ANY QU", "= R._x._tcp.local. 120 IN SRV")
	if answer := strings.Index(out, "= R._x._tcp.local."); answer < strings.LastIndex(out, "? R._x._tcp.local.") || strings.Count(out, "event 1 probe") != ProbeNum {
		t.Error(out)
	}
}

func TestResponder_RFC6762_5_4_ADenialIsUnicastForAQuarterOfItsLife(t *testing.T) {
	out := play(t, box+"recv 10.0.0.9 1 query box.local. AAAA\nat 10s\nask a.local. A\nat 38s\n--\nrecv 10.0.0.9 1 query box.local. AAAA QU\nat 39s")
	expect(t, out, "send 1 10.0.0.9:5353 response", "!224.0.0.251")
}

// Questions that take two packets: the known answers are in the second.
func TestMessage_RFC6762_7_2_QuestionsInSeveralPacketsHaveTC(t *testing.T) {
	m := new(Message)
	for i := range 60 {
		m.Questions = append(m.Questions, AskedQuestion{Question{fmt.Sprintf("%s%d.local.", strings.Repeat("x", 40), i), dns.TypeTXT}, 1, false})
	}
	for _, known := range [][]Record{nil, {record(t, "_x._tcp.local. 4500 PTR P._x._tcp.local.", false)}} {
		m.Answers = known
		packets, _ := m.Split(1472)
		for i, b := range packets {
			got, err := ParseMessage(b)
			if want := len(known) > 0 && i < len(packets)-1; err != nil || got.Truncated != want || len(packets) < 2 {
				t.Errorf("packet %d of %d with %d known answers: %+v, %v", i, len(packets), len(known), got, err)
			}
		}
	}
}

// Probing again, after a conflict or because the link was away, does not undo what
// was announced before.
func TestEngine_RFC6762_10_1_AGoodbyeWhileProbingAgain(t *testing.T) {
	for _, again := range []string{"restart 1\nat 10100ms\n", "recv 10.0.0.9 1 response P._x._tcp.local. 120 SRV 0 0 9 tin.local. !\n"} {
		expect(t, play(t, printer+again+"--\nwithdraw 2"), "= _x._tcp.local. 0 IN PTR P._x._tcp.local.", "= P._x._tcp.local. 0 IN SRV")
		expect(t, play(t, printer+again+"--\nupdate 2 P._x._tcp.local. 120 SRV 0 0 631 box.local. !"), "= _x._tcp.local. 0 IN PTR P._x._tcp.local.", "! 0 IN SRV")
	}
}
