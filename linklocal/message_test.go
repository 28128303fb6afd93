package linklocal_test

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/aether-lan/aether/linklocal"
)

var (
	ours   = linklocal.HardwareAddr{2, 0, 0, 0, 0, 1}
	theirs = linklocal.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// wireReply is a padded frame, field by field.
var wireReply = slices.Concat(
	[]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []byte{2, 0, 0, 0, 0, 2}, []byte{0x08, 0x06},
	[]byte{0, 1, 0x08, 0, 6, 4, 0, 2},
	[]byte{2, 0, 0, 0, 0, 2}, []byte{169, 254, 9, 9},
	[]byte{2, 0, 0, 0, 0, 1}, []byte{169, 254, 7, 7},
	make([]byte, 18),
)

var reply = linklocal.Packet{
	Destination: linklocal.Broadcast, Source: theirs, Operation: linklocal.Reply,
	SenderHardwareAddr: theirs, SenderIP: netip.MustParseAddr("169.254.9.9"),
	TargetHardwareAddr: ours, TargetIP: netip.MustParseAddr("169.254.7.7"),
}

func TestPacket_ParsesAndAppends(t *testing.T) {
	for _, b := range [][]byte{wireReply, wireReply[:42], append(slices.Clone(wireReply), make([]byte, 100)...)} {
		p, err := linklocal.ParsePacket(b)
		if err != nil || p != reply {
			t.Errorf("%d bytes: %+v, %v", len(b), p, err)
		}
	}
	b, err := reply.Append([]byte("x"))
	if err != nil || string(b) != "x"+string(wireReply) {
		t.Errorf("Append = % x, %v", b, err)
	}
	if _, err := (linklocal.Packet{SenderIP: netip.IPv6Loopback()}).Append(nil); err == nil {
		t.Error("a packet without IPv4 addresses was written")
	}
}

// Frames that must be refused, each one change away from a good one.
func TestParsePacket_Refuses(t *testing.T) {
	change := func(at int, v ...byte) []byte {
		b := slices.Clone(wireReply)
		copy(b[at:], v)
		return b
	}
	insert := func(at int, v ...byte) []byte { return slices.Insert(slices.Clone(wireReply), at, v...) }
	for name, b := range map[string][]byte{
		"empty":                       nil,
		"Ethernet header cut":         wireReply[:13],
		"no ARP header":               wireReply[:14],
		"ARP header cut":              wireReply[:21],
		"addresses cut":               wireReply[:41],
		"longer than Ethernet":        append(slices.Clone(wireReply), make([]byte, 1500)...),
		"VLAN tag":                    insert(12, 0x81, 0, 0, 5),
		"two VLAN tags":               insert(12, 0x88, 0xa8, 0, 5, 0x81, 0, 0, 6),
		"VLAN tag cut":                insert(12, 0x81, 0, 0, 5)[:16],
		"IPv4, not ARP":               change(12, 0x08, 0x00),
		"hardware type 6":             change(15, 6),
		"protocol type IPv6":          change(16, 0x86, 0xdd),
		"hardware length 0":           change(18, 0),
		"hardware length 255":         change(18, 255),
		"protocol length 16":          change(19, 16),
		"lengths that overflow 8 bit": change(18, 120, 4),
		"operation 0":                 change(20, 0, 0),
		"operation 3, reverse ARP":    change(20, 0, 3),
		"operation 0x0201":            change(20, 2, 1),
	} {
		if p, err := linklocal.ParsePacket(b); !errors.Is(err, linklocal.ErrMessage) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func FuzzPacket(f *testing.F) {
	f.Add(wireReply)
	f.Add(wireReply[:42])
	f.Add([]byte{12: 0x81, 13: 0, 16: 0x08, 17: 0x06, 40: 0})
	b := slices.Clone(wireReply)
	b[18], b[19] = 120, 8
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := linklocal.ParsePacket(b)
		if err != nil {
			return
		}
		again, err := p.Append(nil)
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if q, err := linklocal.ParsePacket(again); err != nil || q != p {
			t.Fatalf("%+v came back as %+v, %v", p, q, err)
		}
		_ = p.String()
	})
}

func TestHardwareAddr_ParseAndString(t *testing.T) {
	h, err := linklocal.ParseHardwareAddr("02:00:5e:10:00:ff")
	if err != nil || h.String() != "02:00:5e:10:00:ff" || !h.IsStation() {
		t.Errorf("%v, %v", h, err)
	}
	for _, s := range []string{"", "02:00:5e:10:00", "02:00:5e:10:00:ff:01", "02-00-5e-10-00-ff", "2:0:5e:10:0:ff", "zz:00:5e:10:00:ff", "+2:00:5e:10:00:ff"} {
		if h, err := linklocal.ParseHardwareAddr(s); err == nil {
			t.Errorf("%q was read as %v", s, h)
		}
	}
	if linklocal.Broadcast.IsStation() || (linklocal.HardwareAddr{}).IsStation() || (linklocal.HardwareAddr{1, 0, 0x5e}).IsStation() {
		t.Error("a group or zero address passes as a station")
	}
}

func FuzzParseHardwareAddr(f *testing.F) {
	f.Add("02:00:5e:10:00:ff")
	f.Add("::::::")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := linklocal.ParseHardwareAddr(s)
		if err != nil {
			return
		}
		if g, err := linklocal.ParseHardwareAddr(h.String()); err != nil || g != h {
			t.Fatalf("%q: %v came back as %v, %v", s, h, g, err)
		}
	})
}
