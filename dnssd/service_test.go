package dnssd

import (
	"errors"
	"strings"
	"testing"
)

func TestParseService(t *testing.T) {
	for s, want := range map[string]Service{
		"_ipp._tcp":                      {Type: "_ipp._tcp"},
		"_ipp._tcp.":                     {Type: "_ipp._tcp"},
		"_ipp._tcp.local":                {Type: "_ipp._tcp"},
		"_IPP._TCP.Local.":               {Type: "_IPP._TCP"},
		"_printer._sub._http._tcp":       {"_http._tcp", "_printer"},
		"_printer._sub._http._tcp.local": {"_http._tcp", "_printer"},
		"_http._tcp,_printer":            {"_http._tcp", "_printer"},
		"anything._sub._http._udp":       {"_http._udp", "anything"},
		`a\.b._sub._http._tcp`:           {"_http._tcp", "a.b"},
		"_androidtvremote2._tcp":         {Type: "_androidtvremote2._tcp"},
	} {
		got, err := ParseService(s)
		if err != nil || got != want {
			t.Errorf("ParseService(%q) = %q, %v", s, got, err)
		}
		if back, err := ParseService(got.String()); err != nil || back != got {
			t.Errorf("ParseService(%q) = %q, %v", got.String(), back, err)
		}
	}
	for _, s := range []string{
		"", "ipp", "_ipp", "ipp._tcp", "_ipp._sctp", "_._tcp", "_ipp._tcp,", "_a._b._ipp._tcp", "x._ipp._tcp", "_sub._http._tcp",
		"_x._sub._http._tcp,_y", "_http._tcp," + strings.Repeat("x", 64), "_ipp._tcp.example.com",
	} {
		if got, err := ParseService(s); !errors.Is(err, ErrService) {
			t.Errorf("ParseService(%q) = %q, %v", s, got, err)
		}
	}
}

func TestService_RFC6763_7_Names(t *testing.T) {
	for _, s := range []string{"_a._tcp", "_ipp._udp", "_a-b._tcp", "_6a7._tcp", "_abcdefghijklmno._tcp"} {
		if err := (Service{Type: s}).Validate(); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []string{"__tcp._tcp", "_80._tcp", "_6000-6063._tcp", "_-a._tcp", "_a-._tcp", "_a--b._tcp", "_a_b._tcp", "_ä._tcp", "_abcdefghijklmnop._tcp", "_a\\.b._tcp"} {
		if err := (Service{Type: s}).Validate(); !errors.Is(err, ErrService) {
			t.Errorf("%q is valid: %v", s, err)
		}
	}
}

func FuzzParseService(f *testing.F) {
	for _, s := range []string{"_ipp._tcp", "_p._sub._http._tcp", "_http._tcp,_p", `\000._sub._a._udp.local.`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := ParseService(s)
		if err != nil {
			return
		}
		if w, err := ParseService(v.String()); err != nil || v != w {
			t.Fatalf("%q is %q, written %q, is %q, %v", s, v, v.String(), w, err)
		}
		if _, err := appendName(nil, v.browseName(Local)); err != nil && len(s) < 100 {
			t.Fatalf("%q has no name to browse: %v", s, err)
		}
	})
}
