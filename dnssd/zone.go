package dnssd

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// Bounds of a zone file.
const (
	zoneFileMax    = 1 << 20 // bytes
	zoneRecordsMax = 16 << 10
)

// WriteZone writes instances, as [Browse] finds them, as a zone file (RFC 1035 section
// 5) for a DNS server of domain; "" means local. Names within the instances' own
// domain, of hosts too, move to that one, so that what a link offers can be served to
// others; link-local addresses are then left out. An instance that was found on
// several interfaces is written once, with all its addresses. It fails with what
// [Instance.Records] fails with, or as w does.
func WriteZone(w io.Writer, domain string, instances []Instance) error {
	labels, err := splitLabels(domain)
	if err != nil {
		return err
	}
	z := zoneWriter{domain: joinLabels(labels, escapeZone), written: make(map[string]bool)}
	if z.domain == "" {
		z.domain = Local
	}
	fmt.Fprintf(&z.b, "$ORIGIN %s.\n$TTL %d\n\n; Where to browse.\n", z.domain, mdns.OtherTTL)
	z.line("b._dns-sd._udp", "PTR", "@")
	z.line("lb._dns-sd._udp", "PTR", "@")
	for _, i := range instances {
		if err := z.instance(i); err != nil {
			return err
		}
	}
	if len(z.hosts) > 0 {
		z.b.WriteString("\n; Hosts.\n")
	}
	for _, line := range z.hosts {
		z.b.WriteString(line)
	}
	if _, err := w.Write(z.b.Bytes()); err != nil {
		return fmt.Errorf("dnssd: zone file: %w", err)
	}
	return nil
}

// zoneWriter collects the lines of a zone file, each once.
type zoneWriter struct {
	domain  string
	b       bytes.Buffer
	written map[string]bool
	hosts   []string
}

func (z *zoneWriter) format(name, typ, text string) (string, bool) {
	key := fold(name) + " " + typ + " " + text
	if z.written[key] {
		return "", false
	}
	z.written[key] = true
	return fmt.Sprintf("%-40s %-5s %s\n", name, typ, text), true
}

func (z *zoneWriter) line(name, typ, text string) {
	if s, fresh := z.format(name, typ, text); fresh {
		z.b.WriteString(s)
	}
}

func (z *zoneWriter) instance(i Instance) error {
	own := i.domain()
	i.Domain = ""
	if _, err := i.Records("host.local"); err != nil { // can it be written at all?
		return err
	}
	s, err := ParseService(i.Service)
	if err != nil {
		return err
	}
	full := escapeZone(i.Name) + "." + s.Type
	fmt.Fprintf(&z.b, "\n; %s\n", escapeZone(i.Name))
	z.line(enumeration, "PTR", s.Type)
	z.line(s.Type, "PTR", full)
	subtypes := i.Subtypes
	if s.Subtype != "" {
		subtypes = append(slices.Clone(subtypes), s.Subtype)
	}
	for _, sub := range subtypes {
		z.line(escapeZone(sub)+"._sub."+s.Type, "PTR", full)
	}
	host := ""
	if i.Host != "" {
		if host, err = z.host(i, own); err != nil {
			return err
		}
	}
	if !z.written[fold(full)] {
		z.written[fold(full)] = true
		if host != "" {
			z.line(full, "SRV", fmt.Sprintf("%d %d %d %s", i.Priority, i.Weight, i.Port, host))
		}
		z.line(full, "TXT", zoneStrings(i.TXT))
	}
	return nil
}

// host returns how the host is written, and notes its addresses.
func (z *zoneWriter) host(i Instance, own string) (string, error) {
	labels, err := splitLabels(i.Host)
	if err != nil || len(labels) == 0 {
		return "", fmt.Errorf("%w: host %q", ErrName, i.Host)
	}
	name := joinLabels(labels, escapeZone)
	if inner, ok := strings.CutSuffix(fold(name), "."+fold(own)); ok {
		name = name[:len(inner)]
	} else {
		name += "."
	}
	for _, a := range i.Addresses {
		a = a.Unmap().WithZone("")
		if a.IsLinkLocalUnicast() && fold(z.domain) != Local {
			continue
		}
		typ := "AAAA"
		if a.Is4() {
			typ = "A"
		}
		if s, fresh := z.format(name, typ, a.String()); fresh {
			z.hosts = append(z.hosts, s)
		}
	}
	return name, nil
}

// zoneStrings writes attributes as the strings of a TXT record.
func zoneStrings(t TXT) string {
	if len(t) == 0 {
		return `""`
	}
	list := make([]string, len(t))
	for i, a := range t {
		var b strings.Builder
		for _, c := range []byte(a.String()) {
			switch {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c > '~':
				fmt.Fprintf(&b, `\%03d`, c)
			default:
				b.WriteByte(c)
			}
		}
		list[i] = `"` + b.String() + `"`
	}
	return strings.Join(list, " ")
}

// ParseZone reads the instances in a zone file: those that a PTR record of a service
// lists, with subtypes, host, port, attributes and the addresses of the host. Names
// that are not complete are in domain; "" means local. Of several SRV records of one
// instance the one of lowest priority and highest weight counts; records that belong
// to no instance are ignored, the stakes of section 8 among them. $INCLUDE is not
// followed. It fails with [ErrFile], with file and line, for what is no zone file, is
// over 1 MiB, has more than 16384 records, or lists an instance without an SRV record.
func ParseZone(r io.Reader, file, domain string) ([]Instance, error) {
	text, err := readBounded(r, file, zoneFileMax)
	if err != nil {
		return nil, err
	}
	if domain = trimDot(domain); domain == "" {
		domain = Local
	}
	z := zoneReader{sets: make(map[recordKey][]mdns.Record), found: make(map[string]*Instance), lines: make(map[string]int)}
	lines := &lineReader{r: strings.NewReader(text)}
	zp := dns.NewZoneParser(lines, domain+".", file)
	zp.SetDefaultTTL(mdns.OtherTTL)
	n := 0
	for rr, ok := zp.Next(); ok; rr, ok = zp.Next() {
		if n++; n > zoneRecordsMax {
			return nil, fmt.Errorf("%w: %s:%d: more than %d records", ErrFile, file, lines.line(), zoneRecordsMax)
		}
		z.line = lines.line()
		if err := z.take(rr); err != nil {
			return nil, fmt.Errorf("%w: %s:%d: %w", ErrFile, file, z.line, err)
		}
	}
	if err := zp.Err(); err != nil { // names file and line
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	for _, key := range z.order {
		if err := z.complete(z.found[key]); err != nil {
			return nil, fmt.Errorf("%w: %s:%d: %w", ErrFile, file, z.lines[key], err)
		}
	}
	list := make([]Instance, len(z.order))
	for i, key := range z.order {
		list[i] = *z.found[key]
	}
	return list, nil
}

// zoneReader sorts the records of a zone.
type zoneReader struct {
	sets  map[recordKey][]mdns.Record // of SRV, TXT, A and AAAA
	order []string                    // folded names, as they were listed
	found map[string]*Instance
	lines map[string]int // where each was listed first
	line  int            // of the record at hand
}

// lineReader counts the lines that the zone parser, which reads byte by byte, has taken.
type lineReader struct {
	r *strings.Reader
	n int
	// inLine is false right behind the end of a line.
	inLine bool
}

// ReadByte returns the next byte.
func (l *lineReader) ReadByte() (byte, error) {
	c, err := l.r.ReadByte()
	if err == nil && !l.inLine {
		l.n++
	}
	l.inLine = err == nil && c != '\n' || err != nil && l.inLine
	return c, err
}

// Read is there for the io.Reader that the parser takes; it uses ReadByte.
func (l *lineReader) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	c, err := l.ReadByte()
	if err != nil {
		return 0, err
	}
	b[0] = c
	return 1, nil
}

// line returns the line of the byte that was read last, from 1.
func (l *lineReader) line() int { return l.n }

func (z *zoneReader) take(rr dns.RR) error {
	h := rr.Header()
	switch h.Rrtype {
	case dns.TypePTR, dns.TypeSRV, dns.TypeTXT, dns.TypeA, dns.TypeAAAA:
	default:
		return nil
	}
	rec, err := mdns.FromRR(rr)
	if err != nil {
		return err
	}
	if h.Rrtype == dns.TypePTR {
		return z.pointer(rec)
	}
	key := recordKey{place{0, fold(rec.Name)}, rec.Type}
	if len(z.sets[key]) >= setMax {
		return fmt.Errorf("%s has more than %d records of type %s", rec.Name, setMax, dns.Type(rec.Type))
	}
	z.sets[key] = append(z.sets[key], rec)
	return nil
}

// pointer takes a PTR record, if it lists an instance of a service or a subtype.
func (z *zoneReader) pointer(rec mdns.Record) error {
	labels, err := splitLabels(rec.Name)
	if err != nil || len(labels) < 3 {
		return nil //nolint:nilerr // it is of something else
	}
	subtype := ""
	if len(labels) > 4 && fold(labels[1]) == "_sub" {
		subtype, labels = labels[0], labels[2:]
	}
	target, _ := rec.Target()
	name, err := ParseName(target)
	if !looksLikeService(labels[0], labels[1]) || err != nil {
		return nil //nolint:nilerr // it lists services or domains
	}
	key := fold(name.Presentation())
	i := z.found[key]
	if i == nil {
		if len(z.order) >= InstanceMax {
			return fmt.Errorf("more than %d instances", InstanceMax)
		}
		i = &Instance{Name: name.Instance, Service: name.Service, Domain: name.Domain}
		z.found[key], z.order, z.lines[key] = i, append(z.order, key), z.line
	}
	if subtype == "" || slices.Contains(i.Subtypes, subtype) {
		return nil
	}
	if len(i.Subtypes) >= subtypesMax {
		return fmt.Errorf("%s has more than %d subtypes", i.FullName(), subtypesMax)
	}
	i.Subtypes = append(i.Subtypes, subtype)
	return nil
}

// complete fills in what the records of an instance say.
func (z *zoneReader) complete(i *Instance) error {
	at := place{0, fold(i.FullName().Presentation())}
	var best target
	for n, rec := range z.sets[recordKey{at, dns.TypeSRV}] {
		t, err := parseTarget(rec.Data)
		if err != nil {
			return err
		}
		if n == 0 || t.priority < best.priority || t.priority == best.priority && t.weight > best.weight {
			best = t
		}
	}
	if trimDot(best.host) == "" { // the root says that it is not to be had (RFC 2782)
		return fmt.Errorf("%s is listed and has no SRV record with a host", i.FullName())
	}
	i.Host, i.Port, i.Priority, i.Weight = trimDot(best.host), best.port, best.priority, best.weight
	if set := z.sets[recordKey{at, dns.TypeTXT}]; len(set) > 0 {
		txt, err := ParseTXT(set[len(set)-1].Data)
		if err != nil {
			return fmt.Errorf("%s: %w", i.FullName(), err)
		}
		i.TXT = txt
	}
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, rec := range z.sets[recordKey{place{0, fold(best.host)}, typ}] {
			if a, ok := rec.Addr(); ok {
				i.Addresses = append(i.Addresses, a)
			}
		}
	}
	slices.SortFunc(i.Addresses, netip.Addr.Compare)
	i.Addresses = slices.Compact(i.Addresses)
	return nil
}
