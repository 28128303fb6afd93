package dnssd

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// One test for each MUST and SHOULD of RFC 6763 that is not the business of one file
// alone; those of names, attributes and services stand beside these.

// Section 5: "priority and weight fields of the SRV record SHOULD both be set to zero".
func TestRecords_RFC6763_5_PriorityAndWeightAreZero(t *testing.T) {
	records, err := Instance{Name: "X", Service: "_a._tcp", Port: 7}.Records("box.local")
	if err != nil {
		t.Fatal(err)
	}
	srv, err := parseTarget(records[0].Data)
	if err != nil || srv != (target{port: 7, host: "box.local."}) {
		t.Errorf("%+v, %v", srv, err)
	}
}

// Section 5: clients "MUST correctly interpret the priority and weight fields".
func TestBrowser_RFC6763_5_PriorityAndWeight(t *testing.T) {
	b := NewBrowser(BrowserConfig{Service: Service{Type: "_a._tcp"}, Rand: seeded(t)})
	b.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", record(t, "_a._tcp.local.", "PTR", "x._a._tcp.local.")))
	for _, srv := range []string{"1 9 10 late.local.", "0 0 20 never.local.", "0 5 30 often.local.", "0 0 40 ."} {
		b.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", record(t, "x._a._tcp.local.", "SRV", srv)))
	}
	b.HandleTimeout(epoch.Add(SettleTime))
	ev := b.Events()
	if len(ev) != 1 || ev[0].Instance.Priority != 0 || ev[0].Instance.Host == "late.local" {
		t.Fatal(ev)
	}
	want := []Target{{"often.local", 30, 0, 5}, {"never.local", 20, 0, 0}, {"late.local", 10, 1, 9}}
	if got := ev[0].Instance.Targets; !slices.Equal(got, want) {
		t.Errorf("targets %v", got)
	}
}

func TestOrderTargets_RFC2782(t *testing.T) {
	list := []Target{{"c", 1, 1, 0}, {"b", 1, 0, 1}, {"a", 1, 0, 3}, {"z", 1, 0, 0}}
	count := make(map[string]int)
	rnd := seeded(t)
	for range 4000 {
		got := OrderTargets(rnd, list)
		if len(got) != 4 || got[3].Host != "c" {
			t.Fatal(got)
		}
		count[got[0].Host]++
	}
	// A number from 0 to 4: 0 takes weight 0, 1 takes weight 1, the rest weight 3.
	for host, want := range map[string]int{"z": 800, "b": 800, "a": 2400} {
		if d := count[host] - want; d < -150 || d > 150 {
			t.Errorf("%s was first %d times, want about %d", host, count[host], want)
		}
	}
	if list[0].Host != "c" {
		t.Error("the list given was changed")
	}
	if got := OrderTargets(nil, list); got[0].Host != "a" || OrderTargets(nil, nil) != nil {
		t.Errorf("without chance: %v", got)
	}
}

// Section 6: "Every DNS-SD service MUST have a TXT record in addition to its SRV
// record, with the same name", section 6.1: "MUST NOT emit empty TXT records".
func TestRecords_RFC6763_6_EveryInstanceHasTXT(t *testing.T) {
	records, err := Instance{Name: "X", Service: "_a._tcp"}.Records("box.local")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(records, func(r mdns.Record) bool { return r.Type == dns.TypeTXT })
	if i < 0 || records[i].Name != records[0].Name || string(records[i].Data) != "\x00" {
		t.Errorf("%v", records)
	}
}

// Section 6.1: a zero byte, no string at all and no TXT record "MUST" be the same.
func TestBrowser_RFC6763_6_1_NoTXTIsEmptyTXT(t *testing.T) {
	var told []Instance
	for _, data := range []string{"\x00", "", "none"} {
		b := NewBrowser(BrowserConfig{Pinned: []FullName{{"x", "_a._tcp", Local}}})
		txt := mdns.Record{Name: "x._a._tcp.local.", Type: dns.TypeTXT, Class: 1, Data: []byte(data)}
		if data != "none" {
			b.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", txt))
		}
		b.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", record(t, "x._a._tcp.local.", "SRV", "0 0 1 h.local.")))
		b.HandleTimeout(epoch.Add(SettleTime))
		for _, ev := range b.Events() {
			told = append(told, ev.Instance)
		}
	}
	if len(told) != 3 || !told[0].Equal(told[1]) || !told[0].Equal(told[2]) || len(told[0].TXT) != 0 {
		t.Errorf("%v", told)
	}
}

// Section 6.3: host and port "MUST NOT be duplicated" among the attributes.
func TestTXT_RFC6763_6_3_WarnsOfHostAndPort(t *testing.T) {
	for _, key := range []string{"port", "Host", "HOSTNAME"} {
		if w := (TXT{{key, []byte("1")}}).Warnings(); len(w) != 1 || !strings.Contains(w[0], "SRV") {
			t.Errorf("%s: %q", key, w)
		}
	}
}

// Section 6.3: unknown keys "MUST" be ignored silently: they disturb nothing.
func TestTXT_RFC6763_6_3_UnknownKeysDisturbNothing(t *testing.T) {
	txt, err := ParseTXT(strs("zz-unknown=\x00", "a=1"))
	if v, s := txt.Get("a"); err != nil || string(v) != "1" || s != HasValue {
		t.Errorf("%q, %v, %v", v, s, err)
	}
}

// Section 6.4: "The characters of a key MUST be printable US-ASCII values (0x20-0x7E),
// excluding '='", and "spaces in the key are significant".
func TestAttribute_RFC6763_6_4_Keys(t *testing.T) {
	for c := range 256 {
		key := "k" + string([]byte{byte(c)})
		_, err := TXT{{Key: key}}.Append(nil)
		if good := c >= 0x20 && c <= 0x7e && c != '='; (err == nil) != good {
			t.Errorf("key %q: %v", key, err)
		}
	}
	if _, s := (TXT{{Key: " a"}}).Get("a"); s != Absent {
		t.Error("a space was lost")
	}
}

// Section 6.5: the value is everything behind the first '=', any bytes, as they are.
func TestTXT_RFC6763_6_5_ValuesAreBytes(t *testing.T) {
	value := make([]byte, 252)
	rnd := rand.New(rand.NewPCG(6, 5))
	for i := range value {
		value[i] = byte(rnd.Uint32())
	}
	copy(value, "= \"")
	b, err := TXT{{"k", value}}.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	txt, err := ParseTXT(b)
	if got, _ := txt.Get("k"); err != nil || string(got) != string(value) {
		t.Errorf("%q, %v", got, err)
	}
}

// Section 6.7: clients "SHOULD ignore TXT records with a txtvers number" they do not know.
func TestTXT_RFC6763_6_7_Version(t *testing.T) {
	for text, want := range map[string]int{"txtvers=1": 1, "TxtVers=12": 12, "txtvers": -1, "txtvers=": -1, "txtvers=x": -1, "txtvers=-1": -1, "a=1": -1} {
		a, err := ParseAttribute(text)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := (TXT{a}).Version(); ok != (want >= 0) || ok && n != want {
			t.Errorf("%s: %d, %v", text, n, ok)
		}
	}
}

// Section 7.1: an instance may have several subtypes, each a label of any bytes; the
// PTR record of each points to the instance, which is named as without.
func TestRecords_RFC6763_7_1_Subtypes(t *testing.T) {
	any := string([]byte{0, '.', '\\', ' ', 0xff})
	records, err := Instance{Name: "X", Service: "_a._tcp", Subtypes: []string{"_one", any}}.Records("box.local")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Service{{"_a._tcp", "_one"}, {"_a._tcp", any}} {
		back, err := ParseService(s.String())
		if err != nil || back != s {
			t.Errorf("%q is read as %q, %v", s.String(), back, err)
		}
		b := NewBrowser(BrowserConfig{Service: s, NamesOnly: true})
		for _, r := range records {
			b.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", r))
		}
		if ev := b.Events(); len(ev) != 1 || ev[0].Instance.Name != "X" || ev[0].Instance.Service != "_a._tcp" {
			t.Errorf("%q: %v", s, ev)
		}
	}
}

// Section 12.1, 12.2: whoever answers with a PTR record "SHOULD include" SRV, TXT and
// addresses; with an SRV record, the addresses. Asked for a subtype, too.
func TestAnswers_RFC6763_12_AdditionalRecords(t *testing.T) {
	h := mdns.NewHost(rand.New(rand.NewPCG(12, 0)))
	h.SetLink(epoch, mdns.Link{
		Index: 1, Name: "eth0", IPv4: true, Unicast: true,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")},
	})
	if _, err := h.ClaimHost(epoch, "box"); err != nil {
		t.Fatal(err)
	}
	records, err := Instance{Name: "X", Service: "_a._tcp", Subtypes: []string{"_s"}}.Records("box.local")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Publish(epoch, records); err != nil {
		t.Fatal(err)
	}
	now := epoch
	until := func(end time.Time) (sent []mdns.Packet) {
		for t, ok := h.NextTimeout(); ok && !t.After(end); t, ok = h.NextTimeout() {
			h.HandleTimeout(t)
			sent = append(sent, h.Outgoing()...)
		}
		now = end
		return sent
	}
	for _, c := range []struct {
		name string
		typ  uint16
		want string
	}{
		{"_a._tcp.local.", dns.TypePTR, "[PTR] + [A SRV TXT]"},
		{"_s._sub._a._tcp.local.", dns.TypePTR, "[PTR] + [A SRV TXT]"},
		{"X._a._tcp.local.", dns.TypeSRV, "[SRV] + [A]"},
		{"X._a._tcp.local.", dns.TypeTXT, "[TXT] + []"},
	} {
		until(now.Add(time.Minute))
		q := new(dns.Msg)
		q.SetQuestion(c.name, c.typ)
		q.Id = 0
		b, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		h.HandlePacket(now, mdns.Packet{
			Data: b, From: netip.MustParseAddrPort("10.0.0.2:5353"), To: netip.MustParseAddrPort("224.0.0.251:5353"), IfIndex: 1,
		})
		sent := append(h.Outgoing(), until(now.Add(time.Second))...)
		if len(sent) != 1 {
			t.Fatalf("%s: %d packets", c.name, len(sent))
		}
		m, err := mdns.ParseMessage(sent[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		kinds := func(list []mdns.Record) (s []string) {
			for _, r := range list {
				if r.Type != dns.TypeNSEC {
					s = append(s, dns.Type(r.Type).String())
				}
			}
			slices.Sort(s)
			return s
		}
		if got := fmt.Sprint(kinds(m.Answers), " + ", kinds(m.Additional)); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.name, dns.Type(c.typ), got, c.want)
		}
	}
}

// Section 12: clients "MUST be capable of functioning correctly with DNS servers (and
// Multicast DNS Responders) that fail to generate these additional records", "by
// issuing subsequent queries".
func TestBrowser_RFC6763_12_AsksForWhatWasNotAdded(t *testing.T) {
	b := NewBrowser(BrowserConfig{Service: Service{Type: "_a._tcp"}, IPv4: true})
	var asked []string
	next := func(typ, name, data string) {
		b.HandleChange(epoch, change(t, mdns.Add, mdns.Answered, "eth0", record(t, name, typ, data)))
		start, _ := b.Outgoing()
		for _, q := range start {
			asked = append(asked, dns.Type(q.Type).String()+" "+q.Name)
		}
	}
	next("PTR", "_a._tcp.local.", "x._a._tcp.local.")
	next("SRV", "x._a._tcp.local.", "0 0 1 h.local.")
	expect(t, asked, "PTR _a._tcp.local.", "TXT x._a._tcp.local.", "SRV x._a._tcp.local.", "A h.local.")
}

// Section 4.1.1: "MUST NOT contain ASCII control characters"; section 4.1.2 and 7: the
// service as registered; section 13 of RFC 6762: what cannot be served is refused.
func TestRecords_RFC6763_4_1_Refuses(t *testing.T) {
	for want, i := range map[error]Instance{
		ErrName:    {Name: "a\x1fb", Service: "_a._tcp"},
		ErrService: {Name: "a", Service: "_a--b._tcp"},
		ErrTXT:     {Name: "a", Service: "_a._tcp", TXT: TXT{{Key: "a"}, {Key: "A"}}}, // 6.4: "SHOULD NOT appear more than once"
		ErrDomain:  {Name: "a", Service: "_a._tcp", Domain: "example.com"},
	} {
		if _, err := i.Records("h"); !errors.Is(err, want) {
			t.Errorf("%v: %v", i, err)
		}
	}
}
