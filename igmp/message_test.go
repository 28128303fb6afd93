package igmp_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/aether-lan/aether/igmp"
)

var byAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func addrs(list string) []netip.Addr {
	var all []netip.Addr
	for _, s := range strings.Fields(list) {
		all = append(all, addr(s))
	}
	return all
}

// Whole IP packets: those of Linux were captured from version 6.18, the others
// were calculated from the figures of the RFCs.
var packets = []struct {
	name string
	wire string
	want igmp.Packet
}{{
	"Linux's version 3 report, to exclude {} for 239.1.2.3",
	"46c00028000040000102f9f80a000001e0000016940400002200e8f90000000104000000ef010203",
	igmp.NewPacket(addr("10.0.0.1"), addr("224.0.0.22"), &igmp.Report{Version: 3,
		Records: []igmp.Record{{Type: igmp.ChangeToExclude, Group: addr("239.1.2.3")}}}),
}, {
	"Linux's version 3 report of a new source",
	"46c0002c000040000102f9f40a000001e0000016940400002200d69d0000000105000001ef0909090a00004d",
	igmp.NewPacket(addr("10.0.0.1"), addr("224.0.0.22"), &igmp.Report{Version: 3,
		Records: []igmp.Record{{Type: igmp.AllowNewSources, Group: addr("239.9.9.9"), Sources: addrs("10.0.0.77")}}}),
}, {
	"Linux's version 2 report",
	"46c00020000040000102e9110a000001ef010204940400001600f8f9ef010204",
	igmp.NewPacket(addr("10.0.0.1"), addr("239.1.2.4"), &igmp.Report{Version: 2, Group: addr("239.1.2.4")}),
}, {
	"Linux's version 1 report",
	"46c00020000040000102e9100a000001ef010205940400001200fcf8ef010205",
	igmp.NewPacket(addr("10.0.0.1"), addr("239.1.2.5"), &igmp.Report{Version: 1, Group: addr("239.1.2.5")}),
}, {
	"Linux's MLDv2 report",
	"6000000000240001fe800000000000000000000000000001ff0200000000000000000000000000163a000502000001008f006f900000000104000000ff050000000000000000000000000077",
	igmp.NewPacket(addr("fe80::1"), addr("ff02::16"), &igmp.Report{Version: 3,
		Records: []igmp.Record{{Type: igmp.ChangeToExclude, Group: addr("ff05::77")}}}),
}, {
	"version 1 query without router alert",
	"4500001c000040000102 8fde 0a000001e0000001 1100eeff00000000",
	igmp.Packet{Src: addr("10.0.0.1"), Dst: addr("224.0.0.1"), TTL: 1, Message: &igmp.Query{Version: 1}},
}}

func TestParsePacket_Vectors(t *testing.T) {
	for _, v := range packets {
		t.Run(v.name, func(t *testing.T) {
			wire := unhex(t, v.wire)
			p, err := igmp.ParsePacket(append(wire, 0, 0, 0)) // and padding
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(v.want, p, byAddr); d != "" {
				t.Error("parsed (-want +got):\n" + d)
			}
			got, err := v.want.Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, wire) {
				t.Errorf("written\n%x, want\n%x", got, wire)
			}
		})
	}
}

// The codes at which codecs in use go wrong: the last linear one, the first
// floating one, one that differs by field order, and the last.
func TestQuery_RFC9776_4_1_1_FloatingPoint(t *testing.T) {
	for _, v := range []struct {
		code     byte
		max, qqi time.Duration
	}{
		{0, 0, 0}, {1, 100 * time.Millisecond, time.Second}, {100, 10 * time.Second, 100 * time.Second},
		{125, 12500 * time.Millisecond, 125 * time.Second}, {127, 12700 * time.Millisecond, 127 * time.Second},
		{128, 12800 * time.Millisecond, 128 * time.Second}, {129, 13600 * time.Millisecond, 136 * time.Second},
		{140, 22400 * time.Millisecond, 224 * time.Second}, {143, 24800 * time.Millisecond, 248 * time.Second},
		{144, 25600 * time.Millisecond, 256 * time.Second}, {160, 51200 * time.Millisecond, 512 * time.Second},
		{255, 3174400 * time.Millisecond, 31744 * time.Second},
	} {
		q := &igmp.Query{Version: 3, MaxResponse: v.max, Interval: v.qqi, Robustness: 2}
		b, err := igmp.AppendMessage(nil, q)
		if err != nil {
			t.Fatal(err)
		}
		if b[1] != v.code || b[9] != v.code {
			t.Errorf("%v, %v: codes %d, %d, want %d", v.max, v.qqi, b[1], b[9], v.code)
		}
		m, err := igmp.ParseMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(igmp.Message(q), m, byAddr); d != "" {
			t.Errorf("code %d (-want +got):\n%s", v.code, d)
		}
	}
}

func TestQuery_RFC9777_5_1_3_SixteenBitFloat(t *testing.T) {
	src, dst := addr("fe80::1"), addr("ff02::1")
	for _, v := range []struct {
		code uint16
		max  time.Duration
	}{
		{10000, 10 * time.Second}, {32767, 32767 * time.Millisecond}, {32768, 32768 * time.Millisecond},
		{32769, 32776 * time.Millisecond}, {0x8fff, 65528 * time.Millisecond}, {0x9000, 65536 * time.Millisecond},
		{0xffff, 8387584 * time.Millisecond},
	} {
		b, err := igmp.AppendMLD(nil, &igmp.Query{Version: 3, MaxResponse: v.max}, src, dst)
		if err != nil {
			t.Fatal(err)
		}
		if got := uint16(b[4])<<8 | uint16(b[5]); got != v.code {
			t.Errorf("%v: code %#x, want %#x", v.max, got, v.code)
		}
		m, err := igmp.ParseMLD(b, src, dst)
		if err != nil || m.(*igmp.Query).MaxResponse != v.max {
			t.Errorf("%v: read %v, %v", v.max, m, err)
		}
	}
}

func TestAppend_RoundsTimesDown(t *testing.T) {
	for _, v := range []struct {
		version   igmp.Version
		max, want time.Duration
	}{
		{3, 13599 * time.Millisecond, 12800 * time.Millisecond}, {3, 12799 * time.Millisecond, 12700 * time.Millisecond},
		{3, time.Millisecond, 100 * time.Millisecond}, {3, 24 * time.Hour, 3174400 * time.Millisecond}, {3, -1, 0},
		{2, time.Hour, 25500 * time.Millisecond}, {2, 13599 * time.Millisecond, 13500 * time.Millisecond},
	} {
		b, err := igmp.AppendMessage(nil, &igmp.Query{Version: v.version, MaxResponse: v.max, Interval: v.max})
		if err != nil {
			t.Fatal(err)
		}
		m, err := igmp.ParseMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.(*igmp.Query).MaxResponse; got != v.want {
			t.Errorf("%v %v is read as %v, want %v", v.version, v.max, got, v.want)
		}
	}
	if _, err := igmp.AppendMessage(nil, &igmp.Query{Version: 2}); err == nil {
		t.Error("a version 2 query without a response time was written as one of version 1")
	}
}

func sum(b []byte) []byte {
	b[2], b[3] = 0, 0
	var s uint32
	for i := 0; i < len(b); i += 2 {
		s += uint32(b[i]) << 8
		if i+1 < len(b) {
			s += uint32(b[i+1])
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	b[2], b[3] = ^byte(s>>8), ^byte(s)
	return b
}

// RFC 9776 section 7.1: the version of a query follows from its length and code.
func TestParseMessage_RFC9776_7_1_QueryVersions(t *testing.T) {
	for n := range 16 {
		for _, code := range []byte{0, 100} {
			b := make([]byte, n)
			if n >= 4 {
				b[0], b[1] = 0x11, code
				sum(b)
			}
			m, err := igmp.ParseMessage(b)
			var want igmp.Version
			switch {
			case n == 8 && code == 0:
				want = 1
			case n == 8:
				want = 2
			case n >= 12:
				want = 3
			}
			if want == 0 {
				if e, ok := errors.AsType[*igmp.ParseError](err); !ok || e.Offset != n || errors.Is(err, igmp.ErrLength) != (n > 8) {
					t.Errorf("query of %d bytes: %v, %v", n, m, err)
				}
				continue
			}
			if q, ok := m.(*igmp.Query); err != nil || !ok || q.Version != want {
				t.Errorf("query of %d bytes with code %d: %v, %v, want version %d", n, code, m, err, want)
			}
		}
	}
}

func TestParseMessage_KeepsWhatItDoesNotKnow(t *testing.T) {
	for _, v := range []struct {
		name string
		m    igmp.Message
	}{
		{"flags of RFC 9279 and additional data", &igmp.Query{Version: 3, Group: addr("239.1.1.1"), Flags: 15, Suppress: true,
			Robustness: 7, Sources: addrs("10.0.0.9 10.0.0.8"), Additional: []byte{1, 2, 3}}},
		{"aux data and unknown record types", &igmp.Report{Version: 3, Flags: 0x8001, Additional: []byte{9}, Records: []igmp.Record{
			{Type: 77, Group: addr("239.1.1.1"), Sources: addrs("10.0.0.9"), Aux: []byte{1, 2, 3, 4, 5, 6, 7, 8}},
			{Type: igmp.BlockOldSources, Group: addr("239.1.1.2"), Sources: addrs("10.0.0.9 10.0.0.8")},
			{Type: igmp.ModeIsInclude, Group: addr("239.1.1.3"), Aux: make([]byte, 1020)},
		}}},
		{"longer version 1 report", &igmp.Report{Version: 1, Group: addr("239.1.1.1"), Additional: []byte{0, 1}}},
		{"longer leave", &igmp.Leave{Group: addr("239.1.1.1"), Additional: []byte{7}}},
		{"router discovery", &igmp.Unknown{Type: 0x30, Code: 20, Body: []byte{0, 125, 0, 2}}},
	} {
		b, err := igmp.AppendMessage(nil, v.m)
		if err != nil {
			t.Fatal(v.name, err)
		}
		m, err := igmp.ParseMessage(b)
		if err != nil {
			t.Fatal(v.name, err)
		}
		if d := cmp.Diff(v.m, m, byAddr); d != "" {
			t.Errorf("%s (-want +got):\n%s", v.name, d)
		}
	}
}

func TestParseMessage_Strict(t *testing.T) {
	report := func(tail string) []byte { return sum(unhex(t, "2200 0000 0000 "+tail)) }
	for _, v := range []struct {
		name   string
		b      []byte
		offset int
	}{
		{"nothing", nil, 0},
		{"leave of six bytes", sum(unhex(t, "1700 0000 ef01")), 6},
		{"two records announced, one there", report("0002 0400 0000 ef01 0203"), 6},
		{"record cut off behind aux data", report("0002 0401 0000 ef01 0203 0000 0000 0400 0000"), 24},
		{"sources cut off", report("0001 0400 0002 ef01 0203 0a00 0001"), 20},
		{"aux data cut off", report("0001 0402 0000 ef01 0203 0000 0000"), 20},
		{"query's sources cut off", sum(unhex(t, "1100 0000 ef01 0203 0000 ffff 0a00 0001")), 16},
	} {
		m, err := igmp.ParseMessage(v.b)
		if e, ok := errors.AsType[*igmp.ParseError](err); !ok || e.Offset != v.offset || errors.Is(err, igmp.ErrChecksum) {
			t.Errorf("%s: %v, %v; want a ParseError at %d", v.name, m, err, v.offset)
		}
	}
	b := unhex(t, packets[0].wire)
	b[len(b)-1]++
	p, err := igmp.ParsePacket(b)
	if e, ok := errors.AsType[*igmp.ParseError](err); !ok || e.Offset != 26 || !errors.Is(err, igmp.ErrChecksum) {
		t.Errorf("checksum of the message: %v", err)
	}
	if p.Src != addr("10.0.0.1") {
		t.Errorf("the header of a packet with a malformed message is lost: %v", p)
	}
	b = unhex(t, packets[0].wire)
	b[8]++
	if _, err := igmp.ParsePacket(b); !errors.Is(err, igmp.ErrChecksum) {
		t.Errorf("checksum of the IP header: %v", err)
	}
}

func TestParsePacket_NotOurs(t *testing.T) {
	for _, s := range []string{
		"4500 001c 0000 0000 0111 ced0 0a00 0001 e000 0001 1100 eeff 0000 0000", // UDP
		"6000 0000 0008 3aff fe80 0000 0000 0000 0000 0000 0000 0001 ff02 0000 0000 0000 0000 0000 0000 0001 8700 0000 0000 0000",
		"5500",
	} {
		if _, err := igmp.ParsePacket(unhex(t, s)); !errors.Is(err, igmp.ErrNotGroupProtocol) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, _, err := igmp.ParseFrame(unhex(t, "ffffffffffff 020000000001 0806 0001")); !errors.Is(err, igmp.ErrNotGroupProtocol) {
		t.Errorf("ARP: %v", err)
	}
}

func TestParseFrame_PassesVLANTags(t *testing.T) {
	head := "01005e000016 020000000007"
	for _, tags := range []string{"", "8100 0005", "88a8 0001 8100 0005"} {
		b := unhex(t, head+tags+"0800"+packets[0].wire)
		src, p, err := igmp.ParseFrame(b)
		if err != nil || src.String() != "02:00:00:00:00:07" || p.Src != addr("10.0.0.1") {
			t.Errorf("%q: %v, %v, %v", tags, src, p, err)
		}
		b[len(b)-1]++
		if _, _, err = igmp.ParseFrame(b); err == nil {
			t.Errorf("%q: a wrong checksum passed", tags)
		} else if e, ok := errors.AsType[*igmp.ParseError](err); !ok || e.Offset != len(b)-14 {
			t.Errorf("%q: %v, want byte %d", tags, err, len(b)-14)
		}
	}
}

func TestPacket_MLD(t *testing.T) {
	src := addr("fe80::1")
	for _, v := range []struct {
		dst  string
		m    igmp.Message
		kind byte
		size int
	}{
		{"ff02::1", &igmp.Query{Version: 2, MaxResponse: 10 * time.Second}, 130, 24},
		{"ff02::1", &igmp.Query{Version: 3, MaxResponse: 10 * time.Second, Robustness: 2, Interval: 125 * time.Second}, 130, 28},
		{"ff05::77", &igmp.Query{Version: 3, Group: addr("ff05::77"), MaxResponse: time.Second, Sources: addrs("2001:db8::1 fe80::2")}, 130, 60},
		{"ff05::77", &igmp.Report{Version: 2, Group: addr("ff05::77")}, 131, 24},
		{"ff02::2", &igmp.Leave{Group: addr("ff05::77")}, 132, 24},
		{"ff02::16", &igmp.Report{Version: 3, Records: []igmp.Record{{Type: 4, Group: addr("ff05::77")}}}, 143, 28},
	} {
		p := igmp.NewPacket(src, addr(v.dst), v.m)
		b, err := p.Append(nil)
		if err != nil {
			t.Fatal(v.m, err)
		}
		if want := unhex(t, "3a00 0502 0000 0100"); !bytes.Equal(b[40:48], want) || b[6] != 0 || b[7] != 1 {
			t.Errorf("%v: router alert % x", v.m, b[40:48])
		}
		if b[48] != v.kind || len(b) != 48+v.size {
			t.Errorf("%v: type %d, %d bytes", v.m, b[48], len(b)-48)
		}
		got, err := igmp.ParsePacket(b)
		if err != nil {
			t.Fatal(v.m, err)
		}
		if d := cmp.Diff(p, got, byAddr); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
}

func TestPacket_AppendRefuses(t *testing.T) {
	for _, p := range []igmp.Packet{
		{},
		{Dst: addr("224.0.0.1")},
		{Src: addr("fe80::1"), Dst: addr("224.0.0.1"), Message: &igmp.Leave{}},
		igmp.NewPacket(addr("10.0.0.1"), addr("224.0.0.2"), &igmp.Leave{Group: addr("ff02::5")}),
		igmp.NewPacket(addr("10.0.0.1"), addr("224.0.0.2"), &igmp.Query{Version: 4}),
		igmp.NewPacket(addr("10.0.0.1"), addr("224.0.0.2"), &igmp.Query{Version: 3, Flags: 16}),
		igmp.NewPacket(addr("10.0.0.1"), addr("224.0.0.2"), &igmp.Unknown{Type: 0x11}),
		igmp.NewPacket(addr("fe80::1"), addr("ff02::1"), &igmp.Report{Version: 1}),
		igmp.NewPacket(addr("10.0.0.1"), addr("224.0.0.22"), &igmp.Report{Version: 3, Records: []igmp.Record{{Aux: []byte{1}}}}),
		igmp.NewPacket(addr("10.0.0.1"), addr("224.0.0.22"), &igmp.Report{Version: 3, Additional: make([]byte, 70000)}),
	} {
		if b, err := p.Append([]byte("x")); err == nil || string(b) != "x" {
			t.Errorf("%v was written as %d bytes, %v", p, len(b), err)
		}
	}
}

// A zero TTL stands for the header of the RFC, so that a literal is right.
func TestPacket_ZeroTTLIsTheStandardHeader(t *testing.T) {
	m := &igmp.Leave{Group: addr("239.1.2.3")}
	short, err1 := igmp.Packet{Src: addr("10.0.0.1"), Dst: addr("224.0.0.2"), Message: m}.Append(nil)
	long, err2 := igmp.NewPacket(addr("10.0.0.1"), addr("224.0.0.2"), m).Append(nil)
	if err1 != nil || err2 != nil || !bytes.Equal(short, long) {
		t.Errorf("%x, %v; want %x, %v", short, err1, long, err2)
	}
}

// FuzzParsePacket holds that what parses can be written and parses to the same.
func FuzzParsePacket(f *testing.F) {
	for _, v := range packets {
		f.Add(unhex(f, v.wire))
	}
	for _, p := range []igmp.Packet{
		igmp.NewPacket(addr("fe80::1"), addr("ff02::16"), &igmp.Report{Version: 3, Records: []igmp.Record{
			{Type: 9, Group: addr("ff05::77"), Sources: addrs("2001:db8::1"), Aux: make([]byte, 8)}}}),
		igmp.NewPacket(addr("10.0.0.1"), addr("239.1.2.3"), &igmp.Query{Version: 3, Group: addr("239.1.2.3"), Suppress: true, Flags: 9,
			Robustness: 2, MaxResponse: time.Minute, Interval: 125 * time.Second, Sources: addrs("10.0.0.9 10.0.0.8"), Additional: []byte{1}}),
	} {
		b, err := p.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		checkPacket(t, b)
		if len(b) < 28 || len(b) > 0xffff || b[0] != 0x46 {
			return
		}
		b[2], b[3], b[9], b[10], b[11] = byte(len(b)>>8), byte(len(b)), 2, 0, 0 // let wrong checksums not be all there is
		head := sum(append([]byte{0, 0, 0, 0}, b[:24]...))
		b[10], b[11] = head[2], head[3]
		sum(b[24:])
		checkPacket(t, b)
	})
}

func checkPacket(t *testing.T, b []byte) {
	p, err := igmp.ParsePacket(b)
	if err != nil || p.TTL == 0 {
		return
	}
	out, err := p.Append(nil)
	if err != nil {
		t.Fatalf("%v was parsed and cannot be written: %v", p, err)
	}
	again, err := igmp.ParsePacket(out)
	if err != nil {
		t.Fatalf("%x was written and cannot be parsed: %v", out, err)
	}
	if d := cmp.Diff(p, again, byAddr); d != "" {
		t.Fatal("(-first +second):\n" + d)
	}
}

// FuzzParseMessage is the same for messages, with the checksum made right.
func FuzzParseMessage(f *testing.F) {
	f.Add(unhex(f, "2200 eaf9 0000 0001 0400 0000 ef01 0203"), false)
	f.Add(unhex(f, "1164 0000 ef01 0203 027d 0001 0a00 0001"), false)
	f.Add(append(unhex(f, "8f00 0000 0000 0001 0401 0000"), make([]byte, 20)...), true)
	f.Add(append(unhex(f, "8200 0000 2710 0000"), make([]byte, 20)...), true)
	src, dst := addr("fe80::1"), addr("ff02::1")
	f.Fuzz(func(t *testing.T, b []byte, six bool) {
		if len(b) < 4 || len(b) > 60000 {
			return
		}
		parse := func(b []byte) (igmp.Message, error) {
			if six {
				return igmp.ParseMLD(b, src, dst)
			}
			return igmp.ParseMessage(b)
		}
		write := func(m igmp.Message) ([]byte, error) {
			if six {
				return igmp.AppendMLD(nil, m, src, dst)
			}
			return igmp.AppendMessage(nil, m)
		}
		if six {
			mldSum(b, src, dst)
		} else {
			sum(b)
		}
		m, err := parse(b)
		if err != nil {
			if errors.Is(err, igmp.ErrChecksum) {
				t.Fatalf("%x: %v", b, err)
			}
			return
		}
		out, err := write(m)
		if err != nil {
			t.Fatalf("%v was parsed and cannot be written: %v", m, err)
		}
		again, err := parse(out)
		if err != nil {
			t.Fatalf("%x was written and cannot be parsed: %v", out, err)
		}
		if d := cmp.Diff(m, again, byAddr); d != "" {
			t.Fatal("(-first +second):\n" + d)
		}
	})
}

// mldSum makes the checksum right as RFC 8200 section 8.1 has it, by spelling the
// pseudo-header out.
func mldSum(b []byte, src, dst netip.Addr) {
	b[2], b[3] = 0, 0
	whole := append(src.AsSlice(), dst.AsSlice()...)
	whole = append(whole, 0, 0, byte(len(b)>>8), byte(len(b)), 0, 0, 0, 58)
	whole = append(whole, b...)
	var s uint32
	for i, x := range whole {
		if i%2 == 0 {
			s += uint32(x) << 8
		} else {
			s += uint32(x)
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	b[2], b[3] = ^byte(s>>8), ^byte(s)
}
