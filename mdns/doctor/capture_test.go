package doctor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/aether-lan/aether/multicast"
)

var annaMAC = multicast.HardwareAddr{2, 0, 0, 0, 0, 1}

// frame is an Ethernet frame with payload, in a VLAN when tagged.
func frame(t testing.TB, from, to netip.Addr, tagged bool, payload []byte) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: annaMAC[:], DstMAC: net.HardwareAddr{1, 0, 0x5e, 0, 0, 0xfb}}
	stack := []gopacket.SerializableLayer{eth}
	typ := layers.EthernetTypeIPv6
	if from.Is4() {
		typ = layers.EthernetTypeIPv4
	}
	eth.EthernetType = typ
	if tagged {
		eth.EthernetType = layers.EthernetTypeDot1Q
		stack = append(stack, &layers.Dot1Q{VLANIdentifier: 7, Type: typ})
	}
	udp := &layers.UDP{SrcPort: 5353, DstPort: 5353}
	if from.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 255, Protocol: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		_ = udp.SetNetworkLayerForChecksum(ip)
		stack = append(stack, ip)
	} else {
		ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolUDP, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		_ = udp.SetNetworkLayerForChecksum(ip)
		stack = append(stack, ip)
	}
	b := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, opts, append(stack, udp, gopacket.Payload(payload))...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// captures returns the same frames as pcap and as pcapng.
func captures(t testing.TB, frames ...[]byte) (pcap, ng []byte) {
	t.Helper()
	var a, b bytes.Buffer
	w := pcapgo.NewWriter(&a)
	if err := w.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		t.Fatal(err)
	}
	n, err := pcapgo.NewNgWriter(&b, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range frames {
		ci := gopacket.CaptureInfo{Timestamp: start.Add(time.Duration(i) * time.Second), CaptureLength: len(f), Length: len(f)}
		if err := errors.Join(w.WritePacket(ci, f), n.WritePacket(ci, f)); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	return a.Bytes(), b.Bytes()
}

func TestCapture_ReadsBothFormats(t *testing.T) {
	m := response(t, "!"+ptr)
	b, _ := m.Split(1472)
	six, group6 := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::fb")
	pcap, ng := captures(t, frame(t, anna, group, false, b[0]), frame(t, anna, group, true, b[0]),
		frame(t, six, group6, false, b[0]), []byte("not a frame"))
	for name, file := range map[string][]byte{"pcap": pcap, "pcapng": ng} {
		t.Run(name, func(t *testing.T) {
			c, err := OpenCapture(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			d := New()
			if err := Replay(context.Background(), d, c); err != nil {
				t.Fatal(err)
			}
			if got := d.Totals(); got.Packets != 3 || c.Frames != 4 || got.Hosts != 2 {
				t.Errorf("%+v of %d frames", got, c.Frames)
			}
			found := d.Findings()
			if len(found) != 2 || found[0].Count != 2 || found[0].Host.HardwareAddr != annaMAC || found[0].Host.HopLimit != 255 ||
				found[1].Host.Addr != six || !found[0].First.Equal(start) {
				t.Errorf("found %+v", found)
			}
		})
	}
}

func TestCapture_DamagedFilesAreErrors(t *testing.T) {
	m := response(t, adr)
	b, _ := m.Split(1472)
	pcap, ng := captures(t, frame(t, anna, group, false, b[0]))
	hugeBlock := bytes.Clone(ng)
	copy(hugeBlock[len(ng)-100:], bytes.Repeat([]byte{0xff}, 50))
	for name, file := range map[string][]byte{
		"empty": nil, "text": []byte("this is not a capture, whatever its name"), "cut pcap": pcap[:len(pcap)-5],
		"cut pcapng": ng[:len(ng)-5], "overwritten": hugeBlock,
	} {
		c, err := OpenCapture(bytes.NewReader(file))
		if err == nil {
			err = Replay(context.Background(), New(), c)
		}
		if err == nil || errors.Is(err, io.EOF) && len(file) > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCapture_WhatIsCutShortIsNotJudged(t *testing.T) {
	m := response(t, "!"+ptr)
	b, _ := m.Split(1472)
	f := frame(t, anna, group, false, b[0])
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	ci := gopacket.CaptureInfo{Timestamp: start, CaptureLength: len(f) - 8, Length: len(f)}
	if err := errors.Join(w.WriteFileHeader(65536, layers.LinkTypeEthernet), w.WritePacket(ci, f[:len(f)-8])); err != nil {
		t.Fatal(err)
	}
	c, err := OpenCapture(&file)
	if err != nil {
		t.Fatal(err)
	}
	d := New()
	if err := Replay(context.Background(), d, c); err != nil || c.Truncated != 1 || len(d.Findings()) > 0 {
		t.Errorf("%v, %d cut short, %v", err, c.Truncated, d.Findings())
	}
}

func FuzzCapture(f *testing.F) {
	m := response(f, ptr, srv, txt, adr)
	b, _ := m.Split(1472)
	pcap, ng := captures(f, frame(f, anna, group, true, b[0]), frame(f, anna, group, false, b[0]))
	f.Add(pcap)
	f.Add(ng)
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := OpenCapture(bytes.NewReader(file))
		if err != nil {
			return
		}
		d := New()
		if err := Replay(context.Background(), d, c); err == nil && d.Totals().Packets > c.Frames {
			t.Fatalf("%d packets in %d frames", d.Totals().Packets, c.Frames)
		}
	})
}
