package main

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/multicast"
)

// maxGroups is how many groups one command takes.
const maxGroups = 4096

// defaultGroup is the one that mcjoin uses, so that the two find each other.
var defaultGroup = netip.MustParseAddr("225.1.2.3")

// streamFlags are the flags of send and recv.
func streamFlags(more ...cli.Flag) []cli.Flag {
	return mcastFlags(append(more,
		&cli.IntFlag{Name: "port", Aliases: []string{"p"}, Value: 1234, Usage: "UDP `PORT` of the groups"},
		&cli.Uint64Flag{Name: "count", Aliases: []string{"c"}, Usage: "end after `N` datagrams for each group (0: never)"},
		secondsFlag("W", "end after `SECONDS` in any case (0: never)"),
		secondsFlag("w", "wait `SECONDS` before starting"),
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the summary only"},
	)...)
}

// secondsFlag takes seconds, or a duration with its unit.
func secondsFlag(name, usage string) cli.Flag {
	return &cli.StringFlag{Name: name, Usage: usage}
}

// secondsOf reads such a flag: "2.5" and "2500ms" are the same.
func secondsOf(c *cli.Context, name string) (time.Duration, error) {
	return quantity(c, name, time.Second)
}

// quantity reads a flag that is a number of units, or a duration with its own unit.
func quantity(c *cli.Context, name string, unit time.Duration) (time.Duration, error) {
	s := c.String(name)
	if s == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if f, ferr := strconv.ParseFloat(s, 64); ferr == nil && f < 1e9 {
		d, err = time.Duration(f*float64(unit)), nil
	}
	if err != nil || d < 0 {
		return 0, usage("-%s takes a number of %s, or a time like 250ms, not %q", name, map[time.Duration]string{time.Second: "seconds", time.Millisecond: "milliseconds"}[unit], s)
	}
	return d, nil
}

// stream is what streamFlags and the arguments say.
type stream struct {
	mcast
	channels []multicast.Channel
	port     uint16
	count    uint64
	within   time.Duration // 0: without end
	delay    time.Duration
	quiet    bool
}

func streamOf(c *cli.Context) (s stream, err error) {
	if s.mcast, err = mcastOf(c); err != nil {
		return s, err
	}
	if s.within, err = secondsOf(c, "W"); err != nil {
		return s, err
	}
	if s.delay, err = secondsOf(c, "w"); err != nil {
		return s, err
	}
	if s.port, err = groupPort(c.Int("port")); err != nil {
		return s, err
	}
	s.count, s.quiet = c.Uint64("count"), c.Bool("quiet")
	s.channels, err = channelsOf(c.Args().Slice(), s.mcast)
	for _, ch := range s.channels {
		s.warnFlooded(ch.Group)
	}
	return s, err
}

func groupPort(n int) (uint16, error) {
	if n < 1 || n > 65535 {
		return 0, usage("port %d is not in 1 to 65535", n)
	}
	return uint16(n), nil
}

// channelsOf reads [SOURCE,]GROUP[+NUM] arguments; none is the default group.
func channelsOf(words []string, m mcast) (all []multicast.Channel, err error) {
	if len(words) == 0 {
		group := defaultGroup
		if m.ipv6 {
			group = multicast.Pick("aether mcast", multicast.IPv6)
		}
		return []multicast.Channel{{Group: group}}, nil
	}
	seen := make(map[multicast.Channel]bool)
	for _, w := range words {
		ch, n, err := parseChannel(w)
		if err != nil {
			return nil, err
		}
		if len(all)+n > maxGroups {
			return nil, usage("more than %d groups", maxGroups)
		}
		for range n {
			if err := m.allows(ch.Group); err != nil {
				return nil, err
			}
			if !ch.Group.IsMulticast() {
				return nil, usage("%s: %v is not a group", w, ch.Group)
			}
			if !seen[ch] { // ranges may overlap
				all = append(all, ch)
			}
			seen[ch] = true
			ch.Group = ch.Group.Next()
		}
	}
	return all, nil
}

// parseChannel reads [SOURCE,]GROUP[+NUM]: NUM groups from GROUP on.
func parseChannel(word string) (ch multicast.Channel, n int, err error) {
	text, many, ranged := strings.Cut(word, "+")
	n = 1
	if ranged {
		if n, err = strconv.Atoi(many); err != nil || n < 1 || n > maxGroups {
			return ch, 0, usage("%s: want a number of groups from 1 to %d after +", word, maxGroups)
		}
	}
	group := text
	if source, rest, ok := strings.Cut(text, ","); ok {
		if ch.Source, err = netip.ParseAddr(source); err != nil || ch.Source.IsMulticast() || ch.Source.IsUnspecified() {
			return ch, 0, usage("%s: %q is not the address of a source", word, source)
		}
		group = rest
	}
	if ch.Group, err = netip.ParseAddr(group); err != nil || !ch.Group.Unmap().IsMulticast() {
		return ch, 0, usage("%s: %q is not a group: want an address of 224.0.0.0/4 or ff00::/8", word, group)
	}
	ch.Group, ch.Source = ch.Group.Unmap().WithZone(""), ch.Source.Unmap()
	if ch.Source.IsValid() && ch.Source.Is4() != ch.Group.Is4() {
		return ch, 0, usage("%s: source and group are of different families", word)
	}
	return ch, n, nil
}

// conns returns what to open for the channels: one connection a family.
func (s stream) conns(hopLimit int) (all []multicast.Config, err error) {
	at := make(map[multicast.Family]int)
	for _, ch := range s.channels {
		f := multicast.FamilyOf(ch.Group)
		if i, ok := at[f]; ok {
			all[i].More = append(all[i].More, ch)
			continue
		}
		ifname, err := s.interfaceFor(f)
		if err != nil {
			return nil, err
		}
		at[f] = len(all)
		all = append(all, multicast.Config{
			Interface: ifname, Group: netip.AddrPortFrom(ch.Group, s.port), Source: ch.Source, HopLimit: hopLimit,
		})
	}
	return all, nil
}
