package linklocal

import (
	"net/netip"
	"testing"
)

// TestConflict_EveryShape names each shape of ARP packet that can be heard about
// an address and says what it is to a host that probes for it, and to one that
// holds it (RFC 3927 sections 2.2.1 and 2.5, RFC 5227 sections 2.1.1, 2.4, 2.5).
func TestConflict_EveryShape(t *testing.T) {
	var (
		zero   = netip.IPv4Unspecified()
		addr   = netip.MustParseAddr("169.254.7.7")
		other  = netip.MustParseAddr("169.254.8.8")
		third  = netip.MustParseAddr("169.254.9.9")
		us     = HardwareAddr{2, 0, 0, 0, 0, 1}
		sister = HardwareAddr{2, 0, 0, 0, 1, 1} // another interface of this host
		them   = HardwareAddr{2, 0, 0, 0, 0, 2}
		nobody = HardwareAddr{}
		own    = []HardwareAddr{us, sister}
	)
	const no, yes = false, true
	for _, c := range []struct {
		name     string
		op       Operation
		sha      HardwareAddr
		spa      netip.Addr
		tha      HardwareAddr
		tpa      netip.Addr
		probing  bool // a conflict for the host that probes
		holding  bool // a conflict for the host that holds
		answered bool // to be answered by the holder
	}{
		{"foreign probe for the address", Request, them, zero, nobody, addr, yes, no, yes},
		{"foreign probe, target hardware address filled in", Request, them, zero, Broadcast, addr, yes, no, yes},
		{"foreign probe for another address", Request, them, zero, nobody, other, no, no, no},
		{"foreign request for the address", Request, them, other, nobody, addr, no, no, yes},
		{"foreign request for the address, aimed at our hardware address", Request, them, other, us, addr, no, no, yes},
		{"foreign request between others", Request, them, other, nobody, third, no, no, no},
		{"foreign announcement of the address", Request, them, addr, nobody, addr, yes, yes, no},
		{"foreign announcement as a reply", Reply, them, addr, Broadcast, addr, yes, yes, no},
		{"foreign announcement of another address", Request, them, other, nobody, other, no, no, no},
		{"foreign request from the address for another", Request, them, addr, nobody, other, yes, yes, no},
		{"foreign reply from the address to a probe", Reply, them, addr, us, zero, yes, yes, no},
		{"foreign reply from the address to somebody", Reply, them, addr, us, other, yes, yes, no},
		{"foreign reply from the address to itself", Reply, them, addr, them, addr, yes, yes, no},
		{"foreign reply to the address from another", Reply, them, other, us, addr, no, no, no},
		{"foreign reply with sender 0.0.0.0 to the address", Reply, them, zero, us, addr, no, no, no},
		{"foreign reply between others", Reply, them, other, us, third, no, no, no},
		{"hardware address zero claims the address", Reply, nobody, addr, us, zero, yes, yes, no},
		{"broadcast hardware address claims the address", Reply, Broadcast, addr, us, zero, yes, yes, no},

		{"own probe echoed", Request, us, zero, nobody, addr, no, no, no},
		{"own announcement echoed", Request, us, addr, nobody, addr, no, no, no},
		{"own reply echoed", Reply, us, addr, them, other, no, no, no},
		{"own request from the address echoed", Request, us, addr, nobody, other, no, no, no},
		{"own request for the address", Request, us, other, nobody, addr, no, no, no},
		{"probe by another interface of this host", Request, sister, zero, nobody, addr, no, no, no},
		{"announcement by another interface of this host", Request, sister, addr, nobody, addr, no, no, no},
		{"reply by another interface of this host", Reply, sister, addr, us, zero, no, no, no},
		{"request by another interface of this host", Request, sister, other, nobody, addr, no, no, no},
	} {
		p := Packet{Broadcast, c.sha, c.op, c.sha, c.spa, c.tha, c.tpa}
		if got := probingConflict(p, addr, own); got != c.probing {
			t.Errorf("%s: conflict while probing: %t", c.name, got)
		}
		if got := holdingConflict(p, addr, own); got != c.holding {
			t.Errorf("%s: conflict while holding: %t", c.name, got)
		}
		if got := asksFor(p, addr, own); got != c.answered {
			t.Errorf("%s: answered: %t", c.name, got)
		}
	}
}

// Every candidate of a host's sequence is selectable, the sequence follows from
// the hardware address alone, and it is spread evenly (RFC 3927 section 2.1).
func TestCandidates_RFC3927_2_1_UniformSeededByHardwareAddress(t *testing.T) {
	seen := map[byte]int{}
	same := 0
	for h := range 200 {
		a := newCandidates(HardwareAddr{2, 0, 0, 0, 0, byte(h)}, netip.Addr{})
		b := newCandidates(HardwareAddr{2, 0, 0, 0, 0, byte(h)}, netip.Addr{})
		permuted := newCandidates(HardwareAddr{2, byte(h), 0, 0, 0, 0}, netip.Addr{})
		for range 100 {
			x := a.next()
			if !Selectable(x) {
				t.Fatalf("%v was chosen", x)
			}
			if y := b.next(); x != y {
				t.Fatalf("one hardware address gave %v and %v", x, y)
			}
			if h > 0 && x == permuted.next() {
				same++
			}
			seen[x.As4()[2]]++
		}
	}
	if same > 5 {
		t.Errorf("%d of 20,000 candidates are those of the host with permuted hardware address", same)
	}
	if len(seen) != 254 {
		t.Errorf("20,000 candidates lie in %d of 254 ranges", len(seen))
	}
	for third, n := range seen { // mean 78.7, standard deviation 8.9
		if n < 40 || n > 120 {
			t.Errorf("%d candidates in 169.254.%d.0/24", n, third)
		}
	}
}

func TestSelectable_RFC3927_2_1_ReservedRanges(t *testing.T) {
	for s, want := range map[string]bool{
		"169.254.0.255": false, "169.254.1.0": true, "169.254.254.255": true, "169.254.255.0": false,
		"169.253.9.9": false, "10.0.0.1": false, "fe80::1": false, "::ffff:169.254.9.9": false,
	} {
		if got := Selectable(netip.MustParseAddr(s)); got != want {
			t.Errorf("Selectable(%s) = %t", s, got)
		}
	}
	if Selectable(netip.Addr{}) || selectable(0).String() != "169.254.1.0" || selectable(65023).String() != "169.254.254.255" {
		t.Error("the ends of the range are wrong")
	}
}

func TestCandidates_SkipFailedAndTaken(t *testing.T) {
	h := HardwareAddr{2, 0, 0, 0, 0, 1}
	plain := newCandidates(h, netip.Addr{})
	one, two, three := plain.next(), plain.next(), plain.next()
	c := newCandidates(h, one)
	c.fail(one)
	c.taken = []netip.Addr{two}
	if got := c.next(); got != three {
		t.Errorf("next = %v, want %v", got, three)
	}
	for range 2 * failedLimit {
		c.fail(c.next())
	}
	if len(c.failed) != failedLimit {
		t.Errorf("%d failed addresses remembered", len(c.failed))
	}
}
