package main

import (
	"bytes"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aether-lan/aether/dnssd"
)

var office = dnssd.Instance{
	Name: "Dr. No's Büro", Service: "_http._tcp", Domain: "local", Host: "box.local", Port: 8080, Interface: "eth0", IfIndex: 2,
	From:      netip.MustParseAddr("192.0.2.7"),
	Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("fe80::7%eth0")},
	TXT:       dnssd.TXT{{Key: "path", Value: []byte("/a b")}, {Key: "note", Value: []byte("x;\"y\"\\\n")}, {Key: "flag"}, {Key: "bin", Value: []byte{0, 0xff}}},
}

func TestParsableLines_AreAvahisButForTexts(t *testing.T) {
	name := `Dr\.\032No\039s\032B\195\188ro`
	txt := `"path=/a b" "note=x\059\034y\034\092\010" "flag" "bin=\000\255"`
	for _, c := range []struct {
		mark string
		want []string
	}{
		{"+", []string{"+;eth0;IPv4;" + name + ";_http._tcp;local"}},
		{"-", []string{"-;eth0;IPv4;" + name + ";_http._tcp;local"}},
		{"=", []string{
			"=;eth0;IPv4;" + name + ";_http._tcp;local;box.local;192.0.2.7;8080;" + txt,
			"=;eth0;IPv6;" + name + ";_http._tcp;local;box.local;fe80::7;8080;" + txt,
		}},
	} {
		if got := parsableLines(c.mark, office); !slices.Equal(got, c.want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	for _, l := range parsableLines("=", hostile) {
		if strings.Count(l, ";") != 9 || steers(l) {
			t.Errorf("%q", l)
		}
	}
}

func TestInstanceFilter_Passes(t *testing.T) {
	own := func(a netip.Addr) bool { return a == netip.MustParseAddr("192.0.2.7") }
	re := regexp.MustCompile
	for what, c := range map[string]struct {
		f    instanceFilter
		want bool
	}{
		"no filter":         {instanceFilter{}, true},
		"name":              {instanceFilter{name: re("No")}, true},
		"other name":        {instanceFilter{name: re("^No")}, false},
		"host":              {instanceFilter{host: re("^box")}, true},
		"port in range":     {instanceFilter{ports: [2]uint16{8000, 8080}}, true},
		"port out of range": {instanceFilter{ports: [2]uint16{1, 8079}}, false},
		"key":               {instanceFilter{txt: []txtFilter{{"FLAG", nil}}}, true},
		"key and value":     {instanceFilter{txt: []txtFilter{{"path", re("^/a")}}}, true},
		"other value":       {instanceFilter{txt: []txtFilter{{"path", re("^b")}}}, false},
		"no such key":       {instanceFilter{txt: []txtFilter{{"none", nil}}}, false},
		"local":             {instanceFilter{local: true, isOwn: own}, true},
		"remote":            {instanceFilter{remote: true, isOwn: own}, false},
	} {
		if got := c.f.passes(office); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	offered := office
	offered.From = netip.Addr{}
	if !(instanceFilter{local: true}).passes(offered) {
		t.Error("what this node offers is not local")
	}
}

// An instance that passes its filter only later is new then, and one that passes no
// longer is gone, whatever the event said.
func TestBrowsing_FilteredInstancesComeAndGo(t *testing.T) {
	var out bytes.Buffer
	b := &browsing{
		filter: instanceFilter{ports: [2]uint16{8080, 8080}},
		shown:  map[instancePlace]dnssd.Instance{}, names: map[dnssd.FullName]int{},
	}
	other := office
	other.Port = 1
	for _, ev := range []dnssd.Event{
		{Op: dnssd.Add, Instance: other}, {Op: dnssd.Update, Instance: office}, {Op: dnssd.Update, Instance: office},
		{Op: dnssd.Update, Instance: other}, {Op: dnssd.Remove, Instance: other},
	} {
		if err := b.take(t.Context(), &printer{out: &out}, ev); err != nil {
			t.Fatal(err)
		}
	}
	if got := regexp.MustCompile(`(?m)^[+=-]`).FindAllString(out.String(), -1); !slices.Equal(got, []string{"+", "-"}) || len(b.names) != 0 {
		t.Errorf("%d names\n%s", len(b.names), &out)
	}
}

func TestExecution_WordsAndEnvironment(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for program, want := range map[string][]string{
		`a 'b c' "d \" e" f\ g`: {"a", "b c", `d " e`, "f g"},
		`  a  ''  `:             {"a", ""},
		``:                      nil,
	} {
		if got, err := words(program); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", program, got, err)
		}
	}
	for _, bad := range []string{`a 'b`, `a \`, ``, `/no/such/program`} {
		if _, err := newExecution(bad, nil, nil, nil); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
	f := factsOf(office)
	for word, want := range map[string]string{
		"{}": "http://box.local:8080/a%20b", "{service_name}!": "Dr. No's Büro!", "{txt_path}{txt_none}{x}{": "/a b{x}{",
		"{service_hostname}:{service_port} {service_regtype} {service_domain} {service_scheme}": "box.local:8080 _http._tcp local http",
		"{txt_bin}": "\xff",
	} {
		if got := f.replace(word); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
	env := f.environment()
	for _, want := range []string{"IPPFIND_SERVICE_NAME=Dr. No's Büro", "IPPFIND_TXT_PATH=/a b", "IPPFIND_SERVICE_URI=http://box.local:8080/a%20b"} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %q", want, env)
		}
	}
	var out, errs bytes.Buffer
	e, err := newExecution(self+" -test.run=^$ -test.list=^{service_scheme}$", nil, &out, &errs)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.run(t.Context(), office); err != nil {
			t.Fatal(err)
		}
	}
	if e.failed != 0 || len(e.done) != 1 {
		t.Errorf("%d of %d failed: %s%s", e.failed, len(e.done), &out, &errs)
	}
}
