package dnssd

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Local is the domain of multicast DNS (RFC 6762 section 3).
const Local = "local"

// Lengths in bytes on the wire.
const (
	labelMax = 63  // RFC 1035 section 2.3.4
	nameMax  = 254 // RFC 1035 section 2.3.4, without the root's zero byte
)

// ErrName reports a name that breaks the rules of RFC 6763 section 4.1 or of DNS.
var ErrName = errors.New("dnssd: bad name")

// FullName is a Service Instance Name (RFC 6763 section 4.1), taken apart.
type FullName struct {
	// Instance is one label, as text: "Dr. No". Section 4.1.1.
	Instance string
	// Service is two labels: "_http._tcp". Section 4.1.2.
	Service string
	// Domain is "local", or any other domain in zone file form. Section 4.1.3.
	Domain string
}

// ParseName takes a Service Instance Name apart. It reads both the form of RFC 6763
// section 4.3 and that of zone files, with or without the final dot, and keeps the
// bytes of labels as they are. It fails with [ErrName] when the name is too long, a
// label is empty or longer than 63 bytes, or no service is found in it.
func ParseName(s string) (FullName, error) {
	labels, err := splitLabels(s)
	if err != nil {
		return FullName{}, err
	}
	if len(labels) < 4 || !looksLikeService(labels[1], labels[2]) {
		return FullName{}, fmt.Errorf("%w: %q is not INSTANCE._SERVICE._tcp.DOMAIN", ErrName, s)
	}
	return FullName{labels[0], joinLabels(labels[1:3], escapeZone), joinLabels(labels[3:], escapeZone)}, nil
}

// String returns the name in the form of RFC 6763 section 4.3: dots and backslashes
// of the instance behind a backslash, all else as it is. It is for people, files and
// [ParseName], not for DNS libraries.
func (n FullName) String() string {
	return escape(n.Instance) + "." + n.Service + "." + n.Domain
}

// Presentation returns the name in the form of zone files and of [mdns.Record]:
// bytes that are not plain as \DDD, fully qualified.
func (n FullName) Presentation() string {
	return escapeZone(n.Instance) + "." + n.Service + "." + n.Domain + "."
}

// NormalizeInstance returns name in Normalization Form C, as it must go on the wire.
// It fails with [ErrName] when the name is empty, not UTF-8, has ASCII control
// characters, or is then longer than 63 bytes (RFC 6763 section 4.1.1).
func NormalizeInstance(name string) (string, error) {
	if !utf8.ValidString(name) {
		return "", fmt.Errorf("%w: instance %q is not UTF-8", ErrName, name)
	}
	for i := range len(name) {
		if name[i] < 0x20 || name[i] == 0x7f {
			return "", fmt.Errorf("%w: instance %q has a control character", ErrName, name)
		}
	}
	name = norm.NFC.String(name)
	if name == "" || len(name) > labelMax {
		return "", fmt.Errorf("%w: instance %q has %d bytes, want 1 to %d", ErrName, name, len(name), labelMax)
	}
	return name, nil
}

// splitLabels undoes both escapings: \DDD is a byte, a backslash before anything
// else is that byte itself.
func splitLabels(s string) ([]string, error) {
	var labels []string
	var label []byte
	size := 0
	end := func() error {
		if len(label) == 0 || len(label) > labelMax {
			return fmt.Errorf("%w: %q has a label of %d bytes, want 1 to %d", ErrName, s, len(label), labelMax)
		}
		if size += 1 + len(label); size > nameMax {
			return fmt.Errorf("%w: more than %d bytes", ErrName, nameMax)
		}
		labels = append(labels, string(label))
		label = label[:0]
		return nil
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '.' {
			if err := end(); err != nil {
				return nil, err
			}
			continue
		}
		c, n, err := unescape(s[i:])
		if err != nil {
			return nil, err
		}
		label = append(label, c)
		i += n - 1
	}
	if len(label) > 0 {
		if err := end(); err != nil {
			return nil, err
		}
	}
	return labels, nil
}

// unescape returns the byte at the front of s, which is not empty, and how long its
// written form is.
func unescape(s string) (c byte, n int, err error) {
	if s[0] != '\\' {
		return s[0], 1, nil
	}
	if len(s) < 2 {
		return 0, 0, fmt.Errorf("%w: a lone backslash at the end", ErrName)
	}
	if !isDigit(s[1]) {
		return s[1], 2, nil
	}
	if len(s) < 4 || !isDigit(s[2]) || !isDigit(s[3]) {
		return 0, 0, fmt.Errorf("%w: %q is not \\DDD", ErrName, s[:min(4, len(s))])
	}
	v := int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	if v > 255 {
		return 0, 0, fmt.Errorf("%w: \\%d is not a byte", ErrName, v)
	}
	return byte(v), 4, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func joinLabels(labels []string, escape func(string) string) string {
	var b strings.Builder
	for i, l := range labels {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(escape(l))
	}
	return b.String()
}

// escape writes a label in the form of RFC 6763 section 4.3.
func escape(label string) string {
	return strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(label)
}

// escapeZone writes a label in the form of zone files (RFC 1035 section 5.1), with
// the same choice of escapes as github.com/miekg/dns, so that names from there and
// names from here are equal as strings.
func escapeZone(label string) string {
	var b strings.Builder
	for i := range len(label) {
		switch c := label[i]; {
		case strings.IndexByte(`.\"'@;() `, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// fold returns a name for comparison: A to Z as a to z, nothing else changed (RFC
// 6762 section 16).
func fold(name string) string {
	b := []byte(name)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// trimDot returns a name without the dot of the root.
func trimDot(name string) string { return strings.TrimSuffix(name, ".") }
