package igmp

import (
	"fmt"
	"net/netip"
	"time"
)

// Family is a family of addresses, and with it a protocol: IGMP for IPv4, MLD
// for IPv6.
type Family uint8

// The families. The zero Family is IPv4 in the configuration of an engine, and
// both for [Open].
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf returns the family of a, and 0 for the zero Addr.
func FamilyOf(a netip.Addr) Family {
	switch {
	case a.Is4():
		return IPv4
	case a.Is6():
		return IPv6
	}
	return 0
}

// String returns "IPv4" or "IPv6", and "IP" for the zero Family.
func (f Family) String() string {
	switch f {
	case 0:
		return "IP"
	case IPv4, IPv6:
		return fmt.Sprintf("IPv%d", uint8(f))
	}
	return fmt.Sprintf("family %d", uint8(f))
}

// AllSystems returns the group of all hosts, to which general queries go:
// 224.0.0.1 or ff02::1. It is never reported.
func (f Family) AllSystems() netip.Addr {
	if f == IPv6 {
		return allNodes6
	}
	return allSystems4
}

// AllRouters returns the group of all routers, to which leaves go: 224.0.0.2 or
// ff02::2.
func (f Family) AllRouters() netip.Addr {
	if f == IPv6 {
		return allRouters6
	}
	return allRouters4
}

// AllReports returns the group to which reports of version 3 go: 224.0.0.22 (RFC
// 9776 section 4.2.16) or ff02::16 (RFC 9777 section 5.2.14).
func (f Family) AllReports() netip.Addr {
	if f == IPv6 {
		return allReports6
	}
	return allReports4
}

// Reported reports whether membership of group is ever reported: not for all
// systems (RFC 9776 section 5) and, in IPv6, not for scopes 0 and 1 (RFC 9777
// section 6). It is false for what is no group of the family.
func (f Family) Reported(group netip.Addr) bool {
	if FamilyOf(group) != f.orIPv4() || !group.IsMulticast() || group == f.AllSystems() {
		return false
	}
	return group.Is4() || group.As16()[1]&15 > 1
}

func (f Family) orIPv4() Family {
	if f == 0 {
		return IPv4
	}
	return f
}

// unspecified returns the address 0.0.0.0 or ::.
func (f Family) unspecified() netip.Addr {
	if f == IPv6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// unit returns the unit of response times on the wire.
func (f Family) unit() time.Duration {
	if f == IPv6 {
		return unit6
	}
	return unit4
}

// headerLen is how long a packet's headers are, router alert included.
func (f Family) headerLen() int {
	if f == IPv6 {
		return ipv6Len + 8
	}
	return ipv4Len + 4
}
