package node

import (
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store/pool"
)

// Two machines that were told of a third one only hear of each other's addresses from
// it, and connect.
func TestAddress_IsToldByWayOfOthers(t *testing.T) {
	dir, secret := t.TempDir(), pool.NewSecret()
	a := serve(t, filepath.Join(dir, "a"), secret)
	b := serve(t, filepath.Join(dir, "b"), secret, a.addr)
	c := serve(t, filepath.Join(dir, "c"), secret, a.addr)
	eventually(t, "b and c are connected", func() bool {
		mesh := b.mesh.Load()
		return mesh != nil && slices.Contains(mesh.Connected(), link.PeerID(c.ID()))
	})
}

func TestAddress_NonsenseIsRefused(t *testing.T) {
	for _, text := range []string{"0.0.0.0:1", "[::]:1", "224.0.0.1:5", "[ff02::1]:5", "192.0.2.1:0"} {
		if err := checkListening([]netip.AddrPort{netip.MustParseAddrPort(text)}); !errors.Is(err, errBadSoft) {
			t.Errorf("%s: %v", text, err)
		}
	}
	good := netip.MustParseAddrPort("192.0.2.1:7")
	if err := checkListening([]netip.AddrPort{good, netip.MustParseAddrPort("[2001:db8::1]:7")}); err != nil {
		t.Error(err)
	}
	if err := checkListening(slices.Repeat([]netip.AddrPort{good}, maxListening+1)); !errors.Is(err, errBadSoft) {
		t.Errorf("too many: %v", err)
	}
	s := soft{Listening: []netip.AddrPort{good}}
	b, err := s.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseSoft(b); err != nil || !slices.Equal(got.Listening, s.Listening) {
		t.Errorf("%v, %v", got.Listening, err)
	}
}
