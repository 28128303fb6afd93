package multicast

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
)

// Family is an address family: [IPv4] or [IPv6].
type Family int

// The families. Their values are the versions of the Internet Protocol.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of a; an IPv4 address mapped into IPv6 is IPv4.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// String returns "IPv4" or "IPv6".
func (f Family) String() string { return fmt.Sprintf("IPv%d", int(f)) }

// pickSalt keeps the picked groups apart from those of others who hash names.
const pickSalt = "aether multicast group 1\x00"

// Pick returns the group that everybody who picks by the same name gets, so that
// programs can meet without a registry. Names are compared byte by byte. The
// result for a name never changes.
//
// An IPv4 group lies in 239.255.0.0/16, the local scope of RFC 2365 section 6.1,
// below the 256 addresses at its end that are kept for well-known uses (section
// 9). Its low 23 bits begin with 0x7f, so it never shares an Ethernet address with
// 224.0.0.x, which switches flood (RFC 4541 section 2.1.2). There are 65,280 such
// groups: among 300 names two will share one with even odds, so an application
// must still look at what it receives.
//
// An IPv6 group is ff15::/16, transient and site-local (RFC 4291 section 2.7), with
// a group ID of 0x80000000 to 0xfeffffff as RFC 3307 section 4.3 asks of those who
// choose for themselves; 33:33:ff is left to neighbour discovery.
//
// Any family but IPv6 picks for IPv4.
func Pick(name string, family Family) netip.Addr {
	h := sha256.Sum256([]byte(pickSalt + name))
	if family == IPv6 {
		b := [16]byte{0: 0xff, 1: 0x15}
		copy(b[12:], h[4:8])
		b[12] = 0x80 | b[12]%0x7f
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte{239, 255, byte((int(h[0])<<8 | int(h[1])) % 255), h[2]})
}
