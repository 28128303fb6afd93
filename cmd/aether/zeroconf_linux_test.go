package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/aether-lan/aether/internal/netlab"
)

const shopZone = `$ORIGIN local.
_ipp._tcp               PTR Front\032Office._ipp._tcp
Front\032Office._ipp._tcp SRV 0 0 631 printer
Front\032Office._ipp._tcp TXT "pdl=pdf,text"
printer                 A   192.0.2.9
`

const officeService = `<?xml version="1.0" standalone='no'?>
<!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group>
  <name replace-wildcards="yes">Back Office on %h</name>
  <service><type>_ipp._tcp</type><port>631</port><txt-record>pdl=text</txt-record></service>
  <service><type>_printer._tcp</type><port>515</port></service>
</service-group>
`

// TestZeroconf_Session types what testdata/zeroconf.md shows on two machines.
func TestZeroconf_Session(t *testing.T) {
	t.Parallel()
	lab := netlab.New(t)
	sw := lab.Switch(netlab.SwitchConfig{Seed: 5})
	hosts := map[string]*netlab.Host{}
	for i, name := range []string{"alice", "bob"} {
		h := lab.Host(name)
		h.Attach(sw, "eth0")
		h.AddAddr("eth0", netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24))
		hosts[name] = h
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"shop.zone": shopZone, "office.service": officeService} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/zeroconf.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := consoleBlocks(string(text))
	if len(blocks) != 1 {
		t.Fatalf("%d blocks", len(blocks))
	}
	s := session{bin: buildAether(t), start: onHosts(hosts), dir: dir}
	if err := s.run(t, blocks[0].text); err != nil {
		t.Error(err)
	}
}
