package main

import (
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
	name, host            *regexp.Regexp // nil passes all
	portFrom, portTo      uint16         // 0 to 0 passes all
	txt                   []txtFilter
	local, remote         bool
	needsHost, needsAddrs bool
	own                   func(netip.Addr) bool
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
		&cli.BoolFlag{Name: "local", Usage: "only those of this machine"},
		&cli.BoolFlag{Name: "remote", Aliases: []string{"ignore-local", "l"}, Usage: "only those of other machines"},
	}
}

func filterOf(c *cli.Context) (f instanceFilter, err error) {
	expr := func(flag, text string) *regexp.Regexp {
		re, e := regexp.Compile(text)
		if e != nil && err == nil {
			err = fmt.Errorf("--%s: %w", flag, e)
		}
		return re
	}
	if s := c.String("name"); s != "" {
		f.name = expr("name", s)
	}
	if s := c.String("host"); s != "" {
		f.host = expr("host", s)
	}
	for _, s := range c.StringSlice("txt") {
		key, value, has := strings.Cut(s, "=")
		t := txtFilter{key: key}
		if has {
			t.value = expr("txt", value)
		}
		f.txt = append(f.txt, t)
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
		f.portFrom, f.portTo = uint16(a), uint16(b)
	}
	f.local, f.remote = c.Bool("local"), c.Bool("remote")
	if f.local && f.remote {
		return f, fmt.Errorf("--local and --remote exclude each other")
	}
	f.needsHost = f.host != nil || f.portTo > 0 || len(f.txt) > 0
	f.needsAddrs = f.local || f.remote
	f.own = ownAddress
	return f, err
}

// ownAddress reports whether a is an address of this machine.
func ownAddress(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, n := range list {
		if p, err := netip.ParsePrefix(n.String()); err == nil && p.Addr().WithZone("") == a.WithZone("") {
			return true
		}
	}
	return false
}

// passes reports whether i is to be shown. What is not known yet does not pass a
// filter that asks for it.
func (f instanceFilter) passes(i dnssd.Instance) bool {
	if f.name != nil && !f.name.MatchString(i.Name) || f.host != nil && !f.host.MatchString(i.Host) {
		return false
	}
	if f.portTo > 0 && (i.Port < f.portFrom || i.Port > f.portTo) {
		return false
	}
	for _, t := range f.txt {
		if !t.passes(i.TXT) {
			return false
		}
	}
	if !f.local && !f.remote {
		return true
	}
	own := false
	for _, a := range i.Addresses {
		own = own || f.own(a)
	}
	return len(i.Addresses) > 0 && own == f.local
}

func (t txtFilter) passes(txt dnssd.TXT) bool {
	for _, a := range txt {
		if strings.EqualFold(a.Key, t.key) {
			return t.value == nil || t.value.Match(a.Value)
		}
	}
	return false
}
