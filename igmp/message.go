package igmp

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Errors of the parsers. A [ParseError] around them says where and why.
var (
	// ErrNotGroupProtocol reports a frame or packet that carries neither IGMP nor
	// MLD, and is therefore none of this package's business.
	ErrNotGroupProtocol = errors.New("not IGMP or MLD")
	// ErrChecksum reports a message or an IPv4 header whose checksum is wrong.
	ErrChecksum = errors.New("checksum is wrong")
	// ErrLength reports a query whose length belongs to no version; it must be
	// silently ignored (RFC 9776 section 7.1).
	ErrLength = errors.New("length of no version")
)

// ParseError says where a message is malformed.
type ParseError struct {
	// Offset is where, in bytes from the first byte that the parser was given.
	Offset int
	// Reason is what is wrong there, in English.
	Reason string
	// Err is one of the package's errors, or nil.
	Err error
}

// Error returns the reason with its offset.
func (e *ParseError) Error() string {
	return fmt.Sprintf("igmp: at byte %d: %s", e.Offset, e.Reason)
}

// Unwrap returns the sentinel that the error is a case of, or nil.
func (e *ParseError) Unwrap() error { return e.Err }

// Version is a version of the protocol in IGMP's numbering: 1, 2 or 3. MLDv1 is
// 2 and MLDv2 is 3, since they are IGMPv2 and IGMPv3 for IPv6.
type Version uint8

// The versions.
const (
	V1 Version = 1 // RFC 1112 appendix I
	V2 Version = 2 // RFC 2236; MLDv1, RFC 2710
	V3 Version = 3 // RFC 9776, formerly 3376; MLDv2, RFC 9777, formerly 3810
)

// String returns "v1", "v2" or "v3".
func (v Version) String() string { return fmt.Sprintf("v%d", uint8(v)) }

// Message is one of *[Query], *[Report], *[Leave] and *[Unknown].
type Message interface {
	// Kind returns "query", "report", "leave" or "unknown".
	Kind() string
}

// Query is what a querier asks (RFC 9776 section 4.1): for all groups (general),
// for one group, or for sources of one group.
//
//	0      1        2        4             8           9     10     12
//	┌──────┬────────┬────────┬─────────────┬───────────┬─────┬──────┬─────────┐
//	│ 0x11 │max resp│checksum│group address│flags S QRV│QQIC │n     │n sources│
//	└──────┴────────┴────────┴─────────────┴───────────┴─────┴──────┴─────────┘
//	versions 1 and 2 end here ─────────────┘
type Query struct {
	// Version follows from the length and, between 1 and 2, from the code.
	Version Version
	// Group is the group asked for; the zero Addr in a general query. RFC 1112
	// has receivers ignore it in version 1.
	Group netip.Addr
	// MaxResponse is the time in which to answer. It is 0 in version 1, where
	// receivers take 10 s. In version 3 the wire carries only some values; see
	// [Packet.Append].
	MaxResponse time.Duration
	// Suppress is the S flag: other routers must not lower their timers.
	Suppress bool
	// Flags are the four bits before S, reserved once and flags since RFC 9279;
	// 0 to 15.
	Flags uint8
	// Robustness is the QRV, 0 to 7; 0 means none given. More than 7 is sent as 0
	// (RFC 9776 section 4.1.6).
	Robustness uint8
	// Interval is the QQI; 0 means none given.
	Interval time.Duration
	// Sources are those asked for; none in a general or group-specific query.
	Sources []netip.Addr
	// Additional is what follows the last field: covered by the checksum, and
	// ignored (RFC 9776 section 4.1.10).
	Additional []byte
}

// Kind returns "query".
func (*Query) Kind() string { return "query" }

// IsGeneral reports whether q asks for all groups.
func (q *Query) IsGeneral() bool {
	return !q.Group.IsValid() || q.Group.IsUnspecified() || q.Version == V1
}

// String returns the query in one line.
func (q *Query) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v ", q.Version)
	switch {
	case q.IsGeneral():
		b.WriteString("general query")
	case len(q.Sources) == 0:
		fmt.Fprintf(&b, "query %v", q.Group)
	default:
		fmt.Fprintf(&b, "query %v sources %v", q.Group, q.Sources)
	}
	if q.Version != V1 {
		fmt.Fprintf(&b, " within %v", q.MaxResponse)
	}
	if q.Version == V3 {
		fmt.Fprintf(&b, " robustness %d interval %v", q.Robustness, q.Interval)
	}
	if q.Suppress {
		b.WriteString(" suppress")
	}
	return b.String()
}

// Report is what a host says about the groups it listens to: one group in
// versions 1 and 2, records in version 3 (RFC 9776 section 4.2).
type Report struct {
	// Version is told by the type.
	Version Version
	// Group is the group of version 1 or 2.
	Group netip.Addr
	// Records are those of version 3, unknown types included.
	Records []Record
	// Flags are the 16 bits before the number of records of version 3: reserved
	// once, flags since RFC 9279.
	Flags uint16
	// Additional is what follows the last field, ignored.
	Additional []byte
}

// Kind returns "report".
func (*Report) Kind() string { return "report" }

// String returns the report in one line.
func (r *Report) String() string {
	if r.Version != V3 {
		return fmt.Sprintf("%v report %v", r.Version, r.Group)
	}
	parts := make([]string, len(r.Records))
	for i, rec := range r.Records {
		parts[i] = rec.String()
	}
	return fmt.Sprintf("%v report %s", r.Version, strings.Join(parts, ", "))
}

// Leave says that the last member of a group on this host has left: the leave of
// IGMPv2 (RFC 2236 section 2.1) or the done of MLDv1 (RFC 2710 section 3).
type Leave struct {
	// Group is the group left.
	Group netip.Addr
	// Additional is what follows the last field, ignored.
	Additional []byte
}

// Kind returns "leave".
func (*Leave) Kind() string { return "leave" }

// String returns the leave in one line.
func (l *Leave) String() string { return fmt.Sprintf("leave %v", l.Group) }

// Unknown is a message of another type, such as those of multicast router
// discovery (RFC 4286). Hosts and routers ignore it, switches flood it.
type Unknown struct {
	// Type is the first byte.
	Type uint8
	// Code is the second byte.
	Code uint8
	// Body is what follows the checksum.
	Body []byte
}

// Kind returns "unknown".
func (*Unknown) Kind() string { return "unknown" }

// String returns the message in one line.
func (u *Unknown) String() string { return fmt.Sprintf("unknown type %#02x", u.Type) }

// RecordType is what a [Record] says (RFC 9776 section 4.2.13).
type RecordType uint8

// The types of records: two for the current state, two for a change of the
// filter mode, two for a change of the list of sources.
const (
	ModeIsInclude   RecordType = 1
	ModeIsExclude   RecordType = 2
	ChangeToInclude RecordType = 3
	ChangeToExclude RecordType = 4
	AllowNewSources RecordType = 5
	BlockOldSources RecordType = 6
)

// IsKnown reports whether t is one of the six types. Records of others are
// ignored one by one (RFC 9776 section 4.2.13).
func (t RecordType) IsKnown() bool { return t >= ModeIsInclude && t <= BlockOldSources }

var recordNames = [...]string{"", "is_in", "is_ex", "to_in", "to_ex", "allow", "block"}

// String returns the abbreviation of RFC 9776 section 4.2.13, in lower case:
// is_in, is_ex, to_in, to_ex, allow or block.
func (t RecordType) String() string {
	if !t.IsKnown() {
		return fmt.Sprintf("type%d", uint8(t))
	}
	return recordNames[t]
}

// Record is one group record of a version 3 report (RFC 9776 section 4.2.4).
type Record struct {
	// Type may be unknown; see [RecordType.IsKnown].
	Type RecordType
	// Group is the group spoken of.
	Group netip.Addr
	// Sources are the source addresses, in the order of the wire.
	Sources []netip.Addr
	// Aux is the auxiliary data: a multiple of four bytes, at most 1020. It is
	// skipped by all that is defined today (RFC 9776 section 4.2.10).
	Aux []byte
}

// String returns the type, the group and the sources.
func (r Record) String() string {
	if len(r.Sources) == 0 {
		return fmt.Sprintf("%v %v", r.Type, r.Group)
	}
	return fmt.Sprintf("%v %v %v", r.Type, r.Group, r.Sources)
}

// Packet is an IP packet that carries a message. The family of Dst tells IGMP
// from MLD.
type Packet struct {
	// Src and Dst are the addresses of the IP header. The zero Addr as Src stands
	// for 0.0.0.0 or ::.
	Src, Dst netip.Addr
	// TTL is the time to live or hop limit.
	TTL uint8
	// TOS is the type of service or traffic class.
	TOS uint8
	// RouterAlert tells whether the router alert option is there (RFC 2113 and
	// 2711).
	RouterAlert bool
	// Message is what is carried.
	Message Message
}

// tosControl is IP precedence "internetwork control" (RFC 9776 section 4).
const tosControl = 0xc0

// NewPacket returns a packet with the header that RFC 9776 section 4 and RFC
// 9777 section 5 ask for: TTL 1, the router alert option and, for IPv4, type of
// service 0xc0.
func NewPacket(src, dst netip.Addr, m Message) Packet {
	p := Packet{Src: src, Dst: dst, TTL: 1, RouterAlert: true, Message: m}
	if dst.Is4() {
		p.TOS = tosControl
	}
	return p
}

// String returns the packet in one line.
func (p Packet) String() string { return fmt.Sprintf("%v > %v: %v", p.Src, p.Dst, p.Message) }

// Groups returns the groups that p's message is about, in order and each once:
// none for a general query or an unknown message.
func (p Packet) Groups() []netip.Addr {
	var groups []netip.Addr
	switch m := p.Message.(type) {
	case *Query:
		if !m.IsGeneral() {
			groups = append(groups, m.Group)
		}
	case *Leave:
		groups = append(groups, m.Group)
	case *Report:
		if m.Version != V3 {
			return append(groups, m.Group)
		}
		seen := make(map[netip.Addr]bool)
		for _, r := range m.Records {
			if !seen[r.Group] {
				seen[r.Group] = true
				groups = append(groups, r.Group)
			}
		}
	}
	return groups
}

// HardwareAddr is an Ethernet (IEEE 802) address.
type HardwareAddr [6]byte

// String returns six hexadecimal bytes with colons between them.
func (h HardwareAddr) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4], h[5])
}
