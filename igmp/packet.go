package igmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// IP protocol numbers.
const (
	protocolHopByHop = 0
	protocolIGMP     = 2
	protocolRouting  = 43
	protocolICMPv6   = 58
	protocolOptions  = 60
)

// Sizes and bits of the IP headers.
const (
	ipv4Len      = 20
	ipv4DF       = 0x4000
	ipv4Offset   = 0x3fff // the more-fragments bit and the offset
	ipv6Len      = 40
	optionAlert4 = 0x94 // RFC 2113 section 2.1
	optionAlert6 = 5    // RFC 2711 section 2.1
)

// ParsePacket reads an IPv4 or IPv6 packet from its first byte; what follows the
// packet's own length, as padding of a short Ethernet frame does, is cut off. The
// result keeps nothing of ip. The error wraps [ErrNotGroupProtocol] for a packet
// that carries something else, and is a [*ParseError] for one that is malformed;
// when only its message is, the fields of the header are there nevertheless.
func ParsePacket(ip []byte) (Packet, error) {
	if len(ip) == 0 {
		return Packet{}, malformed(0, "empty packet")
	}
	switch ip[0] >> 4 {
	case 4:
		return parseIPv4(ip)
	case 6:
		return parseIPv6(ip)
	}
	return Packet{}, fmt.Errorf("igmp: IP version %d: %w", ip[0]>>4, ErrNotGroupProtocol)
}

func parseIPv4(b []byte) (Packet, error) {
	if len(b) < ipv4Len {
		return Packet{}, malformed(len(b), "IPv4 header is cut off")
	}
	if b[9] != protocolIGMP {
		return Packet{}, fmt.Errorf("igmp: IP protocol %d: %w", b[9], ErrNotGroupProtocol)
	}
	head, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case head < ipv4Len || head > total:
		return Packet{}, malformed(0, "IPv4 header of %d bytes in a packet of %d", head, total)
	case total > len(b):
		return Packet{}, malformed(len(b), "packet of %d bytes is cut off", total)
	case checksum(0, b[:head]) != 0:
		return Packet{}, &ParseError{Offset: 10, Reason: "IPv4 header: " + ErrChecksum.Error(), Err: ErrChecksum}
	case binary.BigEndian.Uint16(b[6:])&ipv4Offset != 0:
		return Packet{}, malformed(6, "fragment")
	}
	p := Packet{Src: addrAt(b, 12, 4), Dst: addrAt(b, 16, 4), TTL: b[8], TOS: b[1]}
	var err error
	if p.RouterAlert, err = alert4(b[:head]); err != nil {
		return Packet{}, err
	}
	p.Message, err = ParseMessage(b[head:total])
	return p, shifted(err, head)
}

// alert4 looks for the router alert among the options of an IPv4 header.
func alert4(head []byte) (found bool, err error) {
	for at := ipv4Len; at < len(head) && head[at] != 0; { // 0 ends the list
		if head[at] == 1 { // no operation
			at++
			continue
		}
		if at+1 >= len(head) || head[at+1] < 2 || at+int(head[at+1]) > len(head) {
			return false, malformed(at, "length of option %#02x", head[at])
		}
		found = found || head[at] == optionAlert4
		at += int(head[at+1])
	}
	return found, nil
}

func parseIPv6(b []byte) (Packet, error) {
	if len(b) < ipv6Len {
		return Packet{}, malformed(len(b), "IPv6 header is cut off")
	}
	total := ipv6Len + int(binary.BigEndian.Uint16(b[4:]))
	p := Packet{Src: addrAt(b, 8, 16), Dst: addrAt(b, 24, 16), TTL: b[7], TOS: b[0]<<4 | b[1]>>4}
	next, at := b[6], ipv6Len
	for next == protocolHopByHop || next == protocolOptions || next == protocolRouting {
		if at+8 > len(b) || at+8 > total {
			return Packet{}, malformed(len(b), "extension header is cut off")
		}
		end := at + 8 + 8*int(b[at+1])
		if end > len(b) || end > total {
			return Packet{}, malformed(at+1, "extension header of %d bytes is cut off", end-at)
		}
		if next == protocolHopByHop {
			found, err := alert6(b[at:end])
			if err != nil {
				return Packet{}, shifted(err, at)
			}
			p.RouterAlert = p.RouterAlert || found
		}
		next, at = b[at], end
	}
	if next != protocolICMPv6 {
		return Packet{}, fmt.Errorf("igmp: next header %d: %w", next, ErrNotGroupProtocol)
	}
	if total > len(b) {
		return Packet{}, malformed(len(b), "packet of %d bytes is cut off", total)
	}
	var err error
	p.Message, err = ParseMLD(b[at:total], p.Src, p.Dst)
	return p, shifted(err, at)
}

// alert6 looks for the router alert of MLD, value 0, in a hop-by-hop header (RFC
// 2711 section 2.1).
func alert6(head []byte) (found bool, err error) {
	for at := 2; at < len(head); {
		if head[at] == 0 { // Pad1
			at++
			continue
		}
		if at+1 >= len(head) || at+2+int(head[at+1]) > len(head) {
			return false, malformed(at, "length of option %d", head[at])
		}
		if head[at] == optionAlert6 && head[at+1] == 2 {
			found = found || binary.BigEndian.Uint16(head[at+2:]) == 0
		}
		at += 2 + int(head[at+1])
	}
	return found, nil
}

// shifted makes the offset of a ParseError count from n bytes earlier.
func shifted(err error, n int) error {
	if e, ok := errors.AsType[*ParseError](err); ok {
		e.Offset += n
	}
	return err
}

// Append appends the whole IP packet, with all checksums; the family is Dst's. A
// TTL of 0, which no packet on a wire has, stands for the header of
// [NewPacket]: TTL 1, router alert, and for IPv4 type of service 0xc0. Otherwise
// the fields are written as they are. IPv4 packets bear the don't-fragment bit.
//
// Times are rounded down to what the wire can say: tenths of a second up to 25.5
// s in version 2 and floating point up to 3174.4 s in version 3 of IGMP,
// milliseconds up to 65.535 s and floating point up to 8387.584 s in MLD, and
// seconds in floating point up to 31744 s for the querier's interval. A time
// above zero does not become zero, and one beyond the end becomes the largest.
//
// It fails, leaving b as it was, on addresses of the wrong family and on fields
// or packets that do not fit.
func (p Packet) Append(b []byte) ([]byte, error) {
	if p.TTL == 0 {
		p = NewPacket(p.Src, p.Dst, p.Message)
	}
	if !p.Src.IsValid() {
		p.Src = netip.IPv6Unspecified()
		if p.Dst.Is4() {
			p.Src = netip.IPv4Unspecified()
		}
	}
	if !p.Dst.IsValid() || p.Src.BitLen() != p.Dst.BitLen() {
		return b, unwritable("packet from %v to %v", p.Src, p.Dst)
	}
	if p.Dst.Is4() {
		return p.append4(b)
	}
	return p.append6(b)
}

func (p Packet) append4(b []byte) ([]byte, error) {
	head := ipv4Len
	if p.RouterAlert {
		head += 4
	}
	out := append(b, uint8(0x40|head/4), p.TOS, 0, 0, 0, 0, ipv4DF>>8, 0, p.TTL, protocolIGMP, 0, 0)
	out = append(out, p.Src.AsSlice()...)
	out = append(out, p.Dst.AsSlice()...)
	if p.RouterAlert {
		out = append(out, optionAlert4, 4, 0, 0)
	}
	out, err := AppendMessage(out, p.Message)
	if err != nil {
		return b, err
	}
	ip := out[len(b):]
	if len(ip) > 0xffff {
		return b, unwritable("packet of %d bytes", len(ip))
	}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[10:], checksum(0, ip[:head]))
	return out, nil
}

func (p Packet) append6(b []byte) ([]byte, error) {
	next := uint8(protocolICMPv6)
	if p.RouterAlert {
		next = protocolHopByHop
	}
	out := append(b, 0x60|p.TOS>>4, p.TOS<<4, 0, 0, 0, 0, next, p.TTL)
	out = append(out, p.Src.AsSlice()...)
	out = append(out, p.Dst.AsSlice()...)
	if p.RouterAlert { // and PadN to fill eight bytes
		out = append(out, protocolICMPv6, 0, optionAlert6, 2, 0, 0, 1, 0)
	}
	out, err := AppendMLD(out, p.Message, p.Src, p.Dst)
	if err != nil {
		return b, err
	}
	ip := out[len(b):]
	if len(ip)-ipv6Len > 0xffff {
		return b, unwritable("packet of %d bytes", len(ip))
	}
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ipv6Len))
	return out, nil
}
