package igmp

import (
	"encoding/binary"
	"fmt"
)

// EtherTypes.
const (
	etherIPv4   = 0x0800
	etherIPv6   = 0x86dd
	etherVLAN   = 0x8100 // IEEE 802.1Q
	etherQinQ   = 0x88a8 // IEEE 802.1ad
	etherQinQ91 = 0x9100 // the same before there was a standard
)

const etherLen = 14

// ParseFrame reads an Ethernet frame, without check sequence, that carries a
// packet, and passes over VLAN tags. It returns the frame's source address as soon
// as there is one, and the errors of [ParsePacket], whose offsets count from the
// first byte of the frame.
func ParseFrame(frame []byte) (src HardwareAddr, p Packet, err error) {
	if len(frame) < etherLen {
		return src, Packet{}, malformed(len(frame), "frame of %d bytes", len(frame))
	}
	src = HardwareAddr(frame[6:12])
	at := etherLen
	kind := binary.BigEndian.Uint16(frame[12:])
	for kind == etherVLAN || kind == etherQinQ || kind == etherQinQ91 {
		if len(frame) < at+4 {
			return src, Packet{}, malformed(len(frame), "VLAN tag is cut off")
		}
		kind = binary.BigEndian.Uint16(frame[at+2:])
		at += 4
	}
	if kind != etherIPv4 && kind != etherIPv6 {
		return src, Packet{}, fmt.Errorf("igmp: EtherType %#04x: %w", kind, ErrNotGroupProtocol)
	}
	p, err = ParsePacket(frame[at:])
	return src, p, shifted(err, at)
}
