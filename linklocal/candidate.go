package linklocal

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// failedLimit bounds the addresses remembered as in use. The oldest is forgotten
// first; by then, at one attempt a minute, it is most of a day old.
const failedLimit = 1024

// candidates is a host's own sequence of addresses to try (RFC 3927 section 2.1)
// and what is known against some of them.
type candidates struct {
	rand   *rand.Rand
	first  netip.Addr   // to be tried before the sequence; zero: none
	failed []netip.Addr // oldest first, at most failedLimit
	taken  []netip.Addr // on other interfaces of this host
}

func newCandidates(h HardwareAddr, first netip.Addr) candidates {
	return candidates{rand: h.rand(candidateStream), first: first}
}

// next returns the address to probe: the previous one if nothing speaks against
// it, else the next of the sequence, uniform over the selectable addresses.
func (c *candidates) next() netip.Addr {
	if a := c.first; a.IsValid() && c.possible(a) {
		c.first = netip.Addr{}
		return a
	}
	for {
		if a := selectable(c.rand.Uint32N(65024)); c.possible(a) {
			return a
		}
	}
}

// selectable returns the n-th of the 65,024 addresses a host may choose.
func selectable(n uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], 169<<24|254<<16|1<<8+n)
	return netip.AddrFrom4(b)
}

// possible reports whether a has not failed and is not on another interface of
// this host: that one would answer, and as one of our own not be taken for a
// conflict (RFC 3927 sections 3.2 and 3.4).
func (c *candidates) possible(a netip.Addr) bool {
	return !slices.Contains(c.failed, a) && !slices.Contains(c.taken, a)
}

// fail keeps a from being chosen again on this link.
func (c *candidates) fail(a netip.Addr) {
	if len(c.failed) == failedLimit {
		c.failed = slices.Delete(c.failed, 0, 1)
	}
	c.failed = append(c.failed, a)
	if c.first == a {
		c.first = netip.Addr{}
	}
}

// forget clears the record of what failed, because the link may be a new one.
func (c *candidates) forget() { c.failed = nil }
