package dnssd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// DomainMax is the most domains that a [DomainEnumerator] keeps, one on two
// interfaces counting twice.
const DomainMax = 256

// DomainKind is what a domain is recommended for (RFC 6763 section 11).
type DomainKind int

// The five kinds, each with its label.
const (
	// BrowseDomains are those to browse in: b.
	BrowseDomains DomainKind = iota
	// DefaultBrowseDomain is the one to browse in: db.
	DefaultBrowseDomain
	// RegisterDomains are those to register in: r.
	RegisterDomains
	// DefaultRegisterDomain is the one to register in: dr.
	DefaultRegisterDomain
	// AutomaticDomains are those to browse in for a program that names none: lb.
	AutomaticDomains
)

var domainLabels = [...]string{"b", "db", "r", "dr", "lb"}

// ErrDomainKind reports a label that is none of b, db, r, dr and lb.
var ErrDomainKind = errors.New("dnssd: no kind of domain")

// ParseDomainKind reads a label: "b", "db", "r", "dr" or "lb". It fails with
// [ErrDomainKind].
func ParseDomainKind(s string) (DomainKind, error) {
	if i := slices.Index(domainLabels[:], fold(s)); i >= 0 {
		return DomainKind(i), nil
	}
	return 0, fmt.Errorf("%w: %q, want b, db, r, dr or lb", ErrDomainKind, s)
}

// String returns the label.
func (k DomainKind) String() string {
	if k < 0 || int(k) >= len(domainLabels) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return domainLabels[k]
}

// Question is what to ask in a domain, or in what [SubnetDomain] returns:
// "lb._dns-sd._udp.example.com.".
func (k DomainKind) Question(in string) mdns.Question {
	return mdns.Question{Name: k.String() + "._dns-sd._udp." + dns.Fqdn(in), Type: dns.TypePTR}
}

// SubnetDomain returns the reverse name of the lowest address of p's subnet, under
// which domains may be recommended to everybody on it (RFC 6763 section 11):
// "0.0.168.192.in-addr.arpa." of 192.168.12.34/16. ok is false for addresses that
// nobody is to ask for: link-local, loopback, multicast and unspecified ones.
func SubnetDomain(p netip.Prefix) (domain string, ok bool) {
	a := p.Addr().Unmap().WithZone("")
	if !p.IsValid() || a.IsLinkLocalUnicast() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() {
		return "", false
	}
	bits := p.Bits()
	if p.Addr().Is4In6() {
		bits -= 96
	}
	base, err := a.Prefix(bits)
	if err != nil {
		return "", false
	}
	domain, err = dns.ReverseAddr(base.Addr().String())
	return domain, err == nil
}

// DomainEvent says that a domain is recommended, or no longer.
type DomainEvent struct {
	// Op is Add or Remove.
	Op   Op
	Kind DomainKind
	// Domain is the domain, "local" or "example.com", in zone file form.
	Domain string
	// Source is the domain in which it was learned: "local", "example.com", or the
	// reverse name of a subnet, "0.0.168.192.in-addr.arpa".
	Source string
	// Interface is where it was heard; "" from a DNS server.
	Interface string
	// Reason says why it was removed; mdns.Answered otherwise.
	Reason mdns.Reason
}

// DomainEnumerator is the engine that lists the domains of one kind that are
// recommended in one domain (RFC 6763 section 11). It is not safe for concurrent use.
type DomainEnumerator struct {
	kind    DomainKind
	source  string
	known   map[place]bool
	ev      []DomainEvent
	dropped int
}

// NewDomainEnumerator returns an enumerator that asks in a domain; "" means local.
func NewDomainEnumerator(kind DomainKind, in string) *DomainEnumerator {
	if in = trimDot(in); in == "" {
		in = Local
	}
	return &DomainEnumerator{kind: kind, source: in, known: make(map[place]bool)}
}

// Question returns the one question whose changes HandleChange wants.
func (e *DomainEnumerator) Question() mdns.Question { return e.kind.Question(e.source) }

// HandleChange takes the change of a record. The root is not a domain to browse in
// and is ignored like what is malformed.
func (e *DomainEnumerator) HandleChange(_ time.Time, c mdns.Change) {
	target, ok := c.Record.Target()
	labels, err := splitLabels(target)
	if c.Record.Type != dns.TypePTR || !ok || target == "." || err != nil || len(labels) == 0 {
		e.dropped++
		return
	}
	at := place{c.IfIndex, fold(target)}
	ev := DomainEvent{
		Op: Add, Kind: e.kind, Domain: joinLabels(labels, escapeZone), Source: e.source, Interface: c.Interface,
	}
	switch known := e.known[at]; {
	case c.Op == mdns.Remove && known:
		delete(e.known, at)
		ev.Op, ev.Reason = Remove, c.Reason
	case c.Op == mdns.Remove || known:
		return
	case len(e.known) >= DomainMax:
		e.dropped++
		return
	default:
		e.known[at] = true
	}
	e.ev = append(e.ev, ev)
}

// Events returns what became of domains and forgets it.
func (e *DomainEnumerator) Events() []DomainEvent {
	ev := e.ev
	e.ev = nil
	return ev
}

// Dropped returns how many records were ignored: malformed, or over DomainMax.
func (e *DomainEnumerator) Dropped() int { return e.dropped }
