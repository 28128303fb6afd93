package main

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/aether-lan/aether/dnssd"
	"github.com/aether-lan/aether/mdns"
)

// hostile is an instance whose every string tries to drive the terminal.
var hostile = dnssd.Instance{
	Name: "a\x1b[2Jb\n+ eth0 fake\u202e\u009b\xff", Service: "_a\x07._tcp", Domain: "local", Host: "h\x1b.local", Port: 9, Interface: "eth0",
	Addresses: []netip.Addr{netip.MustParseAddr("fe80::1%eth0")},
	TXT:       dnssd.TXT{{Key: "k", Value: []byte("v\x1b]0;x\x07\n\"\\")}, {Key: "flag"}, {Key: "empty", Value: []byte{}}, {Key: "bin", Value: []byte{0, 0xff}}},
}

// steers reports whether s has a byte or character that a terminal obeys, line ends
// excepted.
func steers(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\u202e' })
}

func TestPrinters_KeepControlCharactersFromTheTerminal(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var out bytes.Buffer
		p := &printer{out: &out, json: asJSON}
		b := &browsing{resolve: true}
		for _, op := range []dnssd.Op{dnssd.Add, dnssd.Update, dnssd.Remove} {
			if err := b.print(p, dnssd.Event{Op: op, Instance: hostile}); err != nil {
				t.Fatal(err)
			}
		}
		if err := printRenamed(p, hostile.Name, hostile); err != nil {
			t.Fatal(err)
		}
		rec := mdns.Record{Name: `x\027.local.`, Type: 16, Class: 1, Data: []byte("\x04a\x1b\x9b\xff")}
		if err := printRecord(p, rec, "eth0", netip.MustParseAddr("10.0.0.1")); err != nil {
			t.Fatal(err)
		}
		if s := out.String(); steers(s) || strings.Contains(s, "\n+ eth0 fake") {
			t.Errorf("json %v:\n%q", asJSON, s)
		}
	}
}

func TestInstanceFields_SurviveJSON(t *testing.T) {
	var out bytes.Buffer
	p := &printer{out: &out, json: true}
	if err := p.event("add", "", instanceFields(hostile)...); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Event, Time, Instance, Host string
		TXT                         map[string]*string
		Base64                      map[string]string `json:"txt_base64"`
		Addresses                   []string
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, out.Bytes())
	}
	if got.Instance != strings.ToValidUTF8(hostile.Name, "\ufffd") || got.Host != hostile.Host || got.Addresses[0] != "fe80::1%eth0" {
		t.Errorf("%+v", got)
	}
	if v := got.TXT; *v["k"] != string(hostile.TXT[0].Value) || v["flag"] != nil || *v["empty"] != "" || got.Base64["bin"] != "AP8=" {
		t.Errorf("%+v", got)
	}
	if _, ok := got.TXT["flag"]; !ok || got.Event != "add" || got.Time == "" {
		t.Errorf("%+v", got)
	}
}

func TestZeroconfCommands_UsageIsStatus2(t *testing.T) {
	for _, line := range []string{
		"mdns claim", "mdns claim a.b", "mdns resolve", "mdns query x NOSUCH", "mdns monitor x", "mdns resolve x --timeout -1s",
		"dnssd browse", "dnssd browse ipp", "dnssd browse _ipp._tcp --wait-for -1", "dnssd resolve x", "dnssd register x _ipp._tcp",
		"dnssd register x _ipp._tcp nine", "dnssd register x _ipp._tcp 9 =v", "dnssd register x _80._tcp 9", "dnssd types x", "dnssd browse --nosuch",
	} {
		var out, errw bytes.Buffer
		if status := run(t.Context(), append([]string{"aether"}, strings.Fields(line)...), nil, &out, &errw); status != 2 || out.Len() > 0 || strings.Count(errw.String(), "\n") != 1 {
			t.Errorf("%s: status %d, stdout %q, stderr %q", line, status, &out, &errw)
		}
	}
}
