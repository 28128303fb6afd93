package doctor

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/aether-lan/aether/mdns"
)

var (
	start = time.Unix(1_700_000_000, 0)
	anna  = netip.MustParseAddr("192.168.1.10")
	bert  = netip.MustParseAddr("192.168.1.11")
	carla = netip.MustParseAddr("192.168.1.12")
	group = netip.MustParseAddr("224.0.0.251")
)

// heard is one datagram of a test: who says what and when.
type heard struct {
	at   time.Duration
	from netip.Addr
	msg  mdns.Message
	to   netip.Addr // zero: the group
	port uint16     // zero: 5353
	hops int
	raw  []byte // instead of msg
}

func record(t testing.TB, text string) mdns.Record {
	t.Helper()
	text, flush := strings.CutPrefix(text, "!")
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	r, err := mdns.FromRR(rr)
	if err != nil {
		t.Fatal(err)
	}
	r.Flush = flush
	return r
}

func response(t testing.TB, texts ...string) mdns.Message {
	t.Helper()
	m := mdns.Message{Response: true}
	for _, s := range texts {
		m.Answers = append(m.Answers, record(t, s))
	}
	return m
}

func query(name string, typ uint16, qu bool, known ...mdns.Record) mdns.Message {
	return mdns.Message{
		Questions: []mdns.AskedQuestion{{Question: mdns.Question{Name: name, Type: typ}, Class: 1, Unicast: qu}},
		Answers:   known,
	}
}

// consult lets a Doctor hear all of list, in order, and then nothing for a minute.
func consult(list []heard) *Doctor {
	d := New()
	now := start
	until := func(t time.Time) {
		for {
			next, ok := d.NextTimeout()
			if !ok || next.After(t) {
				return
			}
			d.HandleTimeout(next)
		}
	}
	for _, h := range list {
		now = start.Add(h.at)
		until(now)
		payloads := [][]byte{h.raw}
		if h.raw == nil {
			payloads, _ = h.msg.Split(8952)
		}
		to, port := h.to, h.port
		if !to.IsValid() {
			to = group
		}
		if port == 0 {
			port = mdns.Port
		}
		for _, b := range payloads {
			d.HandlePacket(now, Packet{
				Payload: b, From: netip.AddrPortFrom(h.from, port), To: netip.AddrPortFrom(to, mdns.Port), HopLimit: h.hops,
			})
		}
	}
	until(now.Add(time.Minute))
	return d
}

// summary is the findings in short: severity, rule, host, other, what, count.
func summary(d *Doctor) (list []string) {
	for _, f := range d.Findings() {
		s := fmt.Sprintf("%v %s %v", f.Severity, f.Rule, f.Host.Addr)
		if f.Other.IsValid() {
			s += " " + f.Other.String()
		}
		list = append(list, fmt.Sprintf("%s %s x%d", s, f.What, f.Count))
	}
	return list
}

func every(gap time.Duration, n int, h heard) (list []heard) {
	for i := range n {
		h.at = time.Duration(i) * gap
		list = append(list, h)
	}
	return list
}

const (
	ptr = `_http._tcp.local. 4500 IN PTR web._http._tcp.local.`
	srv = `!web._http._tcp.local. 120 IN SRV 0 0 80 a.local.`
	txt = `!web._http._tcp.local. 4500 IN TXT "path=/"`
	adr = `!a.local. 120 IN A 192.168.1.10`
)

func TestDoctor_Findings(t *testing.T) {
	large := strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("x", 250)+`" `, 36), " ")
	for name, c := range map[string]struct {
		heard []heard
		want  []string
	}{
		"RFC6762_10_2 a flush bit on a shared pointer": {
			[]heard{{from: anna, msg: response(t, "!"+ptr)}},
			[]string{"broken shared-flush 192.168.1.10 _http._tcp.local. PTR x1"},
		},
		"RFC6762_10_2 a reverse mapping may be unique": {
			[]heard{{from: anna, msg: response(t, "!10.1.168.192.in-addr.arpa. 120 IN PTR a.local.")}}, nil,
		},
		"RFC6762_8_3 announcements that do not end": {
			every(20*time.Second, 5, heard{from: anna, msg: response(t, adr)}),
			[]string{"warning periodic 192.168.1.10 a.local. A x2"},
		},
		"RFC6762_8_3 eight announcements at doubling intervals": {
			[]heard{
				{at: 0, from: anna, msg: response(t, adr)}, {at: 1 * time.Second, from: anna, msg: response(t, adr)},
				{at: 3 * time.Second, from: anna, msg: response(t, adr)}, {at: 7 * time.Second, from: anna, msg: response(t, adr)},
				{at: 15 * time.Second, from: anna, msg: response(t, adr)}, {at: 31 * time.Second, from: anna, msg: response(t, adr)},
			}, nil,
		},
		"RFC6762_6 answers to questions are no announcements": {
			slices.Concat(
				[]heard{{from: bert, msg: query("A.local.", dns.TypeA, false)}, {at: 10 * time.Millisecond, from: anna, msg: response(t, adr)}},
				[]heard{{at: 9 * time.Second, from: bert, msg: query("a.local.", dns.TypeA, false)}, {at: 10 * time.Second, from: anna, msg: response(t, adr)}},
				[]heard{{at: 29 * time.Second, from: bert, msg: query("a.local.", dns.TypeANY, false)}, {at: 30 * time.Second, from: anna, msg: response(t, adr)}},
				[]heard{{at: 69 * time.Second, from: bert, msg: query("a.local.", dns.TypeA, false)}, {at: 70 * time.Second, from: anna, msg: response(t, adr)}},
			), nil,
		},
		"RFC6762_6 a unicast response nobody asked for": {
			[]heard{{from: anna, to: bert, msg: response(t, adr)}},
			[]string{"warning unasked-unicast 192.168.1.10 192.168.1.11 a.local. A x1"},
		},
		"RFC6762_6 a unicast response to a QU question": {
			[]heard{{from: bert, msg: query("a.local.", dns.TypeA, true)}, {at: time.Millisecond, from: anna, to: bert, msg: response(t, adr)}}, nil,
		},
		"RFC6762_10 a tiny TTL": {
			[]heard{{from: anna, msg: response(t, "!a.local. 10 IN A 192.168.1.10")}},
			[]string{"warning tiny-ttl 192.168.1.10 a.local. A TTL 10 x1"},
		},
		"RFC6762_10_1 a goodbye has the TTL 0": {
			[]heard{{from: anna, msg: response(t, "!a.local. 0 IN A 192.168.1.10")}}, nil,
		},
		"RFC6762_9 two hosts insist on a name": {
			[]heard{
				{from: anna, msg: response(t, adr)},
				{at: time.Second, from: bert, msg: response(t, "!A.local. 120 IN A 192.168.1.11")},
				{at: 2 * time.Second, from: anna, msg: response(t, adr)},
			},
			[]string{"broken conflict 192.168.1.10 192.168.1.11 a.local. A x1"},
		},
		"RFC6762_9 an address that moves is no conflict": {
			[]heard{
				{from: anna, msg: response(t, adr)},
				{at: time.Second, from: bert, msg: response(t, "!a.local. 120 IN A 192.168.1.11")},
				{at: 2 * time.Second, from: bert, msg: response(t, "!a.local. 120 IN A 192.168.1.11")},
			}, nil,
		},
		"RFC6762_7_1 a known answer is answered": {
			[]heard{
				{at: -20 * time.Second, from: anna, msg: response(t, ptr)},
				{from: bert, msg: query("_http._tcp.local.", dns.TypePTR, false, record(t, ptr))},
				{at: 50 * time.Millisecond, from: anna, msg: response(t, ptr)},
				{at: 9 * time.Second, from: bert, msg: query("_http._tcp.local.", dns.TypePTR, false, record(t, ptr))},
				{at: 9050 * time.Millisecond, from: anna, msg: response(t, ptr)},
			},
			[]string{"warning known-answer 192.168.1.10 _http._tcp.local. PTR x2"},
		},
		"RFC6762_7_1 a known answer under half its TTL is answered": {
			[]heard{
				{at: -20 * time.Second, from: anna, msg: response(t, ptr)},
				{from: bert, msg: query("_http._tcp.local.", dns.TypePTR, false, record(t, strings.Replace(ptr, "4500", "2000", 1)))},
				{at: 50 * time.Millisecond, from: anna, msg: response(t, ptr)},
				{at: 9 * time.Second, from: bert, msg: query("_http._tcp.local.", dns.TypePTR, false, record(t, strings.Replace(ptr, "4500", "2000", 1)))},
				{at: 9050 * time.Millisecond, from: anna, msg: response(t, ptr)},
			}, nil,
		},
		"RFC6762_7_1 a known answer that another does not know is answered": {
			[]heard{
				{at: -20 * time.Second, from: anna, msg: response(t, ptr)},
				{from: bert, msg: query("_http._tcp.local.", dns.TypePTR, false, record(t, ptr))},
				{from: carla, msg: query("_http._tcp.local.", dns.TypePTR, false)},
				{at: 50 * time.Millisecond, from: anna, msg: response(t, ptr)},
				{at: 9 * time.Second, from: bert, msg: query("_http._tcp.local.", dns.TypePTR, false, record(t, ptr))},
				{at: 9 * time.Second, from: carla, msg: query("_http._tcp.local.", dns.TypePTR, false)},
				{at: 9050 * time.Millisecond, from: anna, msg: response(t, ptr)},
			}, nil,
		},
		"RFC6762_14 a reflector": {
			[]heard{{from: anna, msg: response(t, adr)}, {at: time.Millisecond, from: carla, msg: response(t, adr)}},
			[]string{"warning reflected 192.168.1.12 192.168.1.10 a.local. A x1"},
		},
		"RFC6762_14 the same shared record of two hosts is no reflection": {
			[]heard{{from: anna, msg: response(t, ptr)}, {at: time.Millisecond, from: carla, msg: response(t, ptr)}}, nil,
		},
		"RFC6763_6_1 no TXT record": {
			[]heard{{from: anna, msg: response(t, ptr, srv, adr)}},
			[]string{"warning no-txt 192.168.1.10 web._http._tcp.local. SRV x1"},
		},
		"RFC6763_6_1 a TXT record that follows": {
			[]heard{{from: anna, msg: response(t, ptr, srv)}, {at: time.Second, from: anna, msg: response(t, txt)}}, nil,
		},
		"RFC6762_17 over 9000 bytes": {
			[]heard{{from: anna, raw: make([]byte, 8973)}},
			[]string{"broken oversize 192.168.1.10 a message over 9000 bytes x1"},
		},
		"RFC6762_17 several records beyond the MTU": {
			[]heard{{from: anna, msg: response(t, adr, "!big.local. 4500 IN TXT "+large[:253*8-1])}},
			[]string{"warning fragmented 192.168.1.10 a message over 1500 bytes with several records x1"},
		},
		"RFC6762_17 one large record": {
			[]heard{{from: anna, msg: response(t, "!big.local. 4500 IN TXT "+large[:253*8-1])}}, nil,
		},
		"RFC6762_11 an IP TTL of 1": {
			[]heard{{from: anna, hops: 1, msg: response(t, adr)}},
			[]string{"warning hop-limit 192.168.1.10 IP TTL 1 x1"},
		},
		"RFC6762_5_2 a question every half second": {
			every(500*time.Millisecond, 5, heard{from: anna, msg: query("b.local.", dns.TypeA, false)}),
			[]string{"warning repeats 192.168.1.10 b.local. A x4"},
		},
		"RFC6762_5_2 a question six times": {
			every(time.Minute, 6, heard{from: anna, msg: query("b.local.", dns.TypeA, false)}), nil,
		},
		"RFC6762_5_2 a question every minute for ever": {
			every(time.Minute, 12, heard{from: anna, msg: query("b.local.", dns.TypeA, false)}),
			[]string{"warning repeats 192.168.1.10 b.local. A x6"},
		},
		"RFC6762_5_2 too much in an hour": {
			every(3*time.Second, 1100, heard{from: anna, port: 40000, msg: query("b.local.", dns.TypeA, false)}),
			[]string{"warning chatty 192.168.1.10 over 1000 packets in an hour x1"},
		},
		"RFC6762_8_1 a QM probe": {
			[]heard{{from: anna, msg: mdns.Message{
				Questions: query("a.local.", dns.TypeANY, false).Questions, Authority: []mdns.Record{record(t, adr[1:])},
			}}},
			[]string{"note probe-qm 192.168.1.10 a.local. ANY x1"},
		},
		"RFC6762_6 a response from another port": {
			[]heard{{from: anna, port: 40000, msg: response(t, adr)}},
			[]string{"broken source-port 192.168.1.10 a response from port 40000 x1"},
		},
		"RFC6762_18 garbage": {
			[]heard{{from: anna, raw: []byte("garbage")}},
			[]string{"broken malformed 192.168.1.10 message of 7 bytes: not a multicast DNS message x1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := summary(consult(c.heard)); !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// Two of our own hosts on a link, one that publishes and one that asks: nothing to
// report, and both are heard.
func TestDoctor_OurOwnTrafficIsHealthy(t *testing.T) {
	d := New()
	hosts := map[netip.Addr]*mdns.Host{}
	for i, a := range []netip.Addr{anna, bert} {
		h := mdns.NewHost(rand.New(rand.NewPCG(uint64(i), 7)))
		h.SetLink(start, mdns.Link{Index: 1, Name: "eth0", IPv4: true, Unicast: true, Addresses: []netip.Prefix{netip.PrefixFrom(a, 24)}})
		hosts[a] = h
	}
	for _, list := range [][]string{{adr}, {ptr, srv, txt}} {
		if _, err := hosts[anna].Publish(start, response(t, list...).Answers); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := hosts[bert].Ask(start, mdns.Question{Name: "_http._tcp.local.", Type: dns.TypePTR}); err != nil {
		t.Fatal(err)
	}
	for now := start; now.Before(start.Add(3 * time.Hour)); {
		for _, from := range []netip.Addr{anna, bert} {
			for _, p := range hosts[from].Outgoing() {
				p.From = netip.AddrPortFrom(from, mdns.Port)
				d.HandlePacket(now, Packet{Payload: p.Data, From: p.From, To: p.To, HopLimit: 255})
				for to, h := range hosts {
					if to != from && (p.To.Addr().IsMulticast() || p.To.Addr() == to) {
						h.HandlePacket(now, p)
					}
				}
			}
			hosts[from].Events()
		}
		next := now.Add(time.Minute)
		for _, e := range []interface{ NextTimeout() (time.Time, bool) }{hosts[anna], hosts[bert], d} {
			if at, ok := e.NextTimeout(); ok && at.Before(next) {
				next = at
			}
		}
		if !next.After(now) {
			next = now.Add(time.Millisecond)
		}
		now = next
		hosts[anna].HandleTimeout(now)
		hosts[bert].HandleTimeout(now)
		d.HandleTimeout(now)
	}
	if got := summary(d); len(got) > 0 {
		t.Errorf("found %q", got)
	}
	if got := d.Totals(); got.Hosts != 2 || got.Queries < 5 || got.Responses < 3 || got.Malformed > 0 || got.PacketsPerHour == 0 {
		t.Errorf("heard %+v", got)
	}
}

func TestDoctor_TablesAreBounded(t *testing.T) {
	d := New()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 3), byte(i)})
		m := response(t, adr)
		m.Answers[0].Name = fmt.Sprintf("h%d.local.", rng.Uint64())
		b, _ := m.Split(1472)
		d.HandlePacket(start.Add(time.Duration(i)*time.Millisecond), Packet{Payload: b[0], From: netip.AddrPortFrom(a, 5353), To: netip.AddrPortFrom(group, 5353)})
	}
	if n := len(d.hosts); n > maxHosts {
		t.Errorf("%d hosts", n)
	}
	if n := max(len(d.told), len(d.claims)); n > maxRecords || len(d.payloads) > maxAsked || len(d.hours) > maxHosts {
		t.Errorf("%d records, %d payloads, %d hours", n, len(d.payloads), len(d.hours))
	}
	if got := d.Totals().Untracked; got.Hosts == 0 {
		t.Errorf("untracked %+v", got)
	}
}

func TestDoctor_EventsComeOnce(t *testing.T) {
	d := consult(every(20*time.Second, 3, heard{from: anna, msg: response(t, "!"+ptr)}))
	if got := d.Events(); len(got) != 1 || got[0].Rule != SharedFlush {
		t.Errorf("first %+v", got)
	}
	if got := d.Events(); len(got) > 0 {
		t.Errorf("then %+v", got)
	}
}

func FuzzDoctor(f *testing.F) {
	for _, m := range []mdns.Message{response(f, ptr, srv, txt, adr), query("a.local.", dns.TypeA, true, record(f, adr[1:]))} {
		b, _ := m.Split(1472)
		f.Add(b[0], byte(0))
	}
	f.Fuzz(func(t *testing.T, b []byte, who byte) {
		d := New()
		for i := range 4 {
			from := netip.AddrFrom4([4]byte{10, 0, 0, who + byte(i%2)})
			now := start.Add(time.Duration(i) * 1100 * time.Millisecond)
			d.HandlePacket(now, Packet{Payload: b, From: netip.AddrPortFrom(from, 5353), To: netip.AddrPortFrom(group, 5353)})
			d.HandleTimeout(now)
		}
		for _, g := range d.Findings() {
			if g.Count < 1 || g.Section == "" || g.Advice == "" || g.First.After(g.Last) || !g.Host.Addr.IsValid() {
				t.Fatalf("finding %+v", g)
			}
		}
	})
}
