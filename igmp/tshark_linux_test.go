package igmp_test

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/aether-lan/aether/igmp"
)

// tshark reads fields from a capture of frames, a line a frame.
func tshark(t *testing.T, frames [][]byte, fields ...string) []string {
	t.Helper()
	bin, err := exec.LookPath("tshark")
	if err != nil {
		const missing = "tshark is missing: apt-get install tshark"
		if os.Getenv("AETHER_REQUIRE_PEERS") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	name := filepath.Join(t.TempDir(), "x.pcap")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	w := pcapgo.NewWriter(f)
	if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for _, b := range frames {
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(b), Length: len(b)}, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{"-r", name, "-T", "fields", "-E", "separator=;", "-o", "ip.check_checksum:TRUE"}
	for _, x := range fields {
		args = append(args, "-e", x)
	}
	out, err := exec.Command(bin, args...).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), "\n")
}

// What we write, another program reads: with the right checksums and the same times,
// groups and sources.
func TestPackets_TsharkReadsThem(t *testing.T) {
	group, source := netip.MustParseAddr("239.1.2.3"), netip.MustParseAddr("192.0.2.9")
	host, all := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("224.0.0.1")
	var frames [][]byte
	var want []string
	add := func(dst netip.Addr, m igmp.Message, fields string) {
		ip, err := igmp.NewPacket(host, dst, m).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, igmp.EthernetFrame(igmp.HardwareAddr{2, 0, 0, 0, 0, 1}, ip))
		want = append(want, fields)
	}
	for _, tenths := range []int{1, 100, 127, 128, 224, 31744} {
		d := time.Duration(tenths) * 100 * time.Millisecond
		add(all, &igmp.Query{Version: igmp.V3, MaxResponse: d, Robustness: 2, Interval: 125 * time.Second},
			fmt.Sprintf("1;1;1;148;3;0x11;%d;2;125;;0.0.0.0;;", tenths))
	}
	add(all, &igmp.Query{Version: igmp.V2, MaxResponse: 10 * time.Second}, "1;1;1;148;2;0x11;100;;;;0.0.0.0;;")
	add(group, &igmp.Report{Version: igmp.V2, Group: group}, "1;1;1;148;2;0x16;0;;;;239.1.2.3;;")
	add(netip.MustParseAddr("224.0.0.2"), &igmp.Leave{Group: group}, "1;1;1;148;2;0x17;0;;;;239.1.2.3;;")
	add(netip.MustParseAddr("224.0.0.22"), &igmp.Report{Version: igmp.V3, Records: []igmp.Record{
		{Type: igmp.ChangeToInclude, Group: group, Sources: []netip.Addr{source, host}, Aux: []byte{1, 2, 3, 4}},
		{Type: igmp.ModeIsExclude, Group: netip.MustParseAddr("239.1.2.4")}}}, "1;1;1;148;3;0x22;;;;3,2;239.1.2.3,239.1.2.4;192.0.2.9,192.0.2.1;")
	// Snoopers of ours ask too.
	s := igmp.NewSnooper(time.Unix(1, 0), igmp.SnooperConfig{Querier: true})
	s.HandleTimeout(time.Unix(2, 0))
	for _, f := range s.Outgoing() {
		frames = append(frames, f.Frame)
		want = append(want, "1;1;1;148;3;0x11;100;2;125;;0.0.0.0;;")
	}
	got := tshark(t, frames, "ip.checksum.status", "igmp.checksum.status", "ip.ttl", "ip.opt.type", "igmp.version", "igmp.type", "igmp.max_resp",
		"igmp.qrv", "igmp.qqic", "igmp.record_type", "igmp.maddr", "igmp.saddr", "_ws.malformed")
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("frame %d: tshark says\n%s\nwant\n%s", i+1, strings.Join(got[min(i, len(got)):min(i+1, len(got))], ""), want[i])
		}
	}
}
