package mdns

import (
	"bytes"
	"testing"

	"github.com/miekg/dns"
)

// denial returns the NSEC record for name among records.
func denial(t *testing.T, name string, records ...Record) Record {
	t.Helper()
	var o owned
	o.set(1, records)
	nsec, ok := o.negative(name)
	if !ok {
		t.Fatalf("no NSEC for %s", name)
	}
	return nsec
}

func TestOwned_RFC6762_6_1_NextNameBlockAndBitmap(t *testing.T) {
	nsec := denial(t, "box.local.", record(t, "Box.local. 120 A 10.0.0.1", true), record(t, "Box.local. 120 AAAA fe80::1", true))
	// The name itself, block 0, four bytes: A is bit 1, AAAA bit 28.
	want := []byte("\x03Box\x05local\x00\x00\x04\x40\x00\x00\x08")
	if !bytes.Equal(nsec.Data, want) || nsec.Name != "Box.local." || !nsec.Flush {
		t.Errorf("%v: %x, want %x", nsec, nsec.Data, want)
	}
}

func TestOwned_RFC6762_6_1_BitmapIsAtMost32Bytes(t *testing.T) {
	nsec := denial(t, "a.local.", Record{Name: "a.local.", Type: 254, Class: 1, TTL: 1, Flush: true})
	if n := len(nsec.Data) - len("\x01a\x05local\x00"); n != 2+32 {
		t.Errorf("block of %d bytes", n)
	}
}

func TestOwned_RFC6762_6_1_NoDenialForANameWithTypesAbove255(t *testing.T) {
	var o owned
	o.set(1, []Record{record(t, "a.local. 120 A 10.0.0.1", true), {Name: "a.local.", Type: dns.TypeCAA, Class: 1, TTL: 1, Flush: true}})
	if nsec, ok := o.negative("a.local."); ok {
		t.Errorf("%v", nsec)
	}
}

func TestOwned_RFC6762_6_1_TheNSECBitIsClear(t *testing.T) {
	nsec := denial(t, "box.local.", record(t, "box.local. 120 A 10.0.0.1", true))
	bitmap := nsec.Data[len("\x03box\x05local\x00")+2:]
	if at := int(dns.TypeNSEC / 8); at < len(bitmap) && bitmap[at]&(0x80>>(dns.TypeNSEC%8)) != 0 {
		t.Errorf("bitmap %x", bitmap)
	}
}

func TestOwned_RFC6762_6_1_TheTTLIsThatOfTheNamesRecords(t *testing.T) {
	if nsec := denial(t, "box.local.", record(t, "box.local. 120 A 10.0.0.1", true)); nsec.TTL != HostTTL {
		t.Errorf("TTL %d", nsec.TTL)
	}
}

// Only who alone has a name knows what is not there.
func TestResponder_RFC6762_6_1_NoDenialForASharedName(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 query _x._tcp.local. TXT\nat 11s"), "!send")
}

func TestResponder_RFC6762_6_1_NoDenialWhileProbing(t *testing.T) {
	expect(t, play(t, "link eth0 1 10.0.0.1/24\nclaim box\nat 300ms\n--\nrecv 10.0.0.9 1 query box.local. AAAA\nat 400ms"), "!NSEC")
}

func TestResponder_RFC6762_6_2_AHasAAAAInAdditional(t *testing.T) {
	const dual = "link eth0 1 10.0.0.1/24 fe80::1/64\nclaim box\nat 10s\n--\n"
	expect(t, play(t, dual+"recv 10.0.0.9 1 query box.local. A\nat 10s"), "= box.local. 120 IN A 10.0.0.1", "+ box.local. 120 IN AAAA fe80::1 (flush)", "!NSEC")
	expect(t, play(t, dual+"recv 10.0.0.9 1 query box.local. AAAA\nat 10s"), "= box.local. 120 IN AAAA fe80::1", "+ box.local. 120 IN A 10.0.0.1 (flush)", "!NSEC")
}

func TestResponder_RFC6762_6_2_ADenialOfAAAAIsInAdditional(t *testing.T) {
	expect(t, play(t, box+"recv 10.0.0.9 1 query box.local. A\nat 10s"), "+ box.local. 120 IN NSEC box.local. A (flush)")
}
