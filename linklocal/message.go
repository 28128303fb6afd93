package linklocal

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
)

// ErrMessage reports a frame that is not an ARP request or reply for IPv4 over
// Ethernet; the text around it says why.
var ErrMessage = errors.New("not an ARP packet for IPv4 over Ethernet")

// HardwareAddr is an Ethernet (IEEE 802) address.
type HardwareAddr [6]byte

// Broadcast is the hardware address of everybody on the link.
var Broadcast = HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseHardwareAddr reads six hexadecimal bytes with colons between them.
func ParseHardwareAddr(s string) (HardwareAddr, error) {
	var h HardwareAddr
	n, err := fmt.Sscanf(s, "%02x:%02x:%02x:%02x:%02x:%02x", &h[0], &h[1], &h[2], &h[3], &h[4], &h[5])
	if n != len(h) || err != nil || len(s) != 17 {
		return HardwareAddr{}, fmt.Errorf("linklocal: %q is not a hardware address like 02:00:5e:10:00:01", s)
	}
	return h, nil
}

// String returns six hexadecimal bytes with colons between them.
func (h HardwareAddr) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4], h[5])
}

// IsStation reports whether h can be the address of one interface: it is not
// zero and not of a group.
func (h HardwareAddr) IsStation() bool { return h != HardwareAddr{} && h[0]&1 == 0 }

// Streams of randomness that follow from one hardware address.
const (
	candidateStream = iota
	delayStream
)

// rand returns a source seeded by h alone, so that hosts which start at the same
// instant still differ (RFC 3927 section 2.1).
func (h HardwareAddr) rand(stream uint64) *rand.Rand {
	f := fnv.New64a()
	f.Write(h[:])
	return rand.New(rand.NewPCG(f.Sum64(), stream))
}

// Operation is the kind of an ARP packet (RFC 826).
type Operation uint16

// The operations that matter here. Frames with others are refused.
const (
	Request Operation = Operation(arp.OperationRequest)
	Reply   Operation = Operation(arp.OperationReply)
)

// String returns "request" or "reply".
func (o Operation) String() string {
	switch o {
	case Request:
		return "request"
	case Reply:
		return "reply"
	}
	return fmt.Sprintf("operation %d", uint16(o))
}

// Packet is an ARP packet with the addresses of its frame. Packets are
// comparable.
//
//	0       6      12    14      16      18   19   20   22     28    32     38    42
//	┌───────┬──────┬─────┬───────┬───────┬────┬────┬────┬──────┬─────┬──────┬─────┬─────────┐
//	│dest.  │source│0806 │htype 1│ 0800  │hl 6│pl 4│oper│sender│sndr │target│trgt │padding  │
//	│       │      │     │       │       │    │    │    │hwaddr│ IP  │hwaddr│ IP  │to 60    │
//	└───────┴──────┴─────┴───────┴───────┴────┴────┴────┴──────┴─────┴──────┴─────┴─────────┘
type Packet struct {
	Destination        HardwareAddr // of the frame
	Source             HardwareAddr // of the frame
	Operation          Operation
	SenderHardwareAddr HardwareAddr
	SenderIP           netip.Addr
	TargetHardwareAddr HardwareAddr
	TargetIP           netip.Addr
}

// maxFrame is the longest untagged Ethernet frame, without check sequence.
const maxFrame = 1514

// ParsePacket reads an Ethernet frame. Errors wrap [ErrMessage].
func ParsePacket(b []byte) (Packet, error) {
	if len(b) > maxFrame {
		return Packet{}, fmt.Errorf("linklocal: frame of %d bytes: %w", len(b), ErrMessage)
	}
	var f ethernet.Frame
	if err := f.UnmarshalBinary(b); err != nil {
		return Packet{}, fmt.Errorf("linklocal: frame: %w: %w", ErrMessage, err)
	}
	if f.VLAN != nil || f.ServiceVLAN != nil { // another link than ours
		return Packet{}, fmt.Errorf("linklocal: frame with VLAN tag: %w", ErrMessage)
	}
	if f.EtherType != ethernet.EtherTypeARP {
		return Packet{}, fmt.Errorf("linklocal: EtherType %#04x: %w", uint16(f.EtherType), ErrMessage)
	}
	return parseARP(&f)
}

// parseARP reads the payload. The lengths are checked before the library sees
// them, so that it never works with sizes of its sender's choice.
func parseARP(f *ethernet.Frame) (Packet, error) {
	fixed := []byte{0, 1, 0x08, 0, 6, 4} // Ethernet, IPv4, and their lengths
	if !bytes.HasPrefix(f.Payload, fixed) {
		return Packet{}, fmt.Errorf("linklocal: types and lengths % x: %w", f.Payload[:min(6, len(f.Payload))], ErrMessage)
	}
	var a arp.Packet
	if err := a.UnmarshalBinary(f.Payload); err != nil {
		return Packet{}, fmt.Errorf("linklocal: payload: %w: %w", ErrMessage, err)
	}
	p := Packet{
		Destination:        HardwareAddr(f.Destination),
		Source:             HardwareAddr(f.Source),
		Operation:          Operation(a.Operation),
		SenderHardwareAddr: HardwareAddr(a.SenderHardwareAddr),
		SenderIP:           a.SenderIP,
		TargetHardwareAddr: HardwareAddr(a.TargetHardwareAddr),
		TargetIP:           a.TargetIP,
	}
	if p.Operation != Request && p.Operation != Reply {
		return Packet{}, fmt.Errorf("linklocal: %v: %w", p.Operation, ErrMessage)
	}
	return p, nil
}

// Append appends the packet's frame, padded to 60 bytes. It fails when an IP
// address is not IPv4.
func (p Packet) Append(b []byte) ([]byte, error) {
	a, err := arp.NewPacket(arp.Operation(p.Operation), p.SenderHardwareAddr[:], p.SenderIP, p.TargetHardwareAddr[:], p.TargetIP)
	if err != nil {
		return b, fmt.Errorf("linklocal: write packet: %w", err)
	}
	payload, err := a.MarshalBinary()
	if err != nil {
		return b, fmt.Errorf("linklocal: write packet: %w", err)
	}
	f := ethernet.Frame{Destination: p.Destination[:], Source: p.Source[:], EtherType: ethernet.EtherTypeARP, Payload: payload}
	frame, err := f.MarshalBinary()
	if err != nil {
		return b, fmt.Errorf("linklocal: write frame: %w", err)
	}
	return append(b, frame...), nil
}

// IsProbe reports whether p asks for an address without naming one of its own
// (RFC 3927 section 2.2.1).
func (p Packet) IsProbe() bool { return p.Operation == Request && p.SenderIP.IsUnspecified() }

// IsAnnouncement reports whether p announces its sender's address (RFC 3927
// section 2.4).
func (p Packet) IsAnnouncement() bool {
	return p.Operation == Request && p.SenderIP == p.TargetIP && !p.SenderIP.IsUnspecified()
}

// String returns the packet in one line, as packet analysers word it.
func (p Packet) String() string {
	switch {
	case p.IsProbe():
		return fmt.Sprintf("probe %v from %v", p.TargetIP, p.SenderHardwareAddr)
	case p.IsAnnouncement():
		return fmt.Sprintf("announce %v from %v", p.SenderIP, p.SenderHardwareAddr)
	case p.Operation == Request:
		return fmt.Sprintf("request %v from %v at %v", p.TargetIP, p.SenderIP, p.SenderHardwareAddr)
	}
	return fmt.Sprintf("%v %v is at %v for %v at %v", p.Operation, p.SenderIP, p.SenderHardwareAddr, p.TargetIP, p.TargetHardwareAddr)
}

// newProbe asks who has addr, without polluting caches: the sender address is
// zero, as is the target hardware address (RFC 3927 section 2.2.1).
func newProbe(from HardwareAddr, addr netip.Addr) Packet {
	return Packet{Broadcast, from, Request, from, netip.IPv4Unspecified(), HardwareAddr{}, addr}
}

// newAnnouncement is the same request with both addresses addr (RFC 3927
// section 2.4).
func newAnnouncement(from HardwareAddr, addr netip.Addr) Packet {
	return Packet{Broadcast, from, Request, from, addr, HardwareAddr{}, addr}
}

// newReply answers the request q. Packets with a link-local sender are broadcast
// (RFC 3927 section 2.5), others are not (RFC 5227 section 2.6).
func newReply(from HardwareAddr, addr netip.Addr, q Packet) Packet {
	to := q.SenderHardwareAddr
	if Prefix.Contains(addr) {
		to = Broadcast
	}
	return Packet{to, from, Reply, from, addr, q.SenderHardwareAddr, q.SenderIP}
}
