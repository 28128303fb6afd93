package linklocal

import (
	"net/netip"
	"slices"
)

// probingConflict reports whether p shows that the candidate addr is not free,
// from the start of the initial delay until ANNOUNCE_WAIT after the last probe
// (RFC 3927 section 2.2.1). There are two such shapes:
//
//   - any request or reply whose sender address is addr: somebody uses it;
//   - a probe for addr by somebody else: somebody is about to.
//
// A request for addr from a host with an address of its own is neither: it only
// looks for the holder, who may not exist. Packets from own are echoes (RFC 5227
// section 2.1.1); own holds every interface of the host.
func probingConflict(p Packet, addr netip.Addr, own []HardwareAddr) bool {
	if slices.Contains(own, p.SenderHardwareAddr) {
		return false
	}
	return p.SenderIP == addr || p.IsProbe() && p.TargetIP == addr
}

// holdingConflict reports whether p shows that another host uses the address
// addr, which we hold (RFC 3927 section 2.5, RFC 5227 section 2.4). A probe for
// it does not: it is answered.
func holdingConflict(p Packet, addr netip.Addr, own []HardwareAddr) bool {
	return p.SenderIP == addr && !slices.Contains(own, p.SenderHardwareAddr)
}

// asksFor reports whether the holder of addr must answer p: requests and probes
// alike (RFC 5227 section 2.5).
func asksFor(p Packet, addr netip.Addr, own []HardwareAddr) bool {
	return p.Operation == Request && p.TargetIP == addr && p.SenderIP != addr &&
		!slices.Contains(own, p.SenderHardwareAddr)
}
