package conform

import (
	"fmt"
	"io"
	"net/netip"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// WriteCapture writes packets as a capture file that Wireshark opens. Only what is above
// Ethernet was seen; the rest is made up to fit.
func WriteCapture(w io.Writer, packets []Captured) error {
	pw := pcapgo.NewWriterNanos(w)
	if err := pw.WriteFileHeader(65536, layers.LinkTypeEthernet); err != nil {
		return fmt.Errorf("conform: capture: %w", err)
	}
	for _, p := range packets {
		frame, err := p.frame()
		if err == nil {
			ci := gopacket.CaptureInfo{Timestamp: p.At, CaptureLength: len(frame), Length: len(frame)}
			err = pw.WritePacket(ci, frame)
		}
		if err != nil {
			return fmt.Errorf("conform: capture: %w", err)
		}
	}
	return nil
}

// legacyPort stands for the port of the plain resolver, which the system chose.
const legacyPort = 49152

func (p Captured) frame() ([]byte, error) {
	from, to := p.From, p.To
	if p.Legacy && p.Sent {
		from = netip.AddrPortFrom(from.Addr(), legacyPort)
	}
	if p.Legacy && !p.Sent {
		to = netip.AddrPortFrom(from.Addr(), legacyPort)
	}
	eth := &layers.Ethernet{SrcMAC: mac(from.Addr()), DstMAC: mac(to.Addr())}
	udp := &layers.UDP{SrcPort: layers.UDPPort(from.Port()), DstPort: layers.UDPPort(to.Port())}
	hops := uint8(255)
	if p.HopLimit > 0 {
		hops = uint8(p.HopLimit)
	}
	var ip gopacket.SerializableLayer
	if from.Addr().Unmap().Is4() {
		eth.EthernetType = layers.EthernetTypeIPv4
		v4 := &layers.IPv4{Version: 4, TTL: hops, Protocol: layers.IPProtocolUDP, SrcIP: addrOf(from), DstIP: addrOf(to)}
		ip = v4
		if err := udp.SetNetworkLayerForChecksum(v4); err != nil {
			return nil, err
		}
	} else {
		eth.EthernetType = layers.EthernetTypeIPv6
		v6 := &layers.IPv6{Version: 6, HopLimit: hops, NextHeader: layers.IPProtocolUDP, SrcIP: addrOf(from), DstIP: addrOf(to)}
		ip = v6
		if err := udp.SetNetworkLayerForChecksum(v6); err != nil {
			return nil, err
		}
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, udp, gopacket.Payload(p.Data))
	return b.Bytes(), err
}

func addrOf(a netip.AddrPort) []byte { return a.Addr().Unmap().WithZone("").AsSlice() }

// mac is an address of Ethernet for a: the group's own, or a local one with its last
// bytes.
func mac(a netip.Addr) []byte {
	b := a.Unmap().AsSlice()
	switch n := len(b); {
	case n == 0:
		return []byte{2, 0, 0, 0, 0, 0}
	case a.IsMulticast() && n == 4:
		return []byte{1, 0, 0x5e, b[1] & 0x7f, b[2], b[3]}
	case a.IsMulticast():
		return append([]byte{0x33, 0x33}, b[12:]...)
	default:
		return append([]byte{2, 0}, b[n-4:]...)
	}
}
