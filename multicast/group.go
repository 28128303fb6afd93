package multicast

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
)

// ErrNotGroup says that an address is not a multicast address.
var ErrNotGroup = errors.New("not a multicast address")

// HardwareAddr is a six-byte Ethernet address.
type HardwareAddr [6]byte

// String returns a in the form 01:00:5e:00:00:fb.
func (a HardwareAddr) String() string {
	b := make([]byte, 0, 17)
	for i, x := range a {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, []byte{x})
	}
	return string(b)
}

// EthernetAddr returns the Ethernet address that carries group: 01:00:5e and the
// low 23 bits of an IPv4 group (RFC 1112 section 6.4), 33:33 and the low 32 bits
// of an IPv6 group (RFC 2464 section 7). It fails with [ErrNotGroup].
func EthernetAddr(group netip.Addr) (HardwareAddr, error) {
	group = group.Unmap()
	if !group.IsMulticast() {
		return HardwareAddr{}, fmt.Errorf("multicast: ethernet address of %v: %w", group, ErrNotGroup)
	}
	if group.Is4() {
		b := group.As4()
		return HardwareAddr{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}, nil
	}
	b := group.As16()
	return HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}, nil
}

// Aliases returns the 32 IPv4 groups that share group's Ethernet address, group
// among them, in ascending order: 28 bits of group are squeezed into 23, so a
// network card cannot tell them apart and the host must (RFC 1112 section 6.4).
// It returns nil for an address that is not an IPv4 group.
func Aliases(group netip.Addr) []netip.Addr {
	group = group.Unmap()
	if !group.Is4() || !group.IsMulticast() {
		return nil
	}
	b := group.As4()
	all := make([]netip.Addr, 0, 32)
	for first := byte(224); first < 240; first++ {
		for _, top := range []byte{0, 0x80} {
			all = append(all, netip.AddrFrom4([4]byte{first, top | b[1]&0x7f, b[2], b[3]}))
		}
	}
	return all
}

// Flooded reports whether switches send group to every port, members or not: the
// groups 224.0.0.x, which snooping must not prune (RFC 4541 section 2.1.2), and
// their Ethernet aliases such as 239.128.0.x. An application that chooses its own
// group should not choose one of these.
func Flooded(group netip.Addr) bool {
	group = group.Unmap()
	if !group.Is4() || !group.IsMulticast() {
		return false
	}
	b := group.As4()
	return b[1]&0x7f == 0 && b[2] == 0
}

// SourceSpecific reports whether group may be joined only together with a source:
// 232.0.0.0/8 and ff3x::/32 (RFC 4607 section 1).
func SourceSpecific(group netip.Addr) bool {
	group = group.Unmap()
	if group.Is4() {
		return group.As4()[0] == 232
	}
	b := group.As16()
	return b[0] == 0xff && b[1]&0xf0 == 0x30 && b[2] == 0 && b[3] == 0
}

// Scope says how far a group may travel. The numbers are those of RFC 7346
// section 2; IPv4 groups are given the nearest of them (RFC 2365 section 6).
type Scope int

// The scopes of RFC 7346. ScopeNone is not a group.
const (
	ScopeNone           Scope = 0
	ScopeInterfaceLocal Scope = 1
	ScopeLinkLocal      Scope = 2
	ScopeRealmLocal     Scope = 3
	ScopeAdminLocal     Scope = 4
	ScopeSiteLocal      Scope = 5
	ScopeOrganization   Scope = 8
	ScopeGlobal         Scope = 14
)

var scopeNames = map[Scope]string{
	ScopeNone: "none", ScopeInterfaceLocal: "interface-local", ScopeLinkLocal: "link-local",
	ScopeRealmLocal: "realm-local", ScopeAdminLocal: "admin-local", ScopeSiteLocal: "site-local",
	ScopeOrganization: "organization-local", ScopeGlobal: "global",
}

// String returns the scope's name, or its number where RFC 7346 gives no name.
func (s Scope) String() string {
	if name, ok := scopeNames[s]; ok {
		return name
	}
	return fmt.Sprintf("scope %d", int(s))
}

// ScopeOf returns the scope of group. For IPv4: 224.0.0.0/24 is link-local,
// 239.255.0.0/16 site-local and 239.192.0.0/14 organization-local (RFC 2365
// sections 6.1, 6.2); everything else is global as far as the address tells.
func ScopeOf(group netip.Addr) Scope {
	group = group.Unmap()
	if !group.IsMulticast() {
		return ScopeNone
	}
	if group.Is6() {
		return Scope(group.As16()[1] & 0x0f)
	}
	switch b := group.As4(); {
	case b[0] == 224 && b[1] == 0 && b[2] == 0:
		return ScopeLinkLocal
	case b[0] == 239 && b[1] == 255:
		return ScopeSiteLocal
	case b[0] == 239 && b[1]&0xfc == 192:
		return ScopeOrganization
	}
	return ScopeGlobal
}
