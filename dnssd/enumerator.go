package dnssd

import (
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// TypeMax is the most services that an [Enumerator] keeps, one on two interfaces
// counting twice.
const TypeMax = 1024

// Enumerator is the engine that lists the services on offer (RFC 6763 section 9). It
// is not safe for concurrent use.
type Enumerator struct {
	domain  string
	known   map[place]bool
	ev      []TypeEvent
	dropped int
}

// NewEnumerator returns an Enumerator of domain; "" means local.
func NewEnumerator(domain string) *Enumerator {
	if domain = trimDot(domain); domain == "" {
		domain = Local
	}
	return &Enumerator{domain: domain, known: make(map[place]bool)}
}

// Question returns the one question whose changes HandleChange wants.
func (e *Enumerator) Question() mdns.Question {
	return mdns.Question{Name: enumeration + "." + e.domain + ".", Type: dns.TypePTR}
}

// HandleChange takes the change of a record. What does not name a service is ignored.
func (e *Enumerator) HandleChange(_ time.Time, c mdns.Change) {
	target, ok := c.Record.Target()
	labels, err := splitLabels(target)
	if c.Record.Type != dns.TypePTR || !ok || err != nil || len(labels) < 3 || !looksLikeService(labels[0], labels[1]) {
		e.dropped++
		return
	}
	at := place{c.IfIndex, fold(target)}
	ev := TypeEvent{
		Op: Add, Service: joinLabels(labels[:2], escapeZone), Domain: joinLabels(labels[2:], escapeZone), Interface: c.Interface,
	}
	switch known := e.known[at]; {
	case c.Op == mdns.Remove && known:
		delete(e.known, at)
		ev.Op, ev.Reason = Remove, c.Reason
	case c.Op == mdns.Remove || known:
		return
	case len(e.known) >= TypeMax:
		e.dropped++
		return
	default:
		e.known[at] = true
	}
	e.ev = append(e.ev, ev)
}

// Events returns what became of services and forgets it.
func (e *Enumerator) Events() []TypeEvent {
	ev := e.ev
	e.ev = nil
	return ev
}

// Dropped returns how many records were ignored: malformed, or over TypeMax.
func (e *Enumerator) Dropped() int { return e.dropped }
