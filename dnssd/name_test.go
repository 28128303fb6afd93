package dnssd

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

func TestParseName_ReadsBothForms(t *testing.T) {
	want := FullName{"Dr. No's \\ Büro", "_http._tcp", "local"}
	for _, s := range []string{
		`Dr\. No's \\ Büro._http._tcp.local`,
		`Dr\. No's \\ Büro._http._tcp.local.`,
		`Dr\.\032No's\032\\\032B\195\188ro._http._tcp.local.`,
		`Dr\.\ No\'s\ \\\ B\195\188ro._http._tcp.local.`,
	} {
		if got, err := ParseName(s); err != nil || got != want {
			t.Errorf("ParseName(%q) = %q, %v", s, got, err)
		}
	}
	// RFC 6763 section 4.1.3: "rich-text service subdomains are allowed".
	got, err := ParseName(`a._ipp._tcp.Building 2\, 1st Floor.example.com.`)
	if err != nil || got.Domain != `Building\ 2,\ 1st\ Floor.example.com` {
		t.Errorf("rich domain: %q, %v", got, err)
	}
}

func TestFullName_RFC6763_4_3_EscapesDotsAndBackslashes(t *testing.T) {
	n := FullName{`a.b\c d`, "_http._tcp", "local"}
	if s := n.String(); s != `a\.b\\c d._http._tcp.local` {
		t.Errorf("String = %s", s)
	}
	if s := n.Presentation(); s != `a\.b\\c\ d._http._tcp.local.` {
		t.Errorf("Presentation = %s", s)
	}
}

func TestParseName_Refuses(t *testing.T) {
	for _, s := range []string{
		"", ".", "a", "a._http._tcp", "_http._tcp.local", "a.http._tcp.local", "a._http._sctp.local", `a\`, `a\25._http._tcp.local`,
		`a\256._http._tcp.local`, "a.._http._tcp.local", strings.Repeat("a", 64) + "._http._tcp.local",
		"a._http._tcp." + strings.Repeat("long-label-of-16.", 15) + "com",
	} {
		if n, err := ParseName(s); !errors.Is(err, ErrName) {
			t.Errorf("ParseName(%q) = %q, %v", s, n, err)
		}
	}
}

func TestNormalizeInstance_RFC6763_4_1_1(t *testing.T) {
	if s, err := NormalizeInstance("Cafe\u0301"); err != nil || s != "Caf\u00e9" {
		t.Errorf("not composed: %q, %v", s, err)
	}
	for _, ok := range []string{"x", strings.Repeat("x", 63), strings.Repeat("紙", 21), ` .\"=,`} {
		if s, err := NormalizeInstance(ok); err != nil || s != ok {
			t.Errorf("NormalizeInstance(%q) = %q, %v", ok, s, err)
		}
	}
	for _, bad := range []string{"", "a\x00b", "a\nb", "a\x7fb", "\xff", strings.Repeat("x", 64), strings.Repeat("紙", 22)} {
		if s, err := NormalizeInstance(bad); !errors.Is(err, ErrName) {
			t.Errorf("NormalizeInstance(%q) = %q, %v", bad, s, err)
		}
	}
}

func TestFold_LeavesOtherLettersAlone(t *testing.T) {
	if s := fold("ÄBc\xff\x80Z"); s != "Äbc\xff\x80z" {
		t.Errorf("fold = %q", s)
	}
}

// FuzzParseName: both written forms of what was read are read as the same, and the
// zone file form is the one that miekg/dns writes.
func FuzzParseName(f *testing.F) {
	for _, s := range []string{`Dr\. No._http._tcp.local`, `\000\255\\._x._UDP.a\.b.`, `a._http._tcp.local.`, `\`, "ü@(;)'\"._a._tcp.l"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseName(s)
		if err != nil {
			return
		}
		for _, form := range []string{n.String(), n.Presentation()} {
			if m, err := ParseName(form); err != nil || m != n {
				t.Fatalf("%q read as %q, written as %q, read as %q, %v", s, n, form, m, err)
			}
		}
		wire, err := appendName(nil, n.Presentation())
		if err != nil {
			t.Fatal(err)
		}
		if back, _, err := dns.UnpackDomainName(wire, 0); err != nil || back != n.Presentation() {
			t.Fatalf("%q is %q to miekg/dns, %v", n.Presentation(), back, err)
		}
	})
}

func TestRename(t *testing.T) {
	for name, want := range map[string]string{
		"Office":                         "Office (2)",
		"Office (2)":                     "Office (3)",
		"Office (9)":                     "Office (10)",
		"Office (1)":                     "Office (1) (2)",
		"Office (02)":                    "Office (02) (2)",
		"Office (+2)":                    "Office (+2) (2)",
		"Office(2)":                      "Office(2) (2)",
		" (2)":                           " (2) (2)",
		"Office (99999999999)":           "Office (99999999999) (2)",
		strings.Repeat("x", 63):          strings.Repeat("x", 59) + " (2)",
		strings.Repeat("紙", 21):          strings.Repeat("紙", 19) + " (2)",
		strings.Repeat("x", 59) + " (9)": strings.Repeat("x", 58) + " (10)",
	} {
		got := Rename(name)
		if got != want {
			t.Errorf("Rename(%q) = %q, want %q", name, got, want)
		}
		if _, err := NormalizeInstance(got); err != nil {
			t.Error(err)
		}
	}
}
