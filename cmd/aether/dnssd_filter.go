package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dnssd"
)

// instanceFilter says which instances browse shows: those that pass all of it.
type instanceFilter struct {
	name, host    *regexp.Regexp // nil passes all
	ports         [2]uint16      // from and to; 0 to 0 passes all
	txt           []txtFilter
	local, remote bool
	isOwn         func(netip.Addr) bool
}

// txtFilter passes attributes with key, and a value that matches where value is not
// nil.
type txtFilter struct {
	key   string
	value *regexp.Regexp
}

func filterFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "only instances whose name matches `REGEX`"},
		&cli.StringFlag{Name: "host", Usage: "only those whose host matches `REGEX`"},
		&cli.StringFlag{Name: "port", Usage: "only those on port `N[-M]`"},
		&cli.StringSliceFlag{Name: "txt", Usage: "only those with the attribute `KEY[=REGEX]` (repeatable)"},
		&cli.BoolFlag{Name: "local", Usage: "only those that this machine offers"},
		&cli.BoolFlag{Name: "remote", Aliases: []string{"ignore-local", "l"}, Usage: "only those that other machines offer"},
	}
}

func filterOf(c *cli.Context) (f instanceFilter, err error) {
	expr := func(flag, text string) *regexp.Regexp {
		if text == "" {
			return nil
		}
		re, e := regexp.Compile(text)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("--%s: %w", flag, e))
		}
		return re
	}
	f = instanceFilter{
		name: expr("name", c.String("name")), host: expr("host", c.String("host")),
		local: c.Bool("local"), remote: c.Bool("remote"), isOwn: isOwnAddress,
	}
	for _, s := range c.StringSlice("txt") {
		key, value, _ := strings.Cut(s, "=")
		if key == "" {
			return f, fmt.Errorf("--txt %q has no key", s)
		}
		f.txt = append(f.txt, txtFilter{key, expr("txt", value)})
	}
	if s := c.String("port"); s != "" {
		from, to, has := strings.Cut(s, "-")
		if !has {
			to = from
		}
		a, e1 := strconv.ParseUint(from, 10, 16)
		b, e2 := strconv.ParseUint(to, 10, 16)
		if e1 != nil || e2 != nil || a == 0 || a > b {
			return f, fmt.Errorf("--port takes N or N-M from 1 to 65535, not %q", s)
		}
		f.ports = [2]uint16{uint16(a), uint16(b)}
	}
	if f.local && f.remote {
		return f, errors.New("--local and --remote exclude each other")
	}
	return f, err
}

// resolves reports whether the filter looks at more than who offers what.
func (f instanceFilter) resolves() bool {
	return f.host != nil || f.ports[1] > 0 || len(f.txt) > 0
}

// isOwnAddress reports whether a is an address of this machine now.
func isOwnAddress(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, n := range list {
		if p, err := netip.ParsePrefix(n.String()); err == nil && p.Addr() == a.WithZone("") {
			return true
		}
	}
	return false
}

// passes reports whether i is to be shown. What is not known yet does not pass a
// filter that asks for it.
func (f instanceFilter) passes(i dnssd.Instance) bool {
	switch {
	case f.name != nil && !f.name.MatchString(i.Name),
		f.host != nil && !f.host.MatchString(i.Host),
		f.ports[1] > 0 && (i.Port < f.ports[0] || i.Port > f.ports[1]):
		return false
	}
	for _, t := range f.txt {
		if !t.passes(i.TXT) {
			return false
		}
	}
	if f.local || f.remote {
		return f.local == (!i.From.IsValid() || f.isOwn(i.From))
	}
	return true
}

func (t txtFilter) passes(txt dnssd.TXT) bool {
	v, state := txt.Get(t.key)
	return state != dnssd.Absent && (t.value == nil || t.value.Match(v))
}
