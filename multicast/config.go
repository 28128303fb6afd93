package multicast

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
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
	// Queue is how many received datagrams may wait for [Conn.ReadPacket]; further
	// ones are dropped and counted. Zero means 256.
	Queue int
	// More are further groups and channels to hear on the same port by the same
	// socket. What is sent without naming a destination goes to Group alone.
	More []Channel
	// ReadBuffer is how many bytes of received datagrams the kernel is asked to
	// hold for the reader; [Stats.ReadBuffer] says what it granted. Zero leaves
	// the system's own size.
	ReadBuffer int

	sendOnly bool // of Dial: nothing is joined
}

// Channel is a group and, for source-specific multicast, the one source that is
// heard (RFC 4607). Without a Source every sender is heard.
type Channel struct {
	Group  netip.Addr
	Source netip.Addr
}

// String returns c as SOURCE,GROUP, or GROUP alone.
func (c Channel) String() string {
	if !c.Source.IsValid() {
		return c.Group.String()
	}
	return c.Source.String() + "," + c.Group.String()
}

// check reports what is wrong with c as a channel of the family of group.
func (c Channel) check(group netip.Addr) error {
	switch {
	case !c.Group.IsMulticast():
		return fmt.Errorf("%v: %w", c.Group, ErrNotGroup)
	case c.Group.Is4() != group.Is4():
		return fmt.Errorf("groups %v and %v are of different families", group, c.Group)
	case c.Source.IsValid() && c.Source.Is4() != c.Group.Is4():
		return fmt.Errorf("source %v and group %v are of different families", c.Source, c.Group)
	case c.Source.IsValid() && (c.Source.IsMulticast() || c.Source.IsUnspecified()):
		return fmt.Errorf("source %v is not the address of a host", c.Source)
	case !c.Source.IsValid() && SourceSpecific(c.Group):
		return fmt.Errorf("group %v needs a source (RFC 4607)", c.Group)
	}
	return nil
}

// plain returns c with its addresses in the form that comparisons need.
func (c Channel) plain() Channel {
	return Channel{Group: c.Group.Unmap().WithZone(""), Source: c.Source.Unmap().WithZone("")}
}

// channels returns the channels to join, each once, cfg.Group first. A group that
// is joined for all sources needs no joining for one of them.
func (c Config) channels() []Channel {
	first := Channel{Group: c.Group.Addr(), Source: c.Source}
	all := []Channel{first.plain()}
	for _, m := range c.More {
		all = append(all, m.plain())
	}
	anySource := make(map[netip.Addr]bool, len(all))
	for _, m := range all {
		anySource[m.Group] = anySource[m.Group] || !m.Source.IsValid()
	}
	seen := make(map[Channel]bool, len(all))
	return slices.DeleteFunc(all, func(m Channel) bool {
		if seen[m] || m.Source.IsValid() && anySource[m.Group] {
			return true
		}
		seen[m] = true
		return false
	})
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
	case c.ReadBuffer < 0:
		return c, fmt.Errorf("read buffer of %d bytes", c.ReadBuffer)
	}
	for _, m := range slices.Concat([]Channel{{c.Group.Addr(), c.Source}}, c.More) {
		if err := m.plain().check(c.Group.Addr()); err != nil && !(c.sendOnly && m.Group == c.Group.Addr()) {
			return c, err
		}
	}
	if c.HopLimit == 0 {
		c.HopLimit = 1
	}
	if c.Queue <= 0 {
		c.Queue = 256
	}
	return c, nil
}
