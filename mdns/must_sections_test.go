package mdns

import (
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestEngine_RFC6762_6_OthersRecordsAreNotPassedOn(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !\nrecv 10.0.0.8 1 query a.local. A\nat 11s"), "!send")
}

func TestEngine_RFC6762_6_AQuestionInAResponseIsIgnored(t *testing.T) {
	s := newStage(t)
	for line := range strings.Lines(strings.ReplaceAll(box, "--", "")) {
		if f := strings.Fields(line); len(f) > 0 {
			s.do(f)
		}
	}
	m := &Message{Response: true, Questions: []AskedQuestion{{Question{"box.local.", dns.TypeA}, dns.ClassINET, false}}}
	m.Answers = []Record{record(t, "a.local. 120 A 10.0.0.9", true)}
	s.h.HandlePacket(s.now, Packet{Data: m.legacy(512), From: addrPort("10.0.0.9:5353"), To: group4, IfIndex: 1})
	expect(t, s.do([]string{"at", "12s"}), "!send", "change add a.local.")
}

func TestOwned_RFC6762_6_ClassMustMatch(t *testing.T) {
	var o owned
	o.set(1, []Record{record(t, "box.local. 120 A 10.0.0.1", true)})
	for class, want := range map[uint16]int{dns.ClassINET: 1, dns.ClassANY: 1, dns.ClassCHAOS: 0} {
		if got := o.answers(AskedQuestion{Question{"box.local.", dns.TypeA}, class, false}); len(got) != want {
			t.Errorf("class %d: %v", class, got)
		}
	}
}

func TestOwned_RFC6762_6_5_AnyTypeMeansAllAndNoDenial(t *testing.T) {
	var o owned
	o.set(1, []Record{record(t, "P._x._tcp.local. 120 SRV 0 0 631 box.local.", true), record(t, "P._x._tcp.local. 4500 TXT x", true)})
	o.set(2, []Record{record(t, "box.local. 120 A 10.0.0.1", true)})
	got := o.answers(AskedQuestion{Question{"p._X._tcp.LOCAL.", dns.TypeANY}, dns.ClassANY, false})
	if len(got) != 2 || got[0].Type != dns.TypeSRV || got[1].Type != dns.TypeTXT {
		t.Errorf("%v", got)
	}
}

func TestResponder_RFC6762_5_4_QUIsAnsweredByUnicastForAQuarterOfTheLife(t *testing.T) {
	// The last announcement was at 3.9423 s; a quarter of 120 s later it is old.
	expect(t, play(t, box+"at 33900ms\nrecv 10.0.0.9 1 query box.local. A QU\nat 33900ms"), "send 1 10.0.0.9:5353 response", "!224.0.0.251")
	expect(t, play(t, box+"at 33950ms\nrecv 10.0.0.9 1 query box.local. A QU\nat 33950ms"), "send 1 224.0.0.251:5353 response", "!10.0.0.9:5353")
}

func TestEngine_RFC6762_5_4_NoQUWithoutUnicast(t *testing.T) {
	e := NewEngine(Link{Index: 1, IPv4: true}, newStage(t).h.rnd, nil)
	e.Ask(t0, Question{"a.local.", dns.TypeA})
	at, _ := e.NextTimeout()
	e.HandleTimeout(at)
	out := e.Outgoing()
	if m, err := ParseMessage(out[0].Data); err != nil || len(m.Questions) != 1 || m.Questions[0].Unicast {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestQuerier_RFC6762_5_3_SeveralQuestionsInOneQuery(t *testing.T) {
	out := play(t, "link eth0 1 10.0.0.1/24\nask a.local. A\nask a.local. AAAA\nask _x._tcp.local. PTR\nat 500ms")
	expect(t, out, "? a.local. A", "? a.local. AAAA", "? _x._tcp.local. PTR")
	if strings.Count(out, "send") != 1 {
		t.Error(out)
	}
}

func TestEngine_RFC6762_6_AUnicastResponseIsBelievedForTwoSeconds(t *testing.T) {
	// The QU question goes at 20 to 120 ms; the later ones are QM.
	const asked = "link eth0 1 10.0.0.1/24\nask a.local. A\nat 500ms\n"
	const answer = "direct 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !"
	expect(t, play(t, asked+"at 2019ms\n--\n"+answer), "change add a.local.")
	expect(t, play(t, asked+"at 2121ms\n--\n"+answer), "!change")
}

func TestEngine_RFC6762_6_AUnicastResponseNobodyAskedForIsIgnored(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\ndirect 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !"), "!change")
}

// An unasked unicast response cannot take a name away either.
func TestEngine_RFC6762_6_AnUnaskedUnicastResponseIsNoConflict(t *testing.T) {
	expect(t, play(t, box+"direct 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\nat 15s"), "!conflict", "!probe")
}

func TestEngine_RFC6762_7_1_KnownAnswersOfOthersAreNotCached(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\nrecv 10.0.0.9 1 query _x._tcp.local. PTR; known _x._tcp.local. 4500 PTR P._x._tcp.local.\nat 1s"), "!change")
}

func TestEngine_RFC6762_8_2_ProposedRecordsAreNotCached(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\nrecv 10.0.0.9 1 query a.local. ANY QU; auth a.local. 120 A 10.0.0.9\nat 1s"), "!change")
}

func TestParseMessage_RFC6762_6_1_AnyNextNameIsAccepted(t *testing.T) {
	m := &Message{Response: true, Answers: []Record{record(t, "a.local. 120 NSEC other.local. A AAAA", true)}}
	if got, err := ParseMessage(packed(t, m, 0)); err != nil || len(got.Answers) != 1 || got.Skipped != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestCache_RFC6762_10_2(t *testing.T) {
	const old = "link eth0 1 10.0.0.1/24\nrecv 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !; a.local. 120 A 10.0.0.8 !\nat 5s\n--\n"
	for _, c := range []struct {
		name, commands string
		wants          []string
	}{
		{"a set received together is kept whole", "recv 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !; a.local. 120 A 10.0.0.8 !\nat 100s", []string{"!remove"}},
		{"one of the set is flushed a second later", "recv 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !\nat 5999ms\nat 6s", []string{"6s event 1 change remove a.local. 120 IN A 10.0.0.8 (flush) (flushed)", "!remove a.local. 120 IN A 10.0.0.9"}},
		{"and can be saved in that second", "recv 10.0.0.9 1 response a.local. 120 A 10.0.0.9 !\nat 5500ms\nrecv 10.0.0.9 1 response a.local. 120 A 10.0.0.8 !\nat 100s", []string{"!remove"}},
		{"without the bit nothing is flushed", "recv 10.0.0.9 1 response a.local. 120 A 10.0.0.7\nat 100s", []string{"!remove"}},
		{"another type is not touched", "recv 10.0.0.9 1 response a.local. 120 AAAA fe80::9 !\nat 100s", []string{"!remove"}},
		{"another name is not touched", "recv 10.0.0.9 1 response b.local. 120 A 10.0.0.7 !\nat 100s", []string{"!remove"}},
		{"case does not matter", "recv 10.0.0.9 1 response A.LOCAL. 120 A 10.0.0.7 !\nat 6s", []string{"remove a.local. 120 IN A 10.0.0.8", "remove a.local. 120 IN A 10.0.0.9"}},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, play(t, old+c.commands), c.wants...) })
	}
}

func TestEngine_RFC6762_10_2_AUniqueSetGoesWhole(t *testing.T) {
	const two = "link eth0 1 10.0.0.1/24 10.0.0.2/24\nclaim box\nat 10s\n--\n"
	expect(t, play(t, two+"recv 10.0.0.9 1 query box.local. A; known box.local. 120 A 10.0.0.1\nat 11s"),
		"= box.local. 120 IN A 10.0.0.1 (flush)", "= box.local. 120 IN A 10.0.0.2 (flush)")
	expect(t, play(t, two+"recv 10.0.0.9 1 query box.local. A; known box.local. 120 A 10.0.0.1; known box.local. 120 A 10.0.0.2\nat 11s"), "!send")
}

func TestQuerier_RFC6762_10_2_NoFlushBitInKnownAnswers(t *testing.T) {
	out := play(t, `link eth0 1 10.0.0.1/24
		ask _x._tcp.local. PTR
		ask a.local. A
		at 500ms
		recv 10.0.0.9 1 response _x._tcp.local. 4500 PTR a._x._tcp.local.; a.local. 120 A 10.0.0.9 !
		--
		at 110s`)
	expect(t, out, "= _x._tcp.local.")
	for part := range strings.SplitSeq(out, "send") {
		if query, _, _ := strings.Cut(part, "event"); strings.Contains(query, "(flush)") {
			t.Error(query)
		}
	}
}

func TestResponder_RFC6762_16_CaseOfTheAnswerIsOurs(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\nclaim BoX\nat 10s\n--\nrecv 10.0.0.9 1 query bOx.LoCaL. A\nat 10s"), "= BoX.local. 120 IN A 10.0.0.1")
}

func TestMessage_RFC6762_16_NamesAreUTF8(t *testing.T) {
	s := newStage(t)
	for _, line := range []string{"link eth0 1 10.0.0.1/24", "claim Büro", "at 500ms"} {
		s.do(strings.Fields(line))
	}
	if name := s.h.Name(1); strings.Contains(name, "xn--") {
		t.Error(name)
	}
	b, err := appendName(nil, s.h.Name(1))
	if err != nil || string(b) != "\x05B\xc3\xbcro\x05local\x00" {
		t.Errorf("%q, %v", b, err)
	}
}

// Only A to Z have another case; "Ä" and "ä" are two names.
func TestResponder_RFC6762_16_NoCaseOutsideASCII(t *testing.T) {
	const name = "link eth0 1 10.0.0.1/24\nclaim \u00c4\nat 10s\n--\n"
	expect(t, play(t, name+"recv 10.0.0.9 1 query \\195\\132.local. A\nat 10s"), "send 1")
	expect(t, play(t, name+"recv 10.0.0.9 1 query \\195\\164.local. A\nat 11s"), "!send")
}

func TestLink_RFC6762_17_LargestMessageOfAFrame(t *testing.T) {
	for _, c := range []struct {
		link Link
		want int
	}{
		{Link{IPv4: true}, 1472},
		{Link{IPv4: true, IPv6: true}, 1452},
		{Link{MTU: 9000, IPv6: true}, 8952},
		{Link{MTU: 65536, IPv4: true}, 8952},
	} {
		if got := c.link.limit(); got != c.want {
			t.Errorf("%+v: %d, want %d", c.link, got, c.want)
		}
	}
}

func TestParseMessage_RFC6762_17_AcceptsUpTo9000Bytes(t *testing.T) {
	m := &Message{Response: true, Answers: []Record{{Name: "a.local.", Type: 65280, Class: 1, TTL: 1, Data: make([]byte, 8900)}}}
	packets, dropped := m.Split(1472)
	if len(packets) != 1 || dropped != 0 {
		t.Fatalf("%d packets, %d dropped", len(packets), dropped)
	}
	if got, err := ParseMessage(packets[0]); err != nil || len(got.Answers[0].Data) != 8900 {
		t.Errorf("%v", err)
	}
}
