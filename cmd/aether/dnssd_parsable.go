package main

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aether-lan/aether/dnssd"
)

// The lines of browse --parsable are those of avahi-browse -p:
//
//	op;interface;IPv4|IPv6;name;type;domain[;host;address;port;txt]
//
// The name is escaped as Avahi escapes labels: a dot and a backslash behind a
// backslash, any other byte but letters, digits, '-' and '_' as \DDD, but characters
// beyond ASCII as they are where they can be printed. The one difference is the text:
// Avahi leaves its bytes alone, here ';', '"', '\' and what is not printable are \DDD,
// so that a line is one line and has ten fields whatever an instance says.

// labelEscaped is a label as Avahi writes it.
func labelEscaped(s string) string {
	return escaped(s, func(r rune) bool {
		return r > 0x7f || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}, `.\`)
}

// fieldEscaped is s without what ends a field, a string or a line.
func fieldEscaped(s string) string {
	return escaped(s, func(r rune) bool { return !strings.ContainsRune(`;"\`, r) }, "")
}

// escaped keeps the printable characters that plain allows, puts a backslash before
// those of behind, and writes the bytes of all others as \DDD in decimal.
func escaped(s string, plain func(rune) bool, behind string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		part := s[i : i+n]
		i += n
		switch {
		case strings.ContainsRune(behind, r):
			b.WriteString(`\` + part)
		case plain(r) && r != '\t' && printable(part) == part:
			b.WriteString(part)
		default:
			for _, c := range []byte(part) {
				fmt.Fprintf(&b, `\%03d`, c)
			}
		}
	}
	return b.String()
}

// parsableLines are the lines for one event: one for each address of a resolved
// instance, as Avahi has them.
func parsableLines(mark string, i dnssd.Instance) []string {
	line := func(a netip.Addr) string {
		family := "IPv4"
		if a.Is6() {
			family = "IPv6"
		}
		return strings.Join([]string{
			mark, fieldEscaped(i.Interface), family, labelEscaped(i.Name), fieldEscaped(i.Service), fieldEscaped(i.Domain),
		}, ";")
	}
	if mark != "=" {
		return []string{line(firstAddress(i))}
	}
	quoted := make([]string, len(i.TXT))
	for n, s := range i.TXT.Strings() {
		quoted[n] = `"` + fieldEscaped(s) + `"`
	}
	var lines []string
	for _, a := range i.Addresses {
		lines = append(lines, strings.Join([]string{
			line(a), fieldEscaped(i.Host), a.WithZone("").String(), strconv.Itoa(int(i.Port)), strings.Join(quoted, " "),
		}, ";"))
	}
	return lines
}

// firstAddress is the zero Addr where there is none.
func firstAddress(i dnssd.Instance) netip.Addr {
	if len(i.Addresses) == 0 {
		return netip.Addr{}
	}
	return i.Addresses[0]
}
