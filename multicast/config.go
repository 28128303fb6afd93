package multicast

import (
	"errors"
	"fmt"
	"net/netip"
)

// Config says which group to join, where and how.
type Config struct {
	// Interface is the name of the interface to join and send on, "eth0" say.
	// There is no default: a group joined on an interface that the routing table
	// chose is the commonest way to hear nothing.
	Interface string
	// Group is the group and the UDP port. A zone in it is ignored. Port zero
	// lets the system choose, which is of use to tests only.
	Group netip.AddrPort
	// Source, when set, joins the channel (Source, Group) instead of the group
	// (RFC 4607), so that other senders are not even asked for.
	Source netip.Addr
	// HopLimit is the TTL or hop limit of what is sent, 1 to 255. Zero means 1:
	// datagrams do not leave the link (RFC 1112 section 6.1).
	HopLimit int
	// NoLoopback keeps what is sent from other sockets of the same machine.
	// False, the zero value, lets them hear it.
	NoLoopback bool
	// Unicast says that datagrams sent to the port at one of the interface's own
	// addresses are wanted too. See [Conn.Unicast] for when they arrive.
	Unicast bool
	// Queue is how many received datagrams may wait to be read; further ones are
	// dropped and counted. Zero means 256.
	Queue int
}

// withDefaults returns c with its zero fields filled in, or what is wrong with it.
func (c Config) withDefaults() (Config, error) {
	c.Group = netip.AddrPortFrom(c.Group.Addr().Unmap().WithZone(""), c.Group.Port())
	switch {
	case c.Interface == "":
		return c, errors.New("no interface named")
	case !c.Group.Addr().IsMulticast():
		return c, fmt.Errorf("%v: %w", c.Group.Addr(), ErrNotGroup)
	case c.HopLimit < 0 || c.HopLimit > 255:
		return c, fmt.Errorf("hop limit %d is not in 1 to 255", c.HopLimit)
	case c.Source.IsValid() && c.Source.Unmap().Is4() != c.Group.Addr().Is4():
		return c, fmt.Errorf("source %v and group %v are of different families", c.Source, c.Group.Addr())
	case !c.Source.IsValid() && SourceSpecific(c.Group.Addr()):
		return c, fmt.Errorf("group %v needs a source (RFC 4607)", c.Group.Addr())
	}
	if c.HopLimit == 0 {
		c.HopLimit = 1
	}
	if c.Queue <= 0 {
		c.Queue = 256
	}
	return c, nil
}
