package igmp

import "net/netip"

// Refused counts packets and records that an engine heard and did not act upon.
type Refused struct {
	Family      int // packets of the other protocol
	TTL         int // queries and leaves, or any MLD, with another TTL than 1
	RouterAlert int // MLD, or with Strict also IGMP from version 2 on, without router alert
	Source      int // packets from an address that nobody may send from
	Destination int // queries sent neither to all systems, nor to their group, nor to us
	Group       int // messages or records about what is not a group that is reported
	Unknown     int // messages and records of unknown types
}

// checker is what an engine wants of packets before it looks into them.
type checker struct {
	family  Family
	strict  bool
	address netip.Addr // ours; may be invalid
}

// admits reports whether p may be acted upon, and counts the reason if not. For
// MLD the conditions are those of RFC 9777 sections 5.1.14, 5.2.13 and 6.2, and
// packets that do not meet them are silently ignored. RFC 9776 has no such words;
// there, what can do harm must at least come from this link.
func (c *checker) admits(p Packet, r *Refused) bool {
	if FamilyOf(p.Dst) != c.family || p.Src.IsValid() && FamilyOf(p.Src) != c.family {
		r.Family++
		return false
	}
	var version Version
	var harmful bool
	var group netip.Addr
	switch m := p.Message.(type) {
	case *Query:
		version, harmful, group = m.Version, true, m.Group
		if m.IsGeneral() {
			group = c.family.AllSystems()
		}
	case *Leave:
		version, harmful = V2, true
	case *Report:
		version = m.Version
	default:
		r.Unknown++
		return false
	}
	switch {
	case version < V1 || version > V3 || version == V1 && c.family == IPv6:
		r.Unknown++
	case p.TTL != 1 && (harmful || c.strict || c.family == IPv6):
		r.TTL++
	case !p.RouterAlert && (c.strict && version > V1 || c.family == IPv6):
		r.RouterAlert++
	case !c.mayBeSource(p.Src):
		r.Source++
	case group.IsValid() && p.Dst != group && p.Dst != c.family.AllSystems() && p.Dst != c.address:
		// RFC 9776 section 4.1.12 and RFC 9777 section 5.1.15
		r.Destination++
	case group.IsValid() && group != c.family.AllSystems() && !c.family.Reported(group):
		r.Group++
	default:
		return true
	}
	return false
}

// mayBeSource reports whether a packet may come from a: from a link-local address
// in IPv6, from any address of one host or from none in IPv4 (RFC 9776 section
// 4.2.14).
func (c *checker) mayBeSource(a netip.Addr) bool {
	if c.family == IPv6 {
		return a.IsLinkLocalUnicast()
	}
	return !a.IsValid() || !a.IsMulticast() && !a.IsLoopback() && a.As4() != [4]byte{255, 255, 255, 255}
}

// electable reports how good a is as a querier's address: 2 for any router's, 1
// for one of 169.254.0.0/16, 0 for none at all, which a proxy sends from (RFC 4541
// section 2.1.1) and which must never silence a querier.
func electable(a netip.Addr) int {
	switch {
	case !a.IsValid() || a.IsMulticast() || a.IsLoopback():
		return 0
	case a.Is6():
		if a.IsLinkLocalUnicast() {
			return 2
		}
		return 0
	case a.As4()[0] == 0 || a.As4()[0] >= 240:
		return 0
	case a.IsLinkLocalUnicast():
		return 1
	}
	return 2
}

// beats reports whether the querier a wins an election against b: the lower
// address does (RFC 9776 section 6.6.2), but one that a host gave itself only
// against its like, and 0.0.0.0 never.
func beats(a, b netip.Addr) bool {
	ea, eb := electable(a), electable(b)
	return ea > 0 && (ea > eb || ea == eb && a.Less(b))
}
