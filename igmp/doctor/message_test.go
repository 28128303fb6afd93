package doctor

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/aether-lan/aether/multicast"
)

func TestGroups_AreForTestsAndShareTheirAddress(t *testing.T) {
	for range 1000 {
		for _, six := range []bool{false, true} {
			g := randomGroup(six)
			alias := aliasOf(g)
			a, errA := multicast.EthernetAddr(g)
			b, errB := multicast.EthernetAddr(alias)
			if errA != nil || errB != nil || a != b || g == alias || !forTests(g) || multicast.Flooded(g) {
				t.Fatalf("%v, %v: %v %v", g, alias, a, b)
			}
		}
	}
	for _, g := range []string{"239.255.0.1", "239.1.2.3", "224.0.0.1", "10.0.0.1", "ff02::1", "ff05::1", "::"} {
		if forTests(netip.MustParseAddr(g)) {
			t.Errorf("%s is not for tests", g)
		}
	}
}

func FuzzControl(f *testing.F) {
	f.Add(control{Kind: send, Step: GroupJoined, Group: netip.MustParseAddr("239.255.1.1"), Port: 7, Count: 12, Apart: 10}.append(nil))
	f.Add(control{Kind: hello}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseControl(b)
		if err != nil {
			return
		}
		again, err := parseControl(m.append(nil))
		if err != nil || again != m || len(m.append(nil)) != controlLen {
			t.Fatalf("%+v, %+v, %v", m, again, err)
		}
	})
}

func FuzzProbe(f *testing.F) {
	p := probe{Nonce: [16]byte{1}, Step: AliasJoined, Seq: 9}
	f.Add(p.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, ok := parseProbe(b); ok && !bytes.Equal(p.append(nil), b[:probeLen]) {
			t.Fatal(p)
		}
		probeIn(b, netip.MustParseAddr("239.255.1.1"), Port)
		probeIn(b, netip.MustParseAddr("ff15::1"), Port)
	})
}
