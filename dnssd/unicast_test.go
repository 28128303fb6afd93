package dnssd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// zoneServer answers from a zone on loopback, by UDP and TCP.
type zoneServer struct {
	mu      sync.Mutex
	records []dns.RR
	asked   []string // "network id port name type"
	twist   func(w dns.ResponseWriter, q, r *dns.Msg) bool
}

// serveZone starts a server of the records in zone and returns where it listens.
func serveZone(t *testing.T, zone string) (*zoneServer, netip.AddrPort) {
	t.Helper()
	s := new(zoneServer)
	zp := dns.NewZoneParser(strings.NewReader(zone), ".", "test")
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		s.records = append(s.records, rr)
	}
	if err := zp.Err(); err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	for _, srv := range []*dns.Server{{Listener: tcp, Handler: s}, {PacketConn: udp, Handler: s}} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		wg.Go(func() { _ = srv.ActivateAndServe() })
		<-started
		t.Cleanup(func() { _ = srv.Shutdown() })
	}
	return s, netip.MustParseAddrPort(tcp.Addr().String())
}

// setTwist lets f change answers; true from it means that it has answered itself.
func (s *zoneServer) setTwist(f func(w dns.ResponseWriter, q, r *dns.Msg) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.twist = f
}

func (s *zoneServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := w.RemoteAddr()
	port := netip.MustParseAddrPort(at.String()).Port()
	s.asked = append(s.asked, fmt.Sprintf("%s %d %d %s %s", at.Network(), q.Id, port, q.Question[0].Name, dns.Type(q.Question[0].Qtype)))
	r := new(dns.Msg).SetReply(q)
	name := q.Question[0].Name
	for range 9 {
		for _, rr := range s.records {
			h := rr.Header()
			if fold(h.Name) != fold(name) {
				continue
			}
			if c, ok := rr.(*dns.CNAME); ok {
				r.Answer, name = append(r.Answer, rr), c.Target
				break
			}
			if h.Rrtype == q.Question[0].Qtype && !slices.Contains(r.Answer, rr) {
				r.Answer = append(r.Answer, rr)
			}
		}
	}
	if len(r.Answer) == 0 {
		r.Rcode = dns.RcodeNameError
	}
	if s.twist != nil && s.twist(w, q, r) {
		return
	}
	if at.Network() == "udp" {
		size := dns.MinMsgSize
		if o := q.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
		r.Truncate(size)
	}
	_ = w.WriteMsg(r)
}

const exampleZone = `
_ipp._tcp.example.com. 60 IN PTR Office._ipp._tcp.example.com.
_ipp._tcp.example.com. 60 IN PTR Dr\.\ No._ipp._tcp.example.com.
_color._sub._ipp._tcp.example.com. 60 IN PTR Office._ipp._tcp.example.com.
_services._dns-sd._udp.example.com. 60 IN PTR _ipp._tcp.example.com.
Office._ipp._tcp.example.com. 60 IN SRV 0 0 631 office.example.com.
Office._ipp._tcp.example.com. 60 IN TXT "paper=A4" "bin=\000\255"
Dr\.\ No._ipp._tcp.example.com. 60 IN SRV 5 0 1 backup.example.com.
Dr\.\ No._ipp._tcp.example.com. 60 IN SRV 0 0 632 alias.example.com.
Dr\.\ No._ipp._tcp.example.com. 60 IN TXT ""
alias.example.com. 60 IN CNAME no.example.com.
office.example.com. 60 IN A 192.0.2.1
office.example.com. 60 IN AAAA 2001:db8::1
no.example.com. 60 IN A 192.0.2.2
b._dns-sd._udp.example.com. 60 IN PTR example.com.
b._dns-sd._udp.example.com. 60 IN PTR Building\ 2.example.com.
lb._dns-sd._udp.0.2.0.192.in-addr.arpa. 60 IN PTR example.com.
`

func TestBrowse_RFC6763_3_InADomainOfDNS(t *testing.T) {
	s, at := serveZone(t, exampleZone)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var got []string
	for ev, err := range Browse(ctx, "_ipp._tcp", Config{Domain: "example.com.", Server: at}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, ev.String()); len(got) == 2 {
			break
		}
	}
	slices.Sort(got)
	expect(t, got,
		`add Dr\. No._ipp._tcp.example.com at alias.example.com:632 [192.0.2.2]`,
		`add Office._ipp._tcp.example.com at office.example.com:631 [192.0.2.1 2001:db8::1] ["paper=A4" "bin=\x00\xff"]`)
	// RFC 5452: ports and IDs that cannot be foreseen.
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, ports := map[string]bool{}, map[string]bool{}
	for _, a := range s.asked {
		ids[strings.Fields(a)[1]], ports[strings.Fields(a)[2]] = true, true
	}
	if n := len(s.asked); n < 8 || len(ids) < n-1 || len(ports) < n/2 {
		t.Errorf("%d queries, %d IDs, %d ports: %q", n, len(ids), len(ports), s.asked)
	}
}

func TestBrowse_RFC6763_7_1_SubtypeInADomainOfDNS(t *testing.T) {
	_, at := serveZone(t, exampleZone)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for ev, err := range Browse(ctx, "_ipp._tcp,_color", Config{Domain: "example.com", Server: at, NamesOnly: true}) {
		if err != nil || ev.Instance.Name != "Office" {
			t.Errorf("%v, %v", ev, err)
		}
		return
	}
	t.Error("nothing was found")
}

func TestResolve_RFC6763_5_InADomainOfDNS(t *testing.T) {
	_, at := serveZone(t, exampleZone)
	cfg := Config{Domain: "example.com", Server: at, IPv4: true}
	i, err := Resolve(t.Context(), "Dr. No", "_ipp._tcp", cfg)
	if err != nil || i.Port != 632 || i.Host != "alias.example.com" || len(i.Addresses) != 1 || i.Interface != "" {
		t.Errorf("%v, %v", i, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Resolve(ctx, "Nobody", "_ipp._tcp", cfg); !errors.Is(err, ErrNotFound) {
		t.Errorf("an unknown one: %v", err)
	}
}

func TestTypesAndDomains_RFC6763_9_11_InADomainOfDNS(t *testing.T) {
	_, at := serveZone(t, exampleZone)
	for ev, err := range Types(t.Context(), Config{Domain: "example.com", Server: at}) {
		if err != nil || ev.Service != "_ipp._tcp" || ev.Domain != "example.com" {
			t.Errorf("%v, %v", ev, err)
		}
		break
	}
	var got []string
	for ev, err := range Domains(t.Context(), BrowseDomains, Config{Domain: "example.com", Server: at}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, ev.Domain+" from "+ev.Source); len(got) == 2 {
			break
		}
	}
	expect(t, got, "example.com from example.com", `Building\ 2.example.com from example.com`)
	subnet, ok := SubnetDomain(netip.MustParsePrefix("192.0.2.77/24"))
	if !ok {
		t.Fatal("no subnet")
	}
	for ev, err := range Domains(t.Context(), AutomaticDomains, Config{Domain: subnet, Server: at}) {
		if err != nil || ev.Domain != "example.com" || ev.Source != "0.2.0.192.in-addr.arpa" {
			t.Errorf("%+v, %v", ev, err)
		}
		return
	}
	t.Error("nothing for the subnet")
}

func TestDomains_OneSourceThatFailsDoesNotEndTheOthers(t *testing.T) {
	s, at := serveZone(t, exampleZone)
	s.setTwist(func(_ dns.ResponseWriter, q, r *dns.Msg) bool {
		if strings.HasSuffix(q.Question[0].Name, ".bad.example.") {
			r.Rcode = dns.RcodeRefused
		}
		return false
	})
	cfg := Config{Server: at}
	heard := 0
	err := domains(t.Context(), BrowseDomains, cfg, []string{"bad.example", "example.com"}, func(ev DomainEvent, err error) bool {
		if err != nil || ev.Source != "example.com" {
			t.Errorf("%+v, %v", ev, err)
		}
		heard++
		return heard < 2
	})
	if err != nil || heard != 2 {
		t.Errorf("heard %d, %v", heard, err)
	}
	err = domains(t.Context(), BrowseDomains, cfg, []string{"bad.example", "very.bad.example"}, func(DomainEvent, error) bool { return true })
	if !errors.Is(err, ErrServer) {
		t.Errorf("when all fail: %v", err)
	}
}

func TestConfig_WhereToAsk(t *testing.T) {
	list, err := Config{}.sources()
	if err != nil || len(list) == 0 || list[0] != Local || len(list) > sourceMax {
		t.Errorf("everywhere: %q, %v", list, err)
	}
	for _, s := range list[1:] {
		if s == Local || strings.HasSuffix(s, ".arpa") && mdns.IsLocal(s) {
			t.Errorf("%s is of the link", s)
		}
	}
	if list, err := (Config{Domain: "Example.com."}).sources(); err != nil || !slices.Equal(list, []string{"Example.com"}) {
		t.Errorf("one: %q, %v", list, err)
	}
	bad := Config{Domain: "a..b"}
	var errs []error
	for _, err := range Browse(t.Context(), "_a._tcp", bad) {
		errs = append(errs, err)
	}
	for _, err := range Types(t.Context(), bad) {
		errs = append(errs, err)
	}
	for _, err := range Domains(t.Context(), BrowseDomains, bad) {
		errs = append(errs, err)
	}
	_, err = Resolve(t.Context(), "x", "_a._tcp", bad)
	for _, err := range append(errs, err) {
		if !errors.Is(err, ErrName) {
			t.Errorf("domain a..b: %v", err)
		}
	}
	if len(errs) != 3 {
		t.Errorf("%d errors", len(errs))
	}
	servers, err := Config{Server: netip.MustParseAddrPort("192.0.2.1:0")}.unicastServers()
	if err != nil || fmt.Sprint(servers) != "[192.0.2.1:53]" {
		t.Errorf("%v, %v", servers, err)
	}
}

func TestExchange_UsesTCPWhenTruncated(t *testing.T) {
	var zone strings.Builder
	for i := range 200 {
		fmt.Fprintf(&zone, "_a._tcp.example.com. 60 IN PTR number-%d-with-a-long-name._a._tcp.example.com.\n", i)
	}
	s, at := serveZone(t, zone.String())
	a, err := newExchanger([]netip.AddrPort{at}).ask(t.Context(), mdns.Question{Name: "_a._tcp.example.com.", Type: dns.TypePTR})
	if err != nil || len(a.records) != 200 || a.good != time.Minute {
		t.Errorf("%d records good for %v, %v", len(a.records), a.good, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) != 2 || !strings.HasPrefix(s.asked[0], "udp") || !strings.HasPrefix(s.asked[1], "tcp") {
		t.Errorf("asked %q", s.asked)
	}
}

func TestExchange_IgnoresWhatIsNotTheAnswer(t *testing.T) {
	s, at := serveZone(t, exampleZone)
	s.setTwist(func(w dns.ResponseWriter, q, r *dns.Msg) bool {
		forged := r.Copy()
		forged.Answer[0].(*dns.A).A = net.IPv4(203, 0, 113, 66)
		for _, f := range []func(m *dns.Msg){
			func(m *dns.Msg) { m.Id++ },
			func(m *dns.Msg) { m.Question[0].Name = "other.example.com." },
			func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
			func(m *dns.Msg) { m.Response = false },
			func(m *dns.Msg) { m.Question = nil },
		} {
			m := forged.Copy()
			f(m)
			_ = w.WriteMsg(m)
		}
		_, _ = w.Write([]byte("rubbish"))
		return false
	})
	a, err := newExchanger([]netip.AddrPort{at}).ask(t.Context(), mdns.Question{Name: "office.example.com.", Type: dns.TypeA})
	if err != nil || len(a.records) != 1 || a.records[0].String() != "office.example.com. 60 IN A 192.0.2.1" {
		t.Errorf("%v, %v", a.records, err)
	}
}

func TestExchange_TriesTheNextServer(t *testing.T) {
	bad, first := serveZone(t, exampleZone)
	bad.setTwist(func(_ dns.ResponseWriter, _, r *dns.Msg) bool {
		r.Rcode, r.Answer = dns.RcodeServerFailure, nil
		return false
	})
	_, second := serveZone(t, exampleZone)
	q := mdns.Question{Name: "office.example.com.", Type: dns.TypeA}
	if a, err := newExchanger([]netip.AddrPort{first, second}).ask(t.Context(), q); err != nil || len(a.records) != 1 {
		t.Errorf("%v, %v", a, err)
	}
	if _, err := newExchanger([]netip.AddrPort{first}).ask(t.Context(), q); !errors.Is(err, ErrServer) || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("one that fails: %v", err)
	}
	for _, err := range Browse(t.Context(), "_ipp._tcp", Config{Domain: "example.com", Server: first}) {
		if !errors.Is(err, ErrServer) {
			t.Errorf("browse at one that fails: %v", err)
		}
	}
}

func TestReadAnswer_TakesOnlyWhatWasAsked(t *testing.T) {
	rr := func(s string) dns.RR {
		r, err := dns.NewRR(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	m := new(dns.Msg)
	m.Answer = []dns.RR{
		rr("other.example.com. 1 IN A 192.0.2.9"), rr("A.example.com. 60 IN CNAME b.example.com."),
		rr("b.example.com. 30 IN A 192.0.2.1"), rr("b.example.com. 40 IN A 192.0.2.1"), rr("b.example.com. 1 CH A 192.0.2.3"),
	}
	a, err := readAnswer(mdns.Question{Name: "a.example.com.", Type: dns.TypeA}, m)
	if err != nil || len(a.records) != 1 || a.records[0].Name != "a.example.com." || a.good != 30*time.Second {
		t.Errorf("%v, %v", a, err)
	}
	// A circle of aliases has an end.
	m.Answer = []dns.RR{rr("a. 60 IN CNAME b."), rr("b. 60 IN CNAME a.")}
	if a, err := readAnswer(mdns.Question{Name: "a.", Type: dns.TypeA}, m); err != nil || len(a.records) != 0 {
		t.Errorf("%v, %v", a, err)
	}
	m.Answer, m.Ns = nil, []dns.RR{rr("example.com. 900 IN SOA a. b. 1 2 3 4 20")}
	if a, _ := readAnswer(mdns.Question{Name: "a.", Type: dns.TypeA}, m); a.good != 20*time.Second {
		t.Errorf("nothing is good for %v, want the 20 s of the SOA record", a.good)
	}
}

func TestUnicast_AsksAgainAtTheTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var asked []time.Duration
		script := []string{"1 2", "2 3", "fail", "fail", "3", ""}
		u := &unicast{log: slog.New(slog.DiscardHandler), ask: func(context.Context, mdns.Question) (answer, error) {
			asked = append(asked, time.Since(start))
			now := script[0]
			script = script[1:]
			if now == "fail" {
				return answer{}, ErrServer
			}
			a := answer{good: time.Minute}
			for _, f := range strings.Fields(now) {
				a.records = append(a.records, mdns.Record{Name: "a.", Type: dns.TypeTXT, Data: []byte("\x01" + f)})
			}
			return a, nil
		}}
		var got []string
		for c, err := range u.Watch(t.Context(), mdns.Question{Name: "a.", Type: dns.TypeTXT}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, fmt.Sprintf("%v %v %s", time.Since(start), c.Op, c.Record.Data[1:])); len(got) == 6 {
				break
			}
		}
		expect(t, got, "0s add 1", "0s add 2", "1m0s add 3", "1m0s remove 1", "2m15s remove 2", "3m15s remove 3")
		if want := []float64{0, 60, 120, 125, 135, 195}; len(asked) != len(want) {
			t.Errorf("asked at %v", asked)
		} else {
			for i := range want {
				if asked[i].Seconds() != want[i] {
					t.Errorf("asked at %v, want seconds %v", asked, want)
				}
			}
		}
	})
}

func TestUnicast_NothingStaysForEverWhenServersAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, n := time.Now(), 0
		u := &unicast{log: slog.New(slog.DiscardHandler), ask: func(context.Context, mdns.Question) (answer, error) {
			if n++; n > 1 {
				return answer{}, ErrServer
			}
			return answer{[]mdns.Record{{Name: "a.", Data: []byte{0}}}, time.Minute}, nil
		}}
		for c, err := range u.Watch(t.Context(), mdns.Question{Name: "a.", Type: dns.TypeTXT}) {
			if err != nil {
				t.Fatal(err)
			}
			if c.Op == mdns.Remove {
				if d := time.Since(start); c.Reason != mdns.Expired || d < 6*time.Minute || d > 12*time.Minute {
					t.Errorf("removed after %v, %v", d, c.Reason)
				}
				return
			}
		}
	})
}

func TestSubnetDomain_RFC6763_11(t *testing.T) {
	for p, want := range map[string]string{
		"192.168.12.34/16":    "0.0.168.192.in-addr.arpa.",
		"10.1.2.3/30":         "0.2.1.10.in-addr.arpa.",
		"2001:db8:1:2::9/64":  "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.",
		"::ffff:10.1.2.3/120": "0.2.1.10.in-addr.arpa.",
		"169.254.3.4/16":      "",
		"fe80::1/64":          "",
		"127.0.0.1/8":         "",
		"::1/128":             "",
		"224.0.0.251/32":      "",
	} {
		got, ok := SubnetDomain(netip.MustParsePrefix(p))
		if got != want || ok != (want != "") {
			t.Errorf("SubnetDomain(%s) = %q, %v, want %q", p, got, ok, want)
		}
	}
	if d, ok := SubnetDomain(netip.Prefix{}); ok {
		t.Errorf("no prefix: %q", d)
	}
}

func TestDomainKind_RFC6763_11(t *testing.T) {
	for i, label := range []string{"b", "db", "r", "dr", "lb"} {
		k, err := ParseDomainKind(label)
		if err != nil || k != DomainKind(i) || k.Question("local").Name != label+"._dns-sd._udp.local." {
			t.Errorf("%s: %v, %v, %v", label, k, k.Question("local"), err)
		}
	}
	if _, err := ParseDomainKind("x"); !errors.Is(err, ErrDomainKind) {
		t.Error(err)
	}
}

func TestDomains_RFC6763_11_InLocal(t *testing.T) {
	e := NewDomainEnumerator(AutomaticDomains, "")
	name := e.Question().Name
	example := record(t, name, "PTR", "example.com.")
	e.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", example))
	e.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", example))
	e.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", record(t, name, "PTR", ".")))
	e.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth1", record(t, name, "PTR", "local.")))
	e.HandleChange(epoch, change(t, mdns.Remove, mdns.Goodbye, "eth0", example))
	var got []string
	for _, ev := range e.Events() {
		got = append(got, fmt.Sprint(ev.Op, " ", ev.Domain, " ", ev.Source, " ", ev.Interface, " ", ev.Reason))
	}
	expect(t, got, "add example.com local eth0 answered", "add local local eth1 answered", "remove example.com local eth0 goodbye")
	for i := range DomainMax + 3 {
		e.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", record(t, name, "PTR", fmt.Sprintf("d%d.example.com.", i))))
	}
	if e.Dropped() != 1+4 {
		t.Errorf("dropped %d", e.Dropped())
	}
}

func TestParseResolvConf(t *testing.T) {
	c := parseResolvConf("# one\nnameserver 192.0.2.1 ; x\nnameserver fe80::1%eth0\nnameserver\nnameserver what\ndomain a.example.\nsearch b.example c.example. # y\noptions ndots:1\n")
	if want := []string{"b.example", "c.example"}; !slices.Equal(c.search, want) {
		t.Errorf("search %q", c.search)
	}
	if got := fmt.Sprint(c.addresses()); got != "[192.0.2.1:53 [fe80::1%eth0]:53]" {
		t.Errorf("servers %s", got)
	}
	if c := parseResolvConf(strings.Repeat("nameserver 192.0.2.1\n", 100)); len(c.servers) != resolvMax {
		t.Errorf("%d servers", len(c.servers))
	}
}

func FuzzReadAnswer(f *testing.F) {
	m := newQuery(1, mdns.Question{Name: "a.example.", Type: dns.TypePTR})
	b, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(dns.Msg)
		if m.Unpack(b) != nil || len(m.Question) == 0 {
			return
		}
		q := mdns.Question{Name: m.Question[0].Name, Type: m.Question[0].Qtype}
		a, err := readAnswer(q, m)
		if err != nil {
			return
		}
		for _, r := range a.records {
			if r.Name != q.Name || r.Type != q.Type {
				t.Fatalf("%v answers %v", r, q)
			}
		}
		if a.good < refreshMin || a.good > refreshMax {
			t.Fatalf("good for %v", a.good)
		}
	})
}
