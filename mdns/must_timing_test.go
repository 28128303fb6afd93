package mdns

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

const shared = "recv 10.0.0.9 1 query _x._tcp.local. PTR"

func TestResponder_RFC6762_6_NotAgainBeforeASecondAndThenAgain(t *testing.T) {
	const asked = box + "recv 10.0.0.9 1 query box.local. A\nat 10s\n--\n"
	expect(t, play(t, asked+"at 10999ms\nrecv 10.0.0.8 1 query box.local. A\nat 10999ms"), "!send")
	expect(t, play(t, asked+"at 11s\nrecv 10.0.0.8 1 query box.local. A\nat 11s"), "11s send")
}

func TestResponder_RFC6762_6_ADefenceNotAgainBefore250ms(t *testing.T) {
	const probe = "recv 10.0.0.8 1 query box.local. ANY; auth box.local. 120 A 10.0.0.8\n"
	out := play(t, box+probe+"at 10100ms\n"+probe+"at 10249ms\n--\nat 11s")
	expect(t, out, "10.25s send 1 224.0.0.251:5353 response", "= box.local. 120 IN A 10.0.0.1 (flush)")
	if strings.Count(out, "send") != 1 {
		t.Error(out)
	}
}

// A unicast answer is not counted: the floor is for multicast.
func TestResponder_RFC6762_6_AUnicastAnswerHasNoFloor(t *testing.T) {
	out := play(t, box+strings.Repeat("recv 10.0.0.9 1 query box.local. A QU\nat 10s\n", 2))
	if strings.Count(out, "send 1 10.0.0.9:5353") != 2 {
		t.Error(out)
	}
}

func TestResponder_RFC6762_6_3_SeveralQuestionsAreDelayedUniformly20To120ms(t *testing.T) {
	const n = 2000
	rnd := rand.New(rand.NewPCG(11, 0))
	var quarters [4]int
	for range n {
		r := NewResponder(rnd)
		r.Set(1, []Record{record(t, "a.local. 120 A 10.0.0.1", true), record(t, "b.local. 120 A 10.0.0.1", true)})
		q := &Message{Questions: []AskedQuestion{
			{Question{"a.local.", dns.TypeA}, dns.ClassINET, false}, {Question{"tin.local.", dns.TypeA}, dns.ClassINET, false},
		}}
		r.HandleQuery(t0, q, asker{from: addrPort("10.0.0.9:5353"), onLink: true})
		next, _ := r.NextTimeout()
		d := next.Sub(t0)
		if d < 20*time.Millisecond || d > 120*time.Millisecond {
			t.Fatalf("delay %v", d)
		}
		quarters[min(3, (d-20*time.Millisecond)/(25*time.Millisecond))]++
	}
	for i, got := range quarters {
		if got < n/5 || got > n*3/10 {
			t.Errorf("quarter %d has %d of %d", i, got, n)
		}
	}
}

// All answers to one message go in one packet, at one moment.
func TestResponder_RFC6762_6_3_EveryQuestionOfAMessageIsAnswered(t *testing.T) {
	out := play(t, box+"recv 10.0.0.9 1 query box.local. A, _x._tcp.local. PTR, tin.local. A\nat 11s")
	expect(t, out, "= box.local. 120 IN A", "= _x._tcp.local. 4500 IN PTR")
	if strings.Count(out, "send") != 1 {
		t.Error(out)
	}
}

func TestResponder_RFC6762_6_3_AProbeAmongQuestionsIsDefendedAtOnce(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 query _x._tcp.local. PTR, box.local. ANY; auth box.local. 120 A 10.0.0.9\nat 10s"),
		"10s send 1 224.0.0.251:5353", "= box.local. 120 IN A 10.0.0.1 (flush)")
}

func TestResponder_RFC6762_6_4_NoRecordTwiceInAPacket(t *testing.T) {
	out := play(t, printer+`recv 10.0.0.9 1 query box.local. A, box.local. ANY, BOX.local. A, P._x._tcp.local. SRV
		recv 10.0.0.8 1 query box.local. A, _x._tcp.local. PTR
		at 11s`)
	for part := range strings.SplitSeq(out, "send") {
		for _, text := range []string{"IN A 10.0.0.1", "IN SRV", "IN PTR P", "NSEC box"} {
			if strings.Count(part, text) > 1 {
				t.Errorf("%q twice in:\n%s", text, out)
			}
		}
	}
	expect(t, out, "IN A 10.0.0.1", "IN SRV", "IN PTR P")
}

// However many queries come, the first answer waits no more than half a second.
func TestResponder_RFC6762_6_4_AggregationEndsAfter500ms(t *testing.T) {
	s := newStage(t)
	for line := range strings.Lines(strings.ReplaceAll(box, "--", "")) {
		if f := strings.Fields(line); len(f) > 0 {
			s.do(f)
		}
	}
	for at := 10 * time.Second; at < 11*time.Second; at += 10 * time.Millisecond {
		out := s.do([]string{"at", at.String()}) + s.do(strings.Fields(shared))
		if strings.Contains(out, "send") {
			if at > 10510*time.Millisecond {
				t.Errorf("answered at %v", at)
			}
			return
		}
	}
	t.Error("no answer")
}

func TestResponder_RFC6762_7_2_AFurtherTruncatedPacketRestartsTheWait(t *testing.T) {
	const more = shared + "; tc\nat 10300ms\nrecv 10.0.0.9 1 query ; known _x._tcp.local. 4500 PTR Q._x._tcp.local.; tc\n--\n"
	expect(t, play(t, box+more+"at 10699ms"), "!send")
	expect(t, play(t, box+more+"at 10801ms"), "send 1", "PTR P._x._tcp.local.")
}

func TestResponder_RFC6762_7_2_TheLastPacketDoesNotRestartTheWait(t *testing.T) {
	expect(t, play(t, box+shared+"; tc\nat 10300ms\nrecv 10.0.0.9 1 query ; known _x._tcp.local. 4500 PTR Q._x._tcp.local.\nat 10501ms"), "send 1")
}

// The known answers of one querier say nothing about another's.
func TestResponder_RFC6762_7_2_KnownAnswersOfAnotherQuerierDoNotCount(t *testing.T) {
	expect(t, play(t, box+shared+"; tc\nrecv 10.0.0.8 1 query ; known _x._tcp.local. 4500 PTR P._x._tcp.local.\nat 11s"), "send 1")
}

func TestResponder_RFC6762_7_1_HalfOfAnOddLife(t *testing.T) {
	const odd = "link eth0 1 10.0.0.1/24\npublish a.local. 5 TXT \"x\"\nat 10s\n--\n"
	expect(t, play(t, odd+"recv 10.0.0.9 1 query a.local. TXT; known a.local. 2 TXT \"x\"\nat 11s"), "send 1")
	expect(t, play(t, odd+"recv 10.0.0.9 1 query a.local. TXT; known a.local. 3 TXT \"x\"\nat 11s"), "!send")
}

func TestResponder_RFC6762_7_4_AShorterLifeDoesNotSilenceUs(t *testing.T) {
	expect(t, play(t, box+shared+"\nrecv 10.0.0.8 1 response _x._tcp.local. 4499 PTR P._x._tcp.local.\nat 11s"), "send 1")
}

func TestAnnouncer_RFC6762_8_3_NotPeriodically(t *testing.T) {
	expect(t, play(t, box+"at 24h"), "!send")
}

// An answer that waits while its record changes must not bring the old one back.
func TestEngine_RFC6762_8_4_AWaitingAnswerIsNotOfTheOldRecord(t *testing.T) {
	out := play(t, printer+`recv 10.0.0.9 1 query P._x._tcp.local. TXT, tin.local. A
		update 2 _x._tcp.local. 4500 PTR P._x._tcp.local.; P._x._tcp.local. 120 SRV 0 0 631 box.local. !; P._x._tcp.local. 4500 TXT "a=2" !
		at 12s`)
	expect(t, out, `= P._x._tcp.local. 4500 IN TXT "a=2"`, `!= P._x._tcp.local. 4500 IN TXT "a=1"`)
}

func TestEngine_RFC6762_10_1_AWaitingDenialOfAWithdrawnNameIsNotSent(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 query box.local. AAAA, tin.local. A\nwithdraw 1\n--\nat 12s"), "!send")
}

func TestResponder_RFC6762_7_2_ATruncatedQueryWaitsUniformly400To500ms(t *testing.T) {
	const n = 2000
	rnd := rand.New(rand.NewPCG(13, 0))
	var quarters [4]int
	for range n {
		r := NewResponder(rnd)
		r.Set(1, []Record{record(t, "a.local. 120 A 10.0.0.1", true)})
		q := &Message{Truncated: true, Questions: []AskedQuestion{{Question{"a.local.", dns.TypeA}, dns.ClassINET, false}}}
		r.HandleQuery(t0, q, asker{from: addrPort("10.0.0.9:5353"), onLink: true})
		next, _ := r.NextTimeout()
		d := next.Sub(t0)
		if d < 400*time.Millisecond || d > 500*time.Millisecond {
			t.Fatalf("delay %v", d)
		}
		quarters[min(3, (d-400*time.Millisecond)/(25*time.Millisecond))]++
	}
	for i, got := range quarters {
		if got < n/5 || got > n*3/10 {
			t.Errorf("quarter %d has %d of %d", i, got, n)
		}
	}
}
