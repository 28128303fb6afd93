package dnssd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// ErrDomain reports a domain other than local, the one of multicast DNS.
var ErrDomain = errors.New("dnssd: only the domain local can be served by multicast DNS")

// normalize returns i ready to be registered, or an error that wraps [ErrName],
// [ErrService], [ErrTXT] or [ErrDomain].
func (i Instance) normalize() (Instance, error) {
	name, err := NormalizeInstance(i.Name)
	if err != nil {
		return i, err
	}
	s, err := ParseService(i.Service)
	if err != nil {
		return i, err
	}
	if err := s.Validate(); err != nil {
		return i, err
	}
	i = i.clone()
	i.Name, i.Service, i.Domain = name, s.Type, i.domain()
	if s.Subtype != "" {
		i.Subtypes = append(i.Subtypes, s.Subtype)
	}
	if fold(i.Domain) != Local {
		return i, fmt.Errorf("%w: %q", ErrDomain, i.Domain)
	}
	if i.Flagship != "" {
		f, err := ParseService(i.Flagship)
		if err == nil {
			err = f.Validate()
		}
		if err == nil && f.Subtype != "" {
			err = fmt.Errorf("%w: the flagship %q has a subtype", ErrService, i.Flagship)
		}
		if err != nil {
			return i, err
		}
		if i.Flagship = f.Type; fold(f.Type) == fold(i.Service) {
			i.Flagship = ""
		}
	}
	for _, sub := range i.Subtypes {
		if sub == "" || len(sub) > labelMax {
			return i, fmt.Errorf("%w: subtype %q has %d bytes, want 1 to %d", ErrService, sub, len(sub), labelMax)
		}
	}
	_, err = i.TXT.Append(nil)
	return i, err
}

// Records returns the records of an instance offered by host, "box.local." say (RFC
// 6763 sections 4 to 7 and 9): the unique SRV and TXT records, then shared PTR records
// for the service, each subtype and the list of services; and with a Flagship the SRV
// record that holds its place (section 8). It fails with [ErrName],
// [ErrService], [ErrTXT] or [ErrDomain].
func (i Instance) Records(host string) ([]mdns.Record, error) {
	i, err := i.normalize()
	if err != nil {
		return nil, err
	}
	full := i.FullName().Presentation()
	service := Service{Type: i.Service}.browseName(i.Domain)
	txt, err := i.TXT.Append(nil)
	if err != nil {
		return nil, err
	}
	b := recordBuilder{}
	b.service(full, i, dns.Fqdn(host))
	if name, ok := i.stake(); ok {
		// Without PTR record, since there is nothing to be found; with a host, since
		// two without would seem to agree (RFC 6763 section 8).
		b.service(name.Presentation(), Instance{}, dns.Fqdn(host))
	}
	b.unique(full, dns.TypeTXT, mdns.OtherTTL, txt)
	b.pointer(service, full)
	for _, sub := range i.Subtypes {
		b.pointer(Service{i.Service, sub}.browseName(i.Domain), full)
	}
	b.pointer(enumeration+"."+i.Domain+".", service)
	if b.err != nil {
		return nil, fmt.Errorf("dnssd: records of %s: %w", i.FullName(), b.err)
	}
	return b.records, nil
}

// owns reports whether name is one that the instance's records alone may have.
func (i Instance) owns(name string) bool {
	if fold(name) == fold(i.FullName().Presentation()) {
		return true
	}
	p, ok := i.stake()
	return ok && fold(name) == fold(p.Presentation())
}

// foreignHost returns the host that is another machine, complete, or "" for this one.
func (i Instance) foreignHost() string {
	h := trimDot(i.Host)
	if h != "" && !strings.Contains(h, ".") {
		h += "." + Local
	}
	return h
}

// hostRecords returns the address records of a host that is another machine.
func (i Instance) hostRecords(host string) []mdns.Record {
	b := recordBuilder{}
	for _, a := range i.Addresses {
		b.address(dns.Fqdn(host), a)
	}
	return b.records
}

// recordBuilder collects records and keeps the first error.
type recordBuilder struct {
	records []mdns.Record
	err     error
}

func (b *recordBuilder) name(data []byte, name string) []byte {
	data, err := appendName(data, name)
	if err != nil && b.err == nil {
		b.err = err
	}
	return data
}

// pointer adds a shared record (RFC 6762 section 10: 75 minutes).
func (b *recordBuilder) pointer(from, to string) {
	b.records = append(b.records, mdns.Record{
		Name: from, Type: dns.TypePTR, Class: dns.ClassINET, TTL: mdns.OtherTTL, Data: b.name(nil, to),
	})
}

func (b *recordBuilder) unique(name string, typ uint16, ttl uint32, data []byte) {
	b.records = append(b.records, mdns.Record{
		Name: name, Type: typ, Class: dns.ClassINET, Flush: true, TTL: ttl, Data: data,
	})
}

// service adds the SRV record, which holds a host name and so has its TTL (RFC 6762
// section 10: 2 minutes).
func (b *recordBuilder) service(full string, i Instance, host string) {
	data := binary.BigEndian.AppendUint16(nil, i.Priority)
	data = binary.BigEndian.AppendUint16(data, i.Weight)
	data = binary.BigEndian.AppendUint16(data, i.Port)
	b.unique(full, dns.TypeSRV, mdns.HostTTL, b.name(data, host))
}

func (b *recordBuilder) address(host string, a netip.Addr) {
	a = a.Unmap().WithZone("")
	typ := dns.TypeAAAA
	if a.Is4() {
		typ = dns.TypeA
	}
	b.unique(host, typ, mdns.HostTTL, a.AsSlice())
}

// appendName appends a name in wire form, not compressed.
func appendName(b []byte, name string) ([]byte, error) {
	labels, err := splitLabels(name)
	if err != nil {
		return b, err
	}
	for _, l := range labels {
		b = append(b, byte(len(l)))
		b = append(b, l...)
	}
	return append(b, 0), nil
}

// target is what an SRV record says (RFC 2782).
type target struct {
	priority, weight, port uint16
	host                   string // in zone file form, fully qualified
}

// parseTarget reads the rdata of an SRV record.
func parseTarget(data []byte) (target, error) {
	if len(data) < 7 {
		return target{}, fmt.Errorf("dnssd: SRV record of %d bytes", len(data))
	}
	host, n, err := dns.UnpackDomainName(data, 6)
	if err != nil || n != len(data) {
		return target{}, fmt.Errorf("%w: host in an SRV record", ErrName)
	}
	return target{
		priority: binary.BigEndian.Uint16(data), weight: binary.BigEndian.Uint16(data[2:]),
		port: binary.BigEndian.Uint16(data[4:]), host: host,
	}, nil
}
