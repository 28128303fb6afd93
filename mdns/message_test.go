package mdns

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

func TestMessage_RFC6762_17_SplitsAtTheLimit(t *testing.T) {
	m := &Message{Response: true}
	for i := range 200 {
		m.Answers = append(m.Answers, record(t, fmt.Sprintf("_ipp._tcp.local. 4500 PTR printer-number-%d._ipp._tcp.local.", i), false))
	}
	packets, dropped := m.Split(1472)
	var got []Record
	for _, b := range packets {
		if len(b) > 1472 {
			t.Errorf("a packet of %d bytes", len(b))
		}
		back, err := ParseMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, back.Answers...)
	}
	if d := cmp.Diff(m.Answers, got); d != "" || dropped != 0 || len(packets) < 2 {
		t.Errorf("%d packets, %d dropped: %s", len(packets), dropped, d)
	}
}

func TestMessage_RFC6762_7_2_KnownAnswersContinueWithTC(t *testing.T) {
	m := &Message{Questions: []AskedQuestion{{Question{"_ipp._tcp.local.", dns.TypePTR}, 1, false}}}
	for i := range 100 {
		m.Answers = append(m.Answers, record(t, fmt.Sprintf("_ipp._tcp.local. 4500 PTR printer-number-%d._ipp._tcp.local.", i), false))
	}
	packets, _ := m.Split(1472)
	for i, b := range packets {
		back, _ := ParseMessage(b)
		if last := i == len(packets)-1; back.Truncated == last || (len(back.Questions) > 0) != (i == 0) {
			t.Errorf("packet %d of %d: TC %v, %d questions", i, len(packets), back.Truncated, len(back.Questions))
		}
	}
}

func TestMessage_RFC6762_17_ALargeRecordTravelsAlone(t *testing.T) {
	big := Record{Name: "big.local.", Type: dns.TypeTXT, Class: 1, TTL: 1, Data: bytes.Repeat(append([]byte{99}, make([]byte, 99)...), 40)}
	small := record(t, "a.local. 1 A 10.0.0.1", true)
	huge := big
	huge.Data = bytes.Repeat(big.Data, 3)
	packets, dropped := (&Message{Response: true, Answers: []Record{small, big, small, huge}}).Split(1472)
	if len(packets) != 3 || dropped != 1 || len(packets[1]) < 4000 {
		t.Errorf("%d packets, %d dropped", len(packets), dropped)
	}
}

func TestParseMessage_RFC6762_6_1_ABadRecordDoesNotCostTheOthers(t *testing.T) {
	good := record(t, "a.local. 120 A 10.0.0.1", true)
	bad := good
	bad.Data = []byte{1, 2, 3} // an address of three bytes
	packets, _ := (&Message{Response: true, Answers: []Record{good, bad, good}}).Split(1472)
	m, err := ParseMessage(packets[0])
	if err != nil || len(m.Answers) != 2 || m.Skipped != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestParseMessage_RFC6762_18_IgnoresOpcodeAndRcode(t *testing.T) {
	for _, at := range [][2]byte{{2, 0x08}, {3, 0x03}} {
		b := make([]byte, headerSize)
		b[at[0]] = at[1]
		if _, err := ParseMessage(b); err == nil {
			t.Errorf("byte %d = %#x was accepted", at[0], at[1])
		}
	}
}

func TestCompareSets_RFC6762_8_2_1_LongerListWins(t *testing.T) {
	one := []Record{record(t, "x.local. 1 A 169.254.99.200", false)}
	other := []Record{record(t, "x.local. 1 A 169.254.200.50", false)}
	if compareSets(one, other) >= 0 {
		t.Error("169.254.99.200 must lose to 169.254.200.50 (section 8.2)")
	}
	longer := append(slices.Clone(one), record(t, "x.local. 1 AAAA fe80::1", false))
	if compareSets(one, longer) >= 0 || compareSets(longer, longer) != 0 {
		t.Error("the set that runs out first must lose")
	}
}

func TestFoldName_RFC6762_16_OnlyASCIILetters(t *testing.T) {
	if !sameName("MyPrinter.Local.", "myprinter.local.") || sameName("\\195\\132.local.", "\\195\\164.local.") {
		t.Error("names are compared wrongly")
	}
}

func FuzzParseMessage(f *testing.F) {
	m := &Message{Response: true, Answers: []Record{record(f, "A.local. 120 A 10.0.0.1", true),
		record(f, "x._ipp._tcp.local. 120 SRV 0 0 1 A.local.", true), record(f, "a.local. 120 NSEC a.local. A", true)}}
	packets, _ := m.Split(1472)
	f.Add(packets[0])
	f.Add(packets[0][:len(packets[0])-3])
	f.Add([]byte("\x00\x00\x84\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01")) // a name that points to itself
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err != nil {
			return
		}
		first := onePacket(t, m)
		if first == nil {
			return
		}
		again, err := ParseMessage(first)
		if err != nil {
			t.Fatalf("what was packed does not parse: %v", err)
		}
		if second := onePacket(t, again); !bytes.Equal(first, second) {
			t.Fatalf("packed %x, then %x", first, second)
		}
	})
}

// onePacket packs m, or returns nil when it takes several packets.
func onePacket(t *testing.T, m *Message) []byte {
	packets, dropped := m.Split(maxMessage)
	if len(packets) != 1 || dropped > 0 {
		return nil
	}
	return packets[0]
}
