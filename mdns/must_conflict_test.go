package mdns

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestProber_RFC6762_8_1_AnAnswerBeforeTheFirstProbeIsIgnored(t *testing.T) {
	for seed := range uint64(50) {
		h := NewHost(rand.New(rand.NewPCG(seed, 0)))
		h.SetLink(t0, Link{Index: 1, Name: "eth0", IPv4: true, Addresses: prefixes([]string{"10.0.0.1/24"})})
		if _, err := h.ClaimHost(t0, "box"); err != nil {
			t.Fatal(err)
		}
		m := &Message{Response: true, Answers: []Record{record(t, "box.local. 120 A 10.0.0.9", true)}}
		deny := func(now time.Time) {
			h.HandlePacket(now, Packet{Data: packed(t, m, 0), From: addrPort("10.0.0.9:5353"), To: group4, IfIndex: 1})
		}
		deny(t0)
		if name := h.Name(1); name != "box.local." {
			t.Fatalf("seed %d: %s before the first probe", seed, name)
		}
		for first := h.engine(1).prober.probes[0]; first.sent == 0; {
			now, _ := h.NextTimeout()
			h.HandleTimeout(now)
		}
		deny(t0.Add(250 * time.Millisecond))
		if name := h.Name(1); name != "box-2.local." {
			t.Fatalf("seed %d: %s after it", seed, name)
		}
	}
}

// What is denied may be anywhere in the message (RFC 6762 section 9 too).
func TestProber_RFC6762_8_1_ADenialInAnySectionCounts(t *testing.T) {
	denial := []Record{record(t, "box.local. 120 TXT mine", true)}
	for name, m := range map[string]*Message{
		"answer":     {Response: true, Answers: denial},
		"additional": {Response: true, Answers: []Record{record(t, "a.local. 120 A 10.0.0.9", true)}, Additional: denial},
	} {
		s := newStage(t)
		for _, line := range []string{"link eth0 1 10.0.0.1/24", "claim box", "at 300ms"} {
			s.do(strings.Fields(line))
		}
		s.h.HandlePacket(s.now, Packet{Data: packed(t, m, 0), From: addrPort("10.0.0.9:5353"), To: group4, IfIndex: 1})
		if got := s.h.Name(1); got != "box-2.local." {
			t.Errorf("%s section: %s", name, got)
		}
	}
}

// A rival denies every name. From the sixteenth conflict on, five seconds pass
// before the next probe, and never is a name tried twice.
func TestHost_RFC6762_8_1_EveryProbeAfterFifteenConflictsWaitsFiveSeconds(t *testing.T) {
	s := newStage(t)
	s.do(strings.Fields("link eth0 1 10.0.0.1/24"))
	s.do(strings.Fields("claim box"))
	tried := make(map[string]bool)
	var at []time.Duration
	for len(at) < 18 {
		next, ok := s.h.NextTimeout()
		if !ok {
			t.Fatal("nothing to wait for")
		}
		s.now = next
		s.h.HandleTimeout(next)
		if len(s.h.Outgoing()) == 0 {
			continue
		}
		name := s.h.Name(1)
		if tried[name] {
			t.Fatalf("%s is tried again", name)
		}
		tried[name] = true
		at = append(at, next.Sub(t0))
		s.do(strings.Fields("recv 10.0.0.9 1 response " + name + " 120 A 10.0.0.9 !"))
	}
	for i := 1; i < len(at); i++ {
		gap := at[i] - at[i-1]
		if slow := gap >= 5*time.Second; slow != (i >= conflictMax) || gap > 5*time.Second+ProbeWait {
			t.Errorf("probe %d comes %v after the one before", i+1, gap)
		}
	}
}

func TestProber_RFC6762_8_2_TheWholeSetDecides(t *testing.T) {
	const claim = "link eth0 1 10.0.0.5/24 fe80::5/64\nclaim box\nat 300ms\n--\nrecv 10.0.0.9 1 query box.local. ANY QU; "
	for _, c := range []struct {
		name, auth string
		lost       bool
	}{
		{"the same set", "auth box.local. 120 AAAA fe80::5; auth box.local. 120 A 10.0.0.5", false},
		{"the A decides, though their AAAA is later", "auth box.local. 120 AAAA fe80::9; auth box.local. 120 A 10.0.0.4", false},
		{"the A decides, though their AAAA is earlier", "auth box.local. 120 AAAA fe80::1; auth box.local. 120 A 10.0.0.6", true},
		{"equal A, later AAAA", "auth box.local. 120 AAAA fe80::9; auth box.local. 120 A 10.0.0.5", true},
		{"equal A and no more", "auth box.local. 120 A 10.0.0.5", false},
		{"one more", "auth box.local. 120 A 10.0.0.5; auth box.local. 120 AAAA fe80::5; auth box.local. 120 AAAA fe80::6", true},
		{"a later type", "auth box.local. 120 TXT x", true},
		{"unsigned bytes", "auth box.local. 120 A 200.0.0.1", true},
		{"another name", "auth tin.local. 120 A 200.0.0.1", false},
	} {
		out := play(t, claim+c.auth)
		if got := strings.Contains(out, "deferred"); got != c.lost {
			t.Errorf("%s: lost %v\n%s", c.name, got, out)
		}
	}
}

func TestProber_RFC6762_8_2_AWonTieBreakKeepsTheSpacing(t *testing.T) {
	const claim = "link eth0 1 10.0.0.5/24\nclaim box\n"
	quiet := play(t, claim+"at 5s")
	contested := play(t, claim+"at 300ms\nrecv 10.0.0.4 1 query box.local. ANY QU; auth box.local. 120 A 10.0.0.4\nat 5s")
	if quiet != contested {
		t.Errorf("with the rival:\n%s\nwithout:\n%s", contested, quiet)
	}
}

func TestEngine_RFC6762_9_AConflictInAnySectionOfAResponse(t *testing.T) {
	rival := record(t, "box.local. 120 A 10.0.0.9", true)
	other := []Record{record(t, "a.local. 120 A 10.0.0.9", true)}
	for name, m := range map[string]*Message{
		"answer":     {Response: true, Answers: []Record{rival}},
		"additional": {Response: true, Answers: other, Additional: []Record{rival}},
	} {
		s := newStage(t)
		for line := range strings.Lines(strings.ReplaceAll(box, "--", "")) {
			if f := strings.Fields(line); len(f) > 0 {
				s.do(f)
			}
		}
		s.h.HandlePacket(s.now, Packet{Data: packed(t, m, 0), From: addrPort("10.0.0.9:5353"), To: group4, IfIndex: 1})
		expect(t, s.do(strings.Fields("at 10300ms")), "probe box.local.")
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestEngine_RFC6762_9_WhatIsNoConflict(t *testing.T) {
	for name, line := range map[string]string{
		"a query":           "recv 10.0.0.9 1 query box.local. A; known box.local. 120 A 10.0.0.9",
		"a probe":           "recv 10.0.0.9 1 query box.local. ANY QU; auth box.local. 120 A 10.0.0.9",
		"another type":      "recv 10.0.0.9 1 response box.local. 120 TXT x",
		"a goodbye":         "recv 10.0.0.9 1 response box.local. 0 A 10.0.0.9 !",
		"a shared record":   "recv 10.0.0.9 1 response _x._tcp.local. 4500 PTR Q._x._tcp.local.",
		"from another port": "recv 10.0.0.9:9 1 response box.local. 120 A 10.0.0.9 !",
	} {
		if out := play(t, box+line+"\nat 20s"); strings.Contains(out, "probe") || strings.Contains(out, "conflict") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// Both conflict paths of an instance: its SRV record, and its host's address.
func TestEngine_RFC6762_9_AConflictProbesTheSameNameFirst(t *testing.T) {
	for name, rival := range map[string]string{"P._x._tcp.local.": "120 SRV 0 0 9 tin.local. !", "box.local.": "120 A 10.0.0.9 !"} {
		out := play(t, printer+"recv 10.0.0.9 1 response "+name+" "+rival+"\nat 10999ms")
		expect(t, out, "conflict "+name, "probe "+name, "!renamed", "!lost")
		if strings.Count(out, "event 1 probe") != ProbeNum {
			t.Error(out)
		}
		expect(t, play(t, printer+"recv 10.0.0.9 1 response "+name+" "+rival+"\nat 15s"), "= "+name, "!renamed", "!lost")
	}
}

func TestEngine_RFC6762_9_NoAnswersUnderAContestedName(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\nat 10300ms\n--\nrecv 10.0.0.8 1 query box.local. A\nat 10400ms"), "!response")
}

func TestHost_RFC6762_9_TheLoserGivesTheNameUp(t *testing.T) {
	const rival = "recv 10.0.0.9 1 response box.local. 120 A 10.0.0.9 !\n"
	out := play(t, box+rival+"at 10300ms\n"+rival+"at 20s\n--\nrecv 10.0.0.8 1 query box.local. A\nrecv 10.0.0.8 1 query box-2.local. A\nat 21s")
	expect(t, out, "= box-2.local. 120 IN A 10.0.0.1", "!= box.local.")
}

func TestHost_RFC6762_9_ALostInstanceIsWithdrawn(t *testing.T) {
	const rival = "recv 10.0.0.9 1 response P._x._tcp.local. 120 SRV 0 0 9 tin.local. !\n"
	out := play(t, printer+rival+"at 10300ms\n"+rival)
	expect(t, out, "lost _x._tcp.local.")
	expect(t, play(t, printer+rival+"at 10300ms\n"+rival+"at 20s\n--\nrecv 10.0.0.8 1 query _x._tcp.local. PTR\nat 21s"), "!send")
}

func TestHost_RFC6762_10_1_ANewNameSaysGoodbyeToTheOld(t *testing.T) {
	out := play(t, box+"withdraw 1\nclaim tin\nat 20s")
	expect(t, out, "= box.local. 0 IN A 10.0.0.1 (flush)", "? tin.local. ANY", "= tin.local. 120 IN A 10.0.0.1 (flush)")
	if bye, probe := strings.Index(out, "box.local. 0"), strings.Index(out, "? tin.local."); bye > probe {
		t.Error(out)
	}
}

// Carrier lost and found: all of probing again, and the same questions.
func TestHost_RFC6762_8_3_AfterTheLinkWasAwayAllIsProbedAgain(t *testing.T) {
	for _, back := range []string{"restart 1", "unlink 1\nlink eth0 1 10.0.0.1/24"} {
		out := play(t, box+"ask a.local. A\nat 20s\n"+back+"\n--\nat 40s")
		if strings.Count(out, "event 1 probe box.local.") != ProbeNum {
			t.Errorf("%s: %s", back, out)
		}
		expect(t, out, "? a.local. A QU", "= box.local. 120 IN A 10.0.0.1 (flush)", "!renamed")
	}
}

func TestHost_RFC6762_8_3_DeniedAfterTheLinkWasAwayItMoves(t *testing.T) {
	out := play(t, box+"restart 1\nat 10300ms\nrecv 10.0.0.9 1 response BOX.local. 120 A 10.0.0.9 !\nat 20s")
	expect(t, out, "renamed box.local. to box-2.local.", "claimed box-2.local.")
}

func TestProber_RFC6762_8_1_ProbesForSeveralNamesHaveAllTheirRecords(t *testing.T) {
	out := play(t, `link eth0 1 10.0.0.1/24
		publish P._x._tcp.local. 120 SRV 0 0 631 box.local. !; P._x._tcp.local. 4500 TXT "a=1" !; Q._x._tcp.local. 120 SRV 0 0 631 box.local. !
		at 500ms`)
	expect(t, out, "? P._x._tcp.local. ANY QU", "? Q._x._tcp.local. ANY QU", "auth P._x._tcp.local. 120 IN SRV", `auth P._x._tcp.local. 4500 IN TXT "a=1"`, "auth Q._x._tcp.local. 120 IN SRV", "!(flush)")
}

func TestSplit_RFC6762_8_2_AProbeIsOnePacket(t *testing.T) {
	m := new(Message)
	for i := range 100 {
		r := record(t, fmt.Sprintf("box.local. 120 TXT %s%d", strings.Repeat("x", 40), i), false)
		m.Authority = append(m.Authority, r)
	}
	m.Questions = []AskedQuestion{{Question{"box.local.", 255}, 1, true}}
	if packets, dropped := m.Split(1472); len(packets) != 1 || dropped != 0 {
		t.Errorf("%d packets, %d dropped", len(packets), dropped)
	}
}

// Another responder of this machine may say the same; it is ours all the same.
func TestEngine_RFC6762_9_OurRecordSaidByAnotherIsNotCached(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.1 1 response box.local. 120 A 10.0.0.1 !\nat 200s"), "!change")
}
