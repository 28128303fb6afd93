package mdns

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestResponder_RFC6762_6_SharedDelayIsUniform20To120ms(t *testing.T) {
	const n = 2000
	rnd := rand.New(rand.NewPCG(7, 0))
	var quarters [4]int
	for range n {
		r := NewResponder(rnd)
		r.Set(1, []Record{record(t, "_x._tcp.local. 4500 PTR P._x._tcp.local.", false)})
		q := &Message{Questions: []AskedQuestion{{Question{"_x._tcp.local.", dns.TypePTR}, dns.ClassINET, false}}}
		r.HandleQuery(t0, q, asker{from: netip.MustParseAddrPort("10.0.0.9:5353"), onLink: true})
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

func TestResponder_RFC6762_6(t *testing.T) {
	const ptr = "_x._tcp.local. PTR"
	for _, c := range []struct {
		name, commands string
		wants          []string
	}{
		{"6 unique at once", "recv 10.0.0.9 1 query box.local. A\nat 10s", []string{"10s send", "= box.local. 120 IN A 10.0.0.1 (flush)"}},
		{"6 any type, other case", "recv 10.0.0.9 1 query BOX.LOCAL. ANY\nat 10s", []string{"10s send"}},
		{"6 not for others", "recv 10.0.0.9 1 query tin.local. A\nat 11s", []string{"!send"}},
		{"6 source port 5353 only", "recv 10.0.0.9:9 1 response a.local. 120 A 10.0.0.9\nat 11s", []string{"!change"}},
		{"6.1 no such type", "recv 10.0.0.9 1 query box.local. AAAA\nat 11s", []string{"NSEC box.local. A (flush)"}},
		{"6.6 shorter life is corrected", "recv 10.0.0.9 1 response _x._tcp.local. 100 PTR P._x._tcp.local.\nat 11s", []string{"send 1", "4500 IN PTR"}},
		{"7.1 half", "recv 10.0.0.9 1 query " + ptr + "; known _x._tcp.local. 2250 PTR P._x._tcp.local.\nat 11s", []string{"!send"}},
		{"7.1 less than half", "recv 10.0.0.9 1 query " + ptr + "; known _x._tcp.local. 2249 PTR P._x._tcp.local.\nat 11s", []string{"send 1"}},
		{"7.2 waits 400 ms", "recv 10.0.0.9 1 query " + ptr + "; tc\nat 10390ms", []string{"!send"}},
		{"7.2 answers after 500 ms", "recv 10.0.0.9 1 query " + ptr + "; tc\nat 10501ms", []string{"10.4", "send 1"}},
		{"7.4 given by another", "recv 10.0.0.9 1 query " + ptr + "\nrecv 10.0.0.8 1 response _x._tcp.local. 4500 PTR P._x._tcp.local.\nat 11s", []string{"!send"}},
		{"5.5 off the link", "direct 192.0.2.1 1 query box.local. A\nat 11s", []string{"!send"}},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, play(t, box+c.commands), c.wants...) })
	}
}

func TestResponder_RFC6762_6_ARecordIsMulticastOnceASecond(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 query box.local. A\nat 10500ms\n--\nrecv 10.0.0.8 1 query box.local. A\nat 10900ms"), "!send")
}

func TestResponder_RFC6762_6_AProbeIsDefendedWithinTheSecond(t *testing.T) {
	expect(t, play(t, box+`recv 10.0.0.9 1 query box.local. A
		at 10500ms
		--
		recv 10.0.0.8 1 query box.local. ANY; auth box.local. 120 A 10.0.0.8
		at 10500ms`), "10.5s send", "= box.local. 120 IN A 10.0.0.1 (flush)")
}

func TestResponder_RFC6762_6_7_LegacyTTLAtMost10s(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9:4000 1 query box.local. A; id 7"),
		"10.0.0.9:4000 response id 7", "? box.local. A", "= box.local. 10 IN A 10.0.0.1", "!(flush)")
}
