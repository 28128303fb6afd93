package igmp

import (
	"encoding/binary"
	"net/netip"
)

// checksum returns the Internet checksum of b on top of sum (RFC 1071): of bytes
// that contain their own, right checksum it is 0.
func checksum(sum uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// pseudoHeader returns the sum that an ICMPv6 checksum starts with (RFC 8200
// section 8.1).
func pseudoHeader(src, dst netip.Addr, length int) uint32 {
	sum := uint32(length) + protocolICMPv6
	for _, a := range [...][16]byte{src.As16(), dst.As16()} {
		for i := 0; i < len(a); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(a[i:]))
		}
	}
	return sum
}
