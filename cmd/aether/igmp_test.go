package main

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/aether-lan/aether/igmp"
)

// igmpCapture is a capture of packets, ten seconds apart, with other frames between.
func igmpCapture(t *testing.T, packets ...igmp.Packet) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriter(&b)
	if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	write := func(f []byte) {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(f), Length: len(f)}, f); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range packets {
		ip, err := p.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		write(igmp.EthernetFrame(igmp.HardwareAddr{2, 0, 0, 0, 0, 1}, ip))
		write(make([]byte, 60))
		at = at.Add(10 * time.Second)
	}
	return b.Bytes()
}

// aetherOf runs aether in this process.
func aetherOf(t *testing.T, in []byte, args ...string) (out string, status int) {
	t.Helper()
	var o, e bytes.Buffer
	status = run(t.Context(), append([]string{"aether"}, args...), bytes.NewReader(in), &o, &e)
	return o.String() + e.String(), status
}

func TestIgmp_ReadsCaptures(t *testing.T) {
	querier, host, group := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("239.1.2.3")
	query := igmp.NewPacket(querier, netip.MustParseAddr("224.0.0.1"), &igmp.Query{Version: igmp.V3, MaxResponse: 10 * time.Second, Robustness: 2, Interval: 125 * time.Second})
	report := igmp.NewPacket(host, group, &igmp.Report{Version: igmp.V2, Group: group})
	good, silent := igmpCapture(t, query, report), igmpCapture(t, report, report)
	name := filepath.Join(t.TempDir(), "lan.pcap")
	if err := os.WriteFile(name, good, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[24+16+14+24+5]++ // the first query's flags
	var later []igmp.Packet
	for range 15 {
		later = append(later, report)
	}
	for _, c := range []struct {
		args   string
		in     []byte
		status int
		says   []string
	}{
		{"igmp decode --brief " + name, nil, 0, []string{"192.0.2.1 > 224.0.0.1: v3 general query within 10s", "192.0.2.9 > 239.1.2.3: v2 report 239.1.2.3"}},
		{"igmp decode - --json", good, 0, []string{`"frame":1,"captured":"2026-03-01T12:00:00`, `"frame":3`, `"router_alert":true`}},
		{"igmp decode -", bad, 1, []string{"checksum is wrong", "v2 report 239.1.2.3"}},
		{"igmp decode -", igmpCapture(t), 1, []string{"no IGMP or MLD in 0 frames"}},
		{"igmp monitor --read - --json", good, 0, []string{`"event":"query"`, `"event":"join"`, `"group":"239.1.2.3"`, `"host":"192.0.2.9"`}},
		{"igmp monitor -6 --read -", good, 0, nil},
		{"igmp monitor --count 9 --read -", good, 1, nil},
		{"igmp doctor --read " + name, nil, 0, []string{"IGMP: healthy", "192.0.2.1 asks by IGMPv3", "old-host"}},
		{"igmp doctor --read -", silent, 4, []string{"IGMP: cannot tell"}},
		{"igmp doctor --json --read -", igmpCapture(t, later...), 1, []string{`"verdict":"broken","exit_status":1`, `"cliff":"2026-03-01T12:06:40`, `"rule":"no-querier"`}},
	} {
		out, status := aetherOf(t, c.in, strings.Fields(c.args)...)
		if status != c.status {
			t.Errorf("%s: status %d, want %d\n%s", c.args, status, c.status, out)
		}
		for _, s := range c.says {
			if !strings.Contains(out, s) {
				t.Errorf("%s: no %q in\n%s", c.args, s, out)
			}
		}
	}
}
