package dnssd

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const serviceFile = `<?xml version="1.0" standalone='no'?><!--*-nxml-*-->
<!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group>
  <name replace-wildcards="yes">Files &amp; more on %h</name>
  <service protocol="ipv6">
    <type>_http._tcp</type>
    <subtype>_printer._sub._http._tcp</subtype>
    <subtype>odd\.one._sub._http._tcp</subtype>
    <port>8080</port>
    <txt-record>path=/a b</txt-record>
    <txt-record>flag</txt-record>
    <txt-record value-format="binary-hex">hex=00ff3d</txt-record>
    <txt-record value-format="binary-base64">b64=AP89</txt-record>
    <txt-record value-format="text">empty=</txt-record>
  </service>
  <service>
    <type>_ipp._tcp</type>
    <domain-name>local</domain-name>
    <host-name>printer.local</host-name>
    <port> 631 </port>
  </service>
</service-group>
`

func TestParseServiceFile(t *testing.T) {
	list, err := ParseServiceFile(strings.NewReader(serviceFile), "x.service", "box")
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	want := Instance{
		Name: "Files & more on box", Service: "_http._tcp", Domain: Local, Subtypes: []string{"_printer", "odd.one"}, Port: 8080,
		TXT: TXT{{"path", []byte("/a b")}, {Key: "flag"}, {"hex", []byte("\x00\xff=")}, {"b64", []byte("\x00\xff=")}, {"empty", []byte{}}},
	}
	if !list[0].Equal(want) {
		t.Errorf("got %+v", list[0])
	}
	want = Instance{Name: "Files & more on box", Service: "_ipp._tcp", Domain: Local, Host: "printer.local", Port: 631}
	if !list[1].Equal(want) {
		t.Errorf("got %+v", list[1])
	}
}

func TestParseServiceFile_ErrorsNameFileAndLine(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"<port>8080", "<port>99999", "x.service:9:"},
		{"<port>8080</port>", "<prt>1</prt>", "x.service:9: <prt> may not be here"},
		{"00ff3d", "0g", "x.service:12:"},
		{`"text"`, `"rot13"`, "x.service:14: dnssd: bad TXT: attribute \"empty\": value-format"},
		{`"ipv6"`, `"ipx"`, "x.service:5: protocol"},
		{`"ipv6"`, `"ipv6" x="y"`, "x.service:5: <service> has no attribute x"},
		{"<type>_ipp._tcp</type>", "", "x.service:21: the service has no type"},
		{"_ipp._tcp", "ipp", "x.service:17:"},
		{"_ipp._tcp", "_an-over-long-name._tcp", "x.service:16:"},
		{"<domain-name>local", "<domain-name>example.com", "x.service:16:"},
		{"</service-group>", "", "the file ends"},
		{"<service-group>", "<service-group>text", `text "text" between elements`},
		{"</service-group>", "</service-group><service-group>", "x.service:22: <service-group> may not be here"},
		{"&amp;", "&bad;", "x.service:4:"},
		{"%h</name>", "%h</name><name>x</name>", "a second name"},
		{"flag", "a=1</txt-record><txt-record>A=2", "twice"},
		{"</type>", "</port>", "</port> closes nothing"},
	} {
		text := strings.Replace(serviceFile, c.old, c.new, 1)
		if text == serviceFile {
			t.Fatalf("%q is not in the file", c.old)
		}
		_, err := ParseServiceFile(strings.NewReader(text), "x.service", "box")
		if !errors.Is(err, ErrFile) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v, want %q", c.new, err, c.want)
		}
	}
	large := serviceFile + strings.Repeat(" ", serviceFileMax)
	many := strings.Replace(serviceFile, "</service-group>", strings.Repeat("<service><type>_a._tcp</type></service>", serviceFileServices)+"</service-group>", 1)
	for _, text := range []string{large, many, ""} {
		if _, err := ParseServiceFile(strings.NewReader(text), "x", ""); !errors.Is(err, ErrFile) {
			t.Errorf("a file of %d bytes: %v", len(text), err)
		}
	}
}

func FuzzParseServiceFile(f *testing.F) {
	f.Add(serviceFile)
	f.Add("<service-group/>")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseServiceFile(strings.NewReader(s), "x", "box")
		if err != nil {
			if !errors.Is(err, ErrFile) {
				t.Fatal(err)
			}
			return
		}
		for _, i := range list {
			if _, err := i.Records("box.local"); err != nil {
				t.Fatalf("%+v: %v", i, err)
			}
		}
	})
}

func sampleInstances() []Instance {
	return []Instance{
		{
			Name: `Dr. "No" \ 2`, Service: "_http._tcp", Domain: Local, Subtypes: []string{"_printer", "a.b c"},
			Host: "box.local", Port: 80, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")},
			TXT: TXT{{"a", []byte("\x00\xff\";\\ x")}, {Key: "flag"}, {"empty", []byte{}}},
		},
		{Name: "Café", Service: "_ipp._tcp", Domain: Local, Host: "www.example.com", Port: 631, Priority: 1, Weight: 2},
	}
}

func TestZone_WhatIsWrittenIsRead(t *testing.T) {
	want := sampleInstances()
	for _, domain := range []string{"", "lan.example.com."} {
		var b strings.Builder
		elsewhere := sampleInstances()[0] // the same, found on another interface
		elsewhere.Addresses = elsewhere.Addresses[:1]
		if err := WriteZone(&b, domain, append([]Instance{elsewhere}, sampleInstances()...)); err != nil {
			t.Fatal(err)
		}
		got, err := ParseZone(strings.NewReader(b.String()), "x.zone", "")
		if err != nil || len(got) != 2 {
			t.Fatalf("%v, %v\n%s", got, err, b.String())
		}
		for i := range got {
			w := want[i]
			if domain != "" {
				w.Domain = trimDot(domain)
				w.Host = strings.Replace(w.Host, "box.local", "box.lan.example.com", 1)
			}
			if !got[i].Equal(w) {
				t.Errorf("got %+v\nwant %+v\n%s", got[i], w, b.String())
			}
		}
	}
}

func TestZone_AnyInstanceSurvives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.StringN(1, 20, labelMax).Filter(func(s string) bool { n, err := NormalizeInstance(s); return err == nil && n == s })
		value := rapid.SliceOfN(rapid.Byte(), 0, 200)
		i := Instance{
			Name: label.Draw(t, "name"), Service: "_a._udp", Domain: Local, Port: rapid.Uint16().Draw(t, "port"), Host: "h.local",
			Subtypes: []string{string(rapid.SliceOfN(rapid.Byte(), 1, labelMax).Draw(t, "subtype"))},
			TXT:      TXT{{"k", value.Draw(t, "value")}, {Key: "=x"[1:]}},
		}
		var b strings.Builder
		if err := WriteZone(&b, "", []Instance{i}); err != nil {
			t.Fatal(err)
		}
		got, err := ParseZone(strings.NewReader(b.String()), "x", "")
		if err != nil || len(got) != 1 || !got[0].Equal(i) {
			t.Fatalf("%+v\n%+v, %v\n%s", i, got, err, b.String())
		}
	})
}

func TestWriteZone_LeavesLinkLocalAddressesOnTheLink(t *testing.T) {
	i := Instance{Name: "x", Service: "_a._tcp", Host: "h.local", Addresses: []netip.Addr{netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("169.254.1.1")}}
	for domain, want := range map[string]bool{"local": true, "example.com": false} {
		var b strings.Builder
		if err := WriteZone(&b, domain, []Instance{i}); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "fe80::1") != want || strings.Contains(b.String(), "169.254") != want || strings.Contains(b.String(), "%") {
			t.Errorf("%s:\n%s", domain, b.String())
		}
	}
	if err := WriteZone(new(strings.Builder), "a..b", nil); !errors.Is(err, ErrName) {
		t.Errorf("a bad domain: %v", err)
	}
}

// The form of dns-sd -Z.
func TestParseZone_ReadsWhatDNSSDWrites(t *testing.T) {
	const zone = `; To direct clients to browse a different domain, substitute that domain in place of '@'
lb._dns-sd._udp                                 PTR     @
_services._dns-sd._udp PTR _http._tcp
_http._tcp                                      PTR     My\032Page._http._tcp
_printer._sub._http._tcp                        PTR     My\032Page._http._tcp
My\032Page._http._tcp                           SRV     0 0 80 box.local. ; Replace with unicast FQDN of target host
My\032Page._http._tcp                           TXT     "path=/" "Path=/second"
My\032Page._lpr._tcp                            SRV     0 0 0 box.local.
box                                             A       192.0.2.1
                                                AAAA    2001:db8::1
`
	list, err := ParseZone(strings.NewReader(zone), "z", "local")
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	i := list[0]
	if got := i.String(); got != `My Page._http._tcp.local at box.local:80 [192.0.2.1 2001:db8::1] ["path=/"]` || len(i.Subtypes) != 1 {
		t.Errorf("%s, %q", got, i.Subtypes)
	}
}

func TestParseZone_Refuses(t *testing.T) {
	for _, c := range []struct{ zone, want string }{
		{"a A 1.2.3.4\nb A nonsense\n", "z: dns: bad A A: \"nonsense\" at line: 2"},
		{"; one\n\n_a._tcp PTR (\n x._a._tcp )\n\nb._a._tcp SRV 0 0 1 h\n", "z:4: x._a._tcp.local is listed and has no SRV"},
		{"_a._tcp PTR x._a._tcp\nx._a._tcp SRV 0 0 1 .\n", "no SRV record with a host"},
		{"$INCLUDE /etc/passwd\n", "line: 1"},
		{"$GENERATE 1-60000 a$ A 1.2.3.4\n", "more than 16384 records"},
		{strings.Repeat("; x\n", zoneFileMax/4+1), "more than 1048576 bytes"},
		{strings.Repeat("a A 1.2.3.4\n", setMax+1), "z:65: a.local. has more than 64 records"},
	} {
		_, err := ParseZone(strings.NewReader(c.zone), "z", "")
		if !errors.Is(err, ErrFile) || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%.40q: %v, want %q", c.zone, err, c.want)
		}
	}
}

func FuzzParseZone(f *testing.F) {
	var b strings.Builder
	if err := WriteZone(&b, "", sampleInstances()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add("_a._tcp PTR x._a._tcp\nx._a._tcp SRV 0 0 1 h\n")
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseZone(strings.NewReader(s), "z", "")
		if err != nil {
			if !errors.Is(err, ErrFile) {
				t.Fatal(err)
			}
			return
		}
		for _, i := range list {
			var b strings.Builder
			if WriteZone(&b, i.Domain, []Instance{i}) != nil {
				continue // read leniently, written strictly
			}
			again, err := ParseZone(strings.NewReader(b.String()), "z", "")
			if err != nil || len(again) != 1 || fold(again[0].Host) != fold(i.Host) || !again[0].TXT.Equal(i.TXT) {
				t.Fatalf("%+v\n%+v, %v\n%s", i, again, err, b.String())
			}
		}
	})
}
