package igmp

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// text is fields as name=value pairs; what is wrong stands behind an exclamation mark.
func text(fields []Field, names ...string) string {
	var parts []string
	for _, f := range fields {
		for _, n := range names {
			if f.Name == n {
				s := f.Value
				if f.Wrong != "" {
					s += "!" + f.Wrong
				}
				parts = append(parts, s)
			}
		}
	}
	return strings.Join(parts, "; ")
}

func TestDissect_CoversEveryByteOnce(t *testing.T) {
	for _, m := range []Message{
		general3, &Query{Version: V2, Group: group1, MaxResponse: time.Second}, &Query{Version: V1}, &Leave{Group: group1},
		&Report{Version: V2, Group: group1}, &Unknown{Type: 0x30, Body: []byte{1, 2, 3, 4}},
		&Report{Version: V3, Records: []Record{{Type: 9, Group: group1, Sources: []netip.Addr{sourceA, sourceB}, Aux: []byte{1, 2, 3, 4}}, {Type: 1, Group: alias1}}, Additional: []byte{7}},
	} {
		for _, vlan := range []uint16{0, 5} {
			f := messageFrame(t, sourceA, vlan, m)
			at := 0
			for _, x := range DissectFrame(f) {
				if x.Offset != at || x.Length < 0 || x.Wrong != "" {
					t.Errorf("%v: %+v at %d", m, x, at)
				}
				at += x.Length
			}
			if at != len(f) {
				t.Errorf("%v: %d bytes of %d", m, at, len(f))
			}
		}
	}
	six := messageFrame(t, router6, 0, &Report{Version: V3, Records: []Record{{Type: AllowNewSources, Group: group6, Sources: []netip.Addr{router6}}}})
	if got := text(DissectFrame(six), "extension header", "record type", "group", "source"); got != "fe80::1; 3a00050200000100 router alert; 5 allow; ff05::1234; fe80::1" {
		t.Errorf("%s", got)
	}
}

func TestDissect_CodesAndMistakes(t *testing.T) {
	b := []byte{0x11, 140, 0, 0, 239, 1, 2, 3, 0x0b, 255, 0, 2, 10, 0, 0, 1}
	if got := text(DissectMessage(b), "max resp code", "checksum", "flags, S, QRV", "QQIC", "number of sources", "source"); got !=
		"140 = 22.4s; 0000!is wrong, should be e76c; flags 0, S 1, robustness 3; 255 = 8h49m4s; 2!only 1 are there; 10.0.0.1" {
		t.Errorf("%s", got)
	}
	if got := text(DissectMessage(b[:10]), "rest"); !strings.Contains(got, "length of no version") {
		t.Errorf("%s", got)
	}
	if got := text(DissectMessage(b[:6]), "group"); got != "!cut off" {
		t.Errorf("%q", got)
	}
}

func captureOf(t testing.TB, link layers.LinkType, ng bool, frames ...[]byte) []byte {
	t.Helper()
	var file bytes.Buffer
	var w interface {
		WritePacket(gopacket.CaptureInfo, []byte) error
	}
	if ng {
		n, err := pcapgo.NewNgWriter(&file, link)
		if err != nil {
			t.Fatal(err)
		}
		defer n.Flush()
		w = n
	} else {
		p := pcapgo.NewWriter(&file)
		if err := p.WriteFileHeader(65536, link); err != nil {
			t.Fatal(err)
		}
		w = p
	}
	for i, f := range frames {
		ci := gopacket.CaptureInfo{Timestamp: snoopStart.Add(time.Duration(i) * time.Second), CaptureLength: len(f), Length: len(f)}
		if err := w.WritePacket(ci, f); err != nil {
			t.Fatal(err)
		}
	}
	if n, ok := w.(*pcapgo.NgWriter); ok {
		if err := n.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return file.Bytes()
}

func TestCaptureReader_ReadsLinksOfAllKinds(t *testing.T) {
	f := messageFrame(t, sourceA, 0, &Report{Version: V2, Group: group1})
	ip := f[14:]
	sll := append([]byte{0, 1, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0, 8, 0}, ip...)
	sll2 := append([]byte{8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 4, 6, 2, 0, 0, 0, 0, 9, 0, 0}, ip...)
	for _, c := range []struct {
		link  layers.LinkType
		frame []byte
		head  int
		mac   byte
	}{
		{layers.LinkTypeEthernet, f, 0, 9}, {layers.LinkTypeRaw, ip, 14, 0}, {layers.LinkTypeLinuxSLL, sll, 14, 9},
		{linkSLL2, sll2, 14, 9},
		{layers.LinkTypeNull, append([]byte{2, 0, 0, 0}, ip...), 14, 0},
	} {
		for _, ng := range []bool{false, true} {
			r, err := OpenCapture(bytes.NewReader(captureOf(t, c.link, ng, c.frame, c.frame)))
			if err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				got, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				src, p, err := ParseFrame(got.Frame)
				if err != nil || p.Message.(*Report).Group != group1 || got.Head != c.head || src[5] != c.mac || !got.At.Equal(snoopStart.Add(time.Duration(i)*time.Second)) {
					t.Errorf("%v: %v %v %+v", c.link, p, err, got)
				}
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Error(err)
			}
		}
	}
}

func TestCaptureReader_DamagedFiles(t *testing.T) {
	f := messageFrame(t, sourceA, 0, general3)
	pcap, ng := captureOf(t, layers.LinkTypeEthernet, false, f), captureOf(t, layers.LinkTypeEthernet, true, f)
	huge := bytes.Clone(ng)
	copy(huge[bytes.LastIndex(huge, []byte{6, 0, 0, 0})+4:], []byte{0xff, 0xff, 0xff, 0xff})
	for name, b := range map[string][]byte{"empty": nil, "text": []byte("no capture at all"), "cut": pcap[:len(pcap)-3], "cut ng": ng[:len(ng)-3], "huge": huge} {
		r, err := OpenCapture(bytes.NewReader(b))
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, ErrCapture) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDissect(f *testing.F) {
	f.Add(messageFrame(f, routerAddr, 7, general3))
	f.Add(messageFrame(f, router6, 0, &Report{Version: V3, Records: []Record{{Type: 1, Group: group6, Sources: []netip.Addr{router6}, Aux: []byte{1, 2, 3, 4}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		fields := DissectFrame(b)
		for _, x := range fields {
			if x.Offset < 0 || x.Length < 0 || x.Offset+x.Length > len(b) {
				t.Fatalf("%+v of %d bytes", x, len(b))
			}
		}
		// What the strict parser takes has no mistakes but in values.
		if _, p, err := ParseFrame(b); err == nil && p.Message.Kind() != "unknown" {
			for _, x := range fields {
				if x.Wrong == cutOff {
					t.Fatalf("%v parses, and %+v", p, x)
				}
			}
		}
		DissectPacket(b)
		DissectMLD(b, netip.Addr{}, netip.Addr{})
	})
}

func FuzzCapture(f *testing.F) {
	m := messageFrame(f, routerAddr, 0, general3)
	f.Add(captureOf(f, layers.LinkTypeEthernet, false, m, m))
	f.Add(captureOf(f, layers.LinkTypeLinuxSLL, true, m))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := OpenCapture(bytes.NewReader(b))
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, ErrCapture) && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
}
