package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aether-lan/aether/dnssd"
)

// The lines of browse --parsable are those of avahi-browse -p:
//
//	op;interface;IPv4|IPv6;name;type;domain[;host;address;port;txt]
//
// The name is escaped as Avahi escapes labels. The one difference is the other fields:
// Avahi leaves ';' and control characters in TXT alone, here ';', '"', '\' and what is
// not printable are \DDD, so that a line is one line and has ten fields whatever an
// instance says.

// labelEscaped is a label as Avahi writes it: a dot and a backslash behind a backslash,
// any other byte but letters, digits, '-' and '_' as \DDD in decimal.
func labelEscaped(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		switch {
		case c == '.' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '-' || c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\%03d`, c)
		}
	}
	return b.String()
}

// fieldEscaped is s without what ends a field, a string or a line.
func fieldEscaped(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		part := s[i : i+n]
		i += n
		if !strings.ContainsRune(`;"\`, r) && r != '\t' && printable(part) == part {
			b.WriteString(part)
			continue
		}
		for _, c := range []byte(part) {
			fmt.Fprintf(&b, `\%03d`, c)
		}
	}
	return b.String()
}

// family is the word for the protocol by which an instance was heard.
func family(i dnssd.Instance) string {
	if i.From.Is6() && !i.From.Is4In6() {
		return "IPv6"
	}
	return "IPv4"
}

// parsableLines are the lines for one event, without a line end: one for each address
// of a resolved instance.
func parsableLines(mark string, i dnssd.Instance) []string {
	fields := []string{mark, fieldEscaped(i.Interface), family(i), labelEscaped(i.Name), fieldEscaped(i.Service), fieldEscaped(i.Domain)}
	if mark != "=" {
		return []string{strings.Join(fields, ";")}
	}
	quoted := make([]string, len(i.TXT))
	for n, s := range i.TXT.Strings() {
		quoted[n] = `"` + fieldEscaped(s) + `"`
	}
	var lines []string
	for _, a := range i.Addresses {
		if fields[2] = "IPv4"; a.Is6() {
			fields[2] = "IPv6"
		}
		line := append(fields[:6:6], fieldEscaped(i.Host), a.WithZone("").String(), strconv.Itoa(int(i.Port)), strings.Join(quoted, " "))
		lines = append(lines, strings.Join(line, ";"))
	}
	return lines
}
