package mdns

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Times to live, in seconds (RFC 6762 section 10).
const (
	// HostTTL is for records that hold a host name or an address.
	HostTTL = 120
	// OtherTTL is for all other records: 75 minutes.
	OtherTTL = 4500
	// legacyTTL is the most a legacy querier is told (section 6.7).
	legacyTTL = 10
)

// flushBit is the cache-flush bit of a record's class and the unicast-response
// bit of a question's class (RFC 6762 sections 18.12, 18.13).
const flushBit = 0x8000

// ErrName reports a name that cannot be put on the wire.
var ErrName = errors.New("not a domain name")

// Record is one resource record.
type Record struct {
	// Name is the owner in presentation form, fully qualified, with its case.
	Name string
	// Type is the record type, dns.TypeA say.
	Type uint16
	// Class is the class without the cache-flush bit; 0 in a record to be
	// published means 1, Internet.
	Class uint16
	// Flush marks a member of a unique record set: in a record to be published
	// it says that this machine alone may have the name.
	Flush bool
	// TTL is the time to live in seconds. 0 in a received record is a goodbye.
	TTL uint32
	// Data is the rdata in wire form, names in it not compressed.
	Data []byte
}

// Question is what a querier wants to know: records of one name and type in the
// class Internet. The type dns.TypeANY matches all types.
type Question struct {
	Name string
	Type uint16
}

// FromRR converts rr. The top bit of its class becomes Flush. It fails with
// [ErrName] or with what miekg/dns finds wrong.
func FromRR(rr dns.RR) (Record, error) {
	b := make([]byte, dns.Len(rr)+256)
	n, err := dns.PackRR(rr, b, 0, nil, false)
	if err != nil {
		return Record{}, fmt.Errorf("mdns: record %s: %w", rr.Header().Name, err)
	}
	r, _, err := parseRecord(b[:n], 0)
	if err != nil {
		return Record{}, fmt.Errorf("mdns: record %s: %w", rr.Header().Name, err)
	}
	return r, nil
}

// RR converts r; Flush becomes the top bit of the class.
func (r Record) RR() (dns.RR, error) {
	b, err := appendName(nil, r.Name)
	if err != nil {
		return nil, fmt.Errorf("mdns: record %s: %w", r.Name, err)
	}
	b = binary.BigEndian.AppendUint16(b, r.Type)
	b = binary.BigEndian.AppendUint16(b, r.wireClass())
	b = binary.BigEndian.AppendUint32(b, r.TTL)
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Data)))
	rr, _, err := dns.UnpackRR(append(b, r.Data...), 0)
	if err != nil {
		return nil, fmt.Errorf("mdns: record %s: %w", r.Name, err)
	}
	return rr, nil
}

// String returns r in zone file form with the class as plain Internet, or the
// rdata in hexadecimal when miekg/dns does not understand it.
func (r Record) String() string {
	flush := r.Flush
	r.Flush = false
	rr, err := r.RR()
	s := fmt.Sprintf("%s %d %s %x", r.Name, r.TTL, dns.Type(r.Type), r.Data)
	if err == nil {
		s = strings.ReplaceAll(rr.String(), "\t", " ")
	}
	if flush {
		s += " (flush)"
	}
	return s
}

// Addr returns the address in an A or AAAA record.
func (r Record) Addr() (netip.Addr, bool) {
	if r.Type != dns.TypeA && r.Type != dns.TypeAAAA {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(r.Data)
}

// denies reports whether r is an NSEC record that says of none of types that there is a
// record (RFC 6762 section 6.1).
func (r Record) denies(types ...uint16) bool {
	if r.Type != dns.TypeNSEC {
		return false
	}
	rr, err := r.RR()
	nsec, ok := rr.(*dns.NSEC)
	return err == nil && ok && !slices.ContainsFunc(types, func(t uint16) bool { return slices.Contains(nsec.TypeBitMap, t) })
}

// Target returns the name in a record that points to one: PTR, CNAME, SRV, NS.
func (r Record) Target() (string, bool) {
	layout, ok := rdataLayouts[r.Type]
	if !ok || layout.names == 0 || len(r.Data) < layout.fixed {
		return "", false
	}
	name, _, err := dns.UnpackDomainName(r.Data, layout.fixed)
	return name, err == nil
}

func (r Record) wireClass() uint16 {
	if r.Flush {
		return r.Class | flushBit
	}
	return r.Class
}

// rrset names a set of records: one name, type and class.
type rrset struct {
	name     string // folded
	typ, cls uint16
}

// identity names one record: a set and its rdata.
type identity struct {
	rrset
	data string
}

func (r Record) rrset() rrset       { return rrset{foldName(r.Name), r.Type, r.Class} }
func (r Record) identity() identity { return identity{r.rrset(), string(r.Data)} }

// answers reports whether r answers q (RFC 6762 section 6).
func (r Record) answers(q Question) bool {
	return (q.Type == r.Type || q.Type == dns.TypeANY || r.Type == dns.TypeCNAME) && sameName(r.Name, q.Name)
}

// halfOf reports whether r has at least half the life of own (RFC 6762 sections
// 6.6, 7.1).
func (r Record) halfOf(own Record) bool { return 2*uint64(r.TTL) >= uint64(own.TTL) }

// compareRecords is the order of tie-breaking: class without the flush bit, type,
// rdata as unsigned bytes (RFC 6762 section 8.2).
func compareRecords(a, b Record) int {
	return cmp.Or(cmp.Compare(a.Class, b.Class), cmp.Compare(a.Type, b.Type), bytes.Compare(a.Data, b.Data))
}

// compareSets compares two sorted sets pairwise; when one runs out first, the
// longer is the later (RFC 6762 section 8.2.1).
func compareSets(a, b []Record) int { return slices.CompareFunc(a, b, compareRecords) }

// foldName returns name with A to Z as a to z, and nothing else changed (RFC
// 6762 section 16).
func foldName(name string) string {
	for i := range len(name) {
		if c := name[i]; 'A' <= c && c <= 'Z' {
			b := []byte(name)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return name
}

func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	if a == b {
		return true
	}
	for i := range len(a) {
		if x, y := a[i], b[i]; x != y && foldByte(x) != foldByte(y) {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// canonicalName returns name as the parser would give it: fully qualified, in the
// one escaping that is used inside, case kept.
func canonicalName(name string) (string, error) {
	b, err := appendName(nil, dns.Fqdn(name))
	if err != nil {
		return "", err
	}
	s, _, err := dns.UnpackDomainName(b, 0)
	if err != nil {
		return "", fmt.Errorf("%w: %q: %w", ErrName, name, err)
	}
	return s, nil
}

// canonicalRecord returns r ready to be published.
func canonicalRecord(r Record) (Record, error) {
	name, err := canonicalName(r.Name)
	if err != nil {
		return r, err
	}
	r.Name = name
	if r.Class == 0 {
		r.Class = dns.ClassINET
	}
	if r.Data, err = plainData(r.Type, r.Data, 0, len(r.Data)); err != nil {
		return r, fmt.Errorf("%s %s: %w", name, dns.Type(r.Type), err)
	}
	return r, nil
}

// appendName appends name in wire form, not compressed.
func appendName(b []byte, name string) ([]byte, error) {
	var buf [256]byte
	n, err := dns.PackDomainName(name, buf[:], 0, nil, false)
	if err != nil || n > 255 {
		return b, fmt.Errorf("%w: %q", ErrName, name)
	}
	return append(b, buf[:n]...), nil
}

// addressRecord returns the A or AAAA record of a host.
func addressRecord(host string, a netip.Addr) Record {
	a = a.Unmap().WithZone("")
	typ := dns.TypeAAAA
	if a.Is4() {
		typ = dns.TypeA
	}
	return Record{Name: host, Type: typ, Class: dns.ClassINET, Flush: true, TTL: HostTTL, Data: a.AsSlice()}
}

// reverseRecord returns the PTR record from an address to a host (RFC 6762
// section 4).
func reverseRecord(host string, a netip.Addr) (Record, error) {
	name, err := dns.ReverseAddr(a.Unmap().WithZone("").String())
	if err != nil {
		return Record{}, err
	}
	data, err := appendName(nil, host)
	return Record{Name: name, Type: dns.TypePTR, Class: dns.ClassINET, Flush: true, TTL: HostTTL, Data: data}, err
}

// IsLocal reports whether name is in the domain that multicast DNS serves:
// local., or the reverse names of link-local addresses (RFC 6762 sections 3, 4).
func IsLocal(name string) bool {
	name = foldName(dns.Fqdn(name))
	return slices.ContainsFunc(localDomains, func(d string) bool { return dns.IsSubDomain(d, name) })
}

var localDomains = []string{
	"local.", "254.169.in-addr.arpa.", "8.e.f.ip6.arpa.", "9.e.f.ip6.arpa.", "a.e.f.ip6.arpa.", "b.e.f.ip6.arpa.",
}
