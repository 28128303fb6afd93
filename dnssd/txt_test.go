package dnssd

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// strs is the rdata of a TXT record with these strings.
func strs(list ...string) []byte {
	var b []byte
	for _, s := range list {
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	return b
}

func TestTXT_RFC6763_6_4_FourStates(t *testing.T) {
	txt, err := ParseTXT(strs("passreq", "PlugIns=", "Color=4=x", "bin=\x00\xff="))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key, value string
		state      State
	}{
		{"absent", "", Absent}, {"passreq", "", NoValue}, {"plugins", "", EmptyValue}, {"COLOR", "4=x", HasValue}, {"bin", "\x00\xff=", HasValue},
	} {
		if v, s := txt.Get(c.key); string(v) != c.value || s != c.state {
			t.Errorf("Get(%q) = %q, %v, want %q, %v", c.key, v, s, c.value, c.state)
		}
	}
}

func TestTXT_RFC6763_6_4_FirstOfAKeyWins(t *testing.T) {
	txt, err := ParseTXT(strs("papersize=A4", "PAPERSIZE=A5", "a", "A=1"))
	if want := []string{"papersize=A4", "a"}; err != nil || !slices.Equal(txt.Strings(), want) {
		t.Errorf("%q, %v, want %q", txt.Strings(), err, want)
	}
}

func TestTXT_RFC6763_6_4_IgnoresWhatHasNoKey(t *testing.T) {
	txt, err := ParseTXT(strs("=x", "", "\x01=y", "ü=z", "k=v"))
	if want := []string{"k=v"}; err != nil || !slices.Equal(txt.Strings(), want) {
		t.Errorf("%q, %v, want %q", txt.Strings(), err, want)
	}
}

func TestTXT_RFC6763_6_1_EmptyIsOneZeroByte(t *testing.T) {
	if b, err := TXT(nil).Append(nil); err != nil || !bytes.Equal(b, []byte{0}) {
		t.Errorf("Append = %v, %v", b, err)
	}
	for _, rdata := range [][]byte{nil, {}, {0}, {0, 0}} {
		if txt, err := ParseTXT(rdata); err != nil || len(txt) != 0 {
			t.Errorf("ParseTXT(%v) = %q, %v", rdata, txt, err)
		}
	}
}

func TestTXT_RFC6763_6_6_Example(t *testing.T) {
	b, err := TXT{{"key", []byte("value")}, {"paper", []byte("A4")}, {Key: "passreq"}}.Append(nil)
	if err != nil || string(b) != "\x09key=value\x08paper=A4\x07passreq" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestParseTXT_KeepsWhatStoodBeforeABrokenString(t *testing.T) {
	txt, err := ParseTXT(append(strs("a=1"), 9, 'x'))
	if !errors.Is(err, ErrTXT) || !slices.Equal(txt.Strings(), []string{"a=1"}) {
		t.Errorf("%q, %v", txt.Strings(), err)
	}
}

func TestTXT_AppendRefuses(t *testing.T) {
	long := make([]byte, 255)
	for name, txt := range map[string]TXT{
		"no key":       {{Key: ""}},
		"= in key":     {{Key: "a=b"}},
		"control":      {{Key: "a\n"}},
		"twice":        {{Key: "a"}, {Key: "A", Value: []byte("1")}},
		"256 bytes":    {{"ab", long[:253]}},
		"record large": nil,
	} {
		if name == "record large" {
			for i := range 45 {
				txt = append(txt, Attribute{string(rune('A'+i/26)) + string(rune('a'+i%26)) + "x", long[:200]})
			}
		}
		if b, err := txt.Append(nil); !errors.Is(err, ErrTXT) {
			t.Errorf("%s: Append = %d bytes, %v", name, len(b), err)
		}
	}
	if _, err := (TXT{{"a", long[:253]}}).Append(nil); err != nil {
		t.Errorf("255 bytes: %v", err)
	}
}

func TestParseAttribute(t *testing.T) {
	for _, s := range []string{"a", "a=", "a=b", "a==", " =x"} {
		if a, err := ParseAttribute(s); err != nil || a.String() != s {
			t.Errorf("ParseAttribute(%q) = %q, %v", s, a, err)
		}
	}
	for _, s := range []string{"", "=x", "ä=1", "a=" + strings.Repeat("x", 254)} {
		if a, err := ParseAttribute(s); !errors.Is(err, ErrTXT) {
			t.Errorf("ParseAttribute(%q) = %q, %v", s, a, err)
		}
	}
}

func TestTXT_RFC6763_6_2_Warnings(t *testing.T) {
	v := func(n int) []byte { return make([]byte, n) }
	for _, c := range []struct {
		txt  TXT
		want []string
	}{
		{TXT{{"a", v(190)}}, nil},
		{TXT{{"abcdefghij", nil}}, []string{"longer than 9"}},
		{TXT{{"a", v(199)}}, []string{"typical"}},
		{TXT{{"a", v(200)}, {"b", v(200)}}, []string{"512"}},
		{TXT{{"a", v(250)}, {"b", v(250)}, {"c", v(250)}, {"d", v(250)}, {"e", v(250)}, {"f", v(250)}}, []string{"Ethernet"}},
		{TXT{{Key: "a"}, {"TxtVers", []byte("1")}}, []string{"first"}},
	} {
		got := c.txt.Warnings()
		ok := len(got) == len(c.want)
		for i := range got {
			ok = ok && strings.Contains(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%.20q: %q, want %q", c.txt.Strings(), got, c.want)
		}
	}
}

// FuzzParseTXT: what was read, written and read again is the same.
func FuzzParseTXT(f *testing.F) {
	f.Add(strs("a=1", "A=2", "=x", "", "b", "c="))
	f.Add([]byte{0})
	f.Add([]byte{5, 'a'})
	f.Fuzz(func(t *testing.T, rdata []byte) {
		txt, _ := ParseTXT(rdata)
		b, err := txt.Append(nil)
		if err != nil {
			if len(rdata) > txtMax {
				return
			}
			t.Fatal(err)
		}
		again, err := ParseTXT(b)
		if err != nil || !again.Equal(txt) {
			t.Fatalf("%q, %q, %v", txt.Strings(), again.Strings(), err)
		}
		for _, a := range txt {
			if back, err := ParseAttribute(a.String()); err != nil || back.String() != a.String() || back.State() != a.State() {
				t.Fatalf("%q, %q, %v", a, back, err)
			}
		}
	})
}
