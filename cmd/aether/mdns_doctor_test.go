package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/miekg/dns"

	"github.com/aether-lan/aether/mdns"
)

// doctorCapture writes a capture of one response of each record to a file.
func doctorCapture(t *testing.T, records ...mdns.Record) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "lan.pcap")
	var out bytes.Buffer
	w := pcapgo.NewWriter(&out)
	if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	for i, r := range records {
		m := mdns.Message{Response: true, Answers: []mdns.Record{r}}
		payload, _ := m.Split(1472)
		ip := &layers.IPv4{Version: 4, TTL: 255, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{192, 168, 1, 10}, DstIP: net.IP{224, 0, 0, 251}}
		udp := &layers.UDP{SrcPort: 5353, DstPort: 5353}
		if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		eth := &layers.Ethernet{
			SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{1, 0, 0x5e, 0, 0, 0xfb}, EthernetType: layers.EthernetTypeIPv4,
		}
		b := gopacket.NewSerializeBuffer()
		opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
		if err := gopacket.SerializeLayers(b, opts, eth, ip, udp, gopacket.Payload(payload[0])); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(1_700_000_000+int64(i), 0)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b.Bytes()), Length: len(b.Bytes())}, b.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDoctor_ReadsACapture(t *testing.T) {
	pointer := mdns.Record{Name: "_http._tcp.local.", Type: dns.TypePTR, Class: 1, TTL: 4500, Data: []byte("\x03\x1b[2\x05_http\x04_tcp\x05local\x00")}
	flushed := pointer
	flushed.Flush = true
	short := mdns.Record{Name: "a.local.", Type: dns.TypeA, Class: 1, Flush: true, TTL: 5, Data: []byte{192, 168, 1, 10}}
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("no capture at all, only words"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file   string
		status int
		want   []string // in this order
	}{
		"healthy": {doctorCapture(t, pointer), statusDone, []string{"healthy: 1 packets"}},
		"warning": {doctorCapture(t, short), statusDone, []string{"1 host misbehaves", "02:00:00:00:00:01, IP TTL 255", "tiny-ttl"}},
		"broken":  {doctorCapture(t, short, flushed), statusFailed, []string{"1 host misbehaves", "192.168.1.10", "broken", "shared-flush", "RFC 6762 10.2", "warning", "tiny-ttl"}},
		"silence": {doctorCapture(t), statusUnknown, []string{"nothing heard"}},
		"garbage": {garbage, statusUnknown, nil},
		"absent":  {garbage + "x", statusFailed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs strings.Builder
			status := run(context.Background(), []string{"aether", "mdns", "doctor", "--read", c.file}, nil, &out, &errs)
			rest := out.String()
			for _, w := range c.want {
				_, behind, ok := strings.Cut(rest, w)
				if !ok {
					t.Errorf("no %q in %q", w, out.String())
				}
				rest = behind
			}
			if status != c.status || (c.want == nil) != (errs.Len() > 0) {
				t.Errorf("status %d, want %d\n%s%s", status, c.status, out.String(), errs.String())
			}
		})
	}
}

func TestDoctor_JSONIsOneObjectAFinding(t *testing.T) {
	file := doctorCapture(t, mdns.Record{Name: "a.local.", Type: dns.TypeA, Class: 1, Flush: true, TTL: 5, Data: []byte{192, 168, 1, 10}})
	var out, errs strings.Builder
	if status := run(context.Background(), []string{"aether", "mdns", "doctor", "--json", "--read", file}, nil, &out, &errs); status != statusDone {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	var got []map[string]any
	for line := range strings.Lines(out.String()) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		got = append(got, v)
	}
	if len(got) != 2 || got[0]["event"] != "verdict" || got[0]["packets"] != 1.0 || got[1]["event"] != "finding" ||
		got[1]["rule"] != "tiny-ttl" || got[1]["host"] != "192.168.1.10" || got[1]["hardware_addr"] != "02:00:00:00:00:01" {
		t.Errorf("%v", got)
	}
}
