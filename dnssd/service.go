package dnssd

import (
	"errors"
	"fmt"
	"strings"
)

// ErrService reports a service that breaks the rules of RFC 6763 section 7.
var ErrService = errors.New("dnssd: bad service")

// serviceNameMax is the most characters of a service name behind its underscore
// (RFC 6763 section 7.2).
const serviceNameMax = 15

// enumeration is the service whose PTR records list services (RFC 6763 section 9).
const enumeration = "_services._dns-sd._udp"

// Service says what is spoken, and to which kind of instance: "_ipp._tcp", perhaps
// with a subtype. Comparable; case is kept and does not matter on the network.
type Service struct {
	// Type is two labels, the application protocol and "_tcp" or, for every other
	// transport, "_udp" (RFC 6763 section 7): "_ipp._tcp".
	Type string
	// Subtype is one label of arbitrary bytes (section 7.1). "" means all instances.
	Subtype string
}

// ParseService reads "_http._tcp", with a subtype "_printer._sub._http._tcp" or, as
// dns-sd(1) writes it, "_http._tcp,_printer". A final dot and the domain local are
// let pass. It fails with [ErrService] when there are not an underscore name and
// "_tcp" or "_udp". It does not insist on the letters and the length that section 7
// asks for, since there are devices that break these rules and must be found: see
// [Service.Validate].
func ParseService(s string) (Service, error) {
	rest, subtype, comma := strings.Cut(s, ",")
	labels, err := splitLabels(rest)
	if err != nil {
		return Service{}, fmt.Errorf("%w: %q: %w", ErrService, s, err)
	}
	if n := len(labels); n > 2 && fold(labels[n-1]) == Local {
		labels = labels[:n-1]
	}
	if len(labels) == 4 && fold(labels[1]) == "_sub" && !comma {
		labels, subtype, comma = labels[2:], labels[0], true
	}
	if len(labels) != 2 || !looksLikeService(labels[0], labels[1]) || comma && (subtype == "" || len(subtype) > labelMax) {
		return Service{}, fmt.Errorf("%w: %q, want _NAME._tcp or _NAME._udp", ErrService, s)
	}
	return Service{joinLabels(labels, escapeZone), subtype}, nil
}

// looksLikeService reports whether two labels have the form of a service.
func looksLikeService(name, proto string) bool {
	p := fold(proto)
	return len(name) > 1 && name[0] == '_' && !strings.Contains(name, ",") && (p == "_tcp" || p == "_udp")
}

// String returns the service as section 7.1 writes it: "_printer._sub._http._tcp". A
// comma in a subtype is written \044, since [ParseService] cuts there.
func (s Service) String() string {
	if s.Subtype == "" {
		return s.Type
	}
	return strings.ReplaceAll(escape(s.Subtype), ",", `\044`) + "._sub." + s.Type
}

// Validate fails with [ErrService] when the name is not what may be registered: 1 to
// 15 letters, digits and hyphens, at least one letter, a letter or digit at either
// end, no two hyphens side by side (RFC 6763 section 7, RFC 6335 section 5.1).
func (s Service) Validate() error {
	name, _, _ := strings.Cut(s.Type, ".")
	name = strings.TrimPrefix(name, "_")
	letters, plain := 0, true
	for i := range len(name) {
		switch c := name[i] | 0x20; {
		case 'a' <= c && c <= 'z':
			letters++
		case isDigit(name[i]), name[i] == '-':
		default:
			plain = false
		}
	}
	switch {
	case len(name) == 0 || len(name) > serviceNameMax:
		return fmt.Errorf("%w: %q has %d characters behind the underscore, want 1 to %d", ErrService, s.Type, len(name), serviceNameMax)
	case !plain:
		return fmt.Errorf("%w: %q has more than letters, digits and hyphens", ErrService, s.Type)
	case letters == 0:
		return fmt.Errorf("%w: %q has no letter", ErrService, s.Type)
	case name[0] == '-' || name[len(name)-1] == '-' || strings.Contains(name, "--"):
		return fmt.Errorf("%w: %q has a hyphen at an end or two in a row", ErrService, s.Type)
	}
	return nil
}

// browseName is the name of the PTR records that list the instances.
func (s Service) browseName(domain string) string {
	if s.Subtype == "" {
		return s.Type + "." + domain + "."
	}
	return escapeZone(s.Subtype) + "._sub." + s.Type + "." + domain + "."
}
