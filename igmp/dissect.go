package igmp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Field is one field of a packet, for people to read.
type Field struct {
	// Offset and Length are in bytes; Offset counts from the first byte given to
	// the function that returned it.
	Offset, Length int
	// Name is what the specification calls it; Depth is how far it lies inside
	// others: 0 for those of a header, 1 for those of a record.
	Name  string
	Depth int
	// Value is what it says.
	Value string
	// Wrong is what is the matter with it; empty for what is right.
	Wrong string
}

// dissection collects fields.
type dissection struct {
	b      []byte
	at     int // of the next field
	depth  int
	fields []Field
}

// field takes n bytes as a field; it reports false, and adds a field that says so,
// when they are not there.
func (d *dissection) field(n int, name string, value func(b []byte) string) bool {
	if len(d.b)-d.at < n {
		if len(d.fields) == 0 || d.fields[len(d.fields)-1].Wrong != cutOff {
			d.fields = append(d.fields, Field{Offset: d.at, Length: len(d.b) - d.at, Name: name, Depth: d.depth, Wrong: cutOff})
		}
		d.at = len(d.b)
		return false
	}
	d.fields = append(d.fields, Field{Offset: d.at, Length: n, Name: name, Depth: d.depth, Value: value(d.b[d.at : d.at+n])})
	d.at += n
	return true
}

const cutOff = "cut off"

// wrong marks the last field.
func (d *dissection) wrong(format string, args ...any) {
	d.fields[len(d.fields)-1].Wrong = fmt.Sprintf(format, args...)
}

func number(b []byte) string {
	n := uint64(0)
	for _, x := range b {
		n = n<<8 | uint64(x)
	}
	return fmt.Sprint(n)
}

func inHex(b []byte) string { return fmt.Sprintf("%x", b) }

func address(b []byte) string {
	a, _ := netip.AddrFromSlice(b)
	return a.String()
}

// DissectFrame returns the fields of an Ethernet frame with IGMP or MLD, as far as
// they go. It is lenient: what is wrong is marked, and reading goes on if it can.
func DissectFrame(frame []byte) []Field {
	d := &dissection{b: frame}
	hw := func(b []byte) string { return HardwareAddr(b).String() }
	d.field(6, "destination hardware address", hw)
	d.field(6, "source hardware address", hw)
	for {
		if !d.field(2, "EtherType", inHex) {
			return d.fields
		}
		typ := binary.BigEndian.Uint16(frame[d.at-2:])
		if typ != etherVLAN && typ != etherQinQ && typ != etherQinQ91 {
			break
		}
		d.field(2, "VLAN", func(b []byte) string { return fmt.Sprint(binary.BigEndian.Uint16(b) & 0x0fff) })
	}
	return append(d.fields, moved(DissectPacket(frame[d.at:]), d.at)...)
}

// moved makes fields begin n bytes later.
func moved(fields []Field, n int) []Field {
	for i := range fields {
		fields[i].Offset += n
	}
	return fields
}

// DissectPacket returns the fields of an IP packet; see [DissectFrame].
func DissectPacket(ip []byte) []Field {
	if len(ip) > 0 && ip[0]>>4 == 6 {
		return dissectIPv6(ip)
	}
	d := &dissection{b: ip}
	if !d.field(1, "IP version and header length", func(b []byte) string { return fmt.Sprintf("%d, %d bytes", b[0]>>4, 4*(b[0]&15)) }) {
		return d.fields
	}
	if ip[0]>>4 != 4 {
		d.wrong("neither 4 nor 6")
		return d.fields
	}
	head := 4 * int(ip[0]&15)
	d.field(1, "type of service", inHex)
	d.field(2, "total length", number)
	d.field(2, "identification", number)
	d.field(2, "flags and fragment offset", inHex)
	if d.field(1, "TTL", number) && ip[8] != 1 {
		d.wrong("must be 1 (RFC 9776 section 4)")
	}
	if d.field(1, "protocol", number) && ip[9] != protocolIGMP {
		d.wrong("not IGMP, which is 2")
	}
	if d.field(2, "header checksum", inHex) && head >= ipv4Len && head <= len(ip) && checksum(0, ip[:head]) != 0 {
		d.wrong("is wrong, should be %04x", expected(0, ip[:head], 10))
	}
	d.field(4, "source", address)
	if !d.field(4, "destination", address) {
		return d.fields
	}
	if head > ipv4Len {
		d.field(head-ipv4Len, "options", func(b []byte) string {
			if found, err := alert4(ip[:min(head, len(ip))]); found && err == nil {
				return inHex(b) + " router alert"
			}
			return inHex(b)
		})
	}
	end := int(binary.BigEndian.Uint16(ip[2:]))
	if end > len(ip) {
		d.fields = append(d.fields, Field{Offset: 2, Length: 2, Name: "total length", Wrong: fmt.Sprintf("%d bytes of %d are cut off", end-len(ip), end)})
		end = len(ip)
	}
	if end < d.at || ip[9] != protocolIGMP {
		return d.fields
	}
	return append(d.fields, moved(DissectMessage(ip[d.at:end]), d.at)...)
}

func dissectIPv6(ip []byte) []Field {
	d := &dissection{b: ip}
	d.field(4, "version, traffic class, flow label", inHex)
	d.field(2, "payload length", number)
	d.field(1, "next header", number)
	if d.field(1, "hop limit", number) && ip[7] != 1 {
		d.wrong("must be 1 (RFC 9777 section 5)")
	}
	if d.field(16, "source", address) {
		if a := addrAt(ip, 8, 16); !a.IsLinkLocalUnicast() && !a.IsUnspecified() {
			d.wrong("must be link-local (RFC 9777 section 5)")
		}
	}
	if !d.field(16, "destination", address) {
		return d.fields
	}
	next := ip[6]
	for next == protocolHopByHop || next == protocolOptions || next == protocolRouting {
		if len(ip)-d.at < 8 {
			d.field(8, "extension header", inHex)
			return d.fields
		}
		header, now := ip[d.at:], next
		next = ip[d.at]
		ok := d.field(8+8*int(header[1]), "extension header", func(b []byte) string {
			if found, err := alert6(b); now == protocolHopByHop && found && err == nil {
				return inHex(b) + " router alert"
			}
			return inHex(b)
		})
		if !ok {
			return d.fields
		}
	}
	if next != protocolICMPv6 {
		return d.fields
	}
	src, dst := addrAt(ip, 8, 16), addrAt(ip, 24, 16)
	return append(d.fields, moved(DissectMLD(ip[d.at:], src, dst), d.at)...)
}

// typeNames say what the types of messages are, in IGMP and in ICMPv6.
var typeNames = map[uint8]string{
	typeQuery: "membership query", typeReport1: "version 1 membership report", typeReport2: "version 2 membership report",
	typeLeave: "leave group", typeReport3: "version 3 membership report", 0x30: "multicast router advertisement",
	0x31: "multicast router solicitation", 0x32: "multicast router termination",
	typeMLDQuery: "multicast listener query", typeMLDv1: "multicast listener report", typeMLDDone: "multicast listener done",
	typeMLDv2: "version 2 multicast listener report", 151: "multicast router advertisement",
	152: "multicast router solicitation", 153: "multicast router termination",
}

// DissectMessage returns the fields of an IGMP message; see [DissectFrame].
func DissectMessage(b []byte) []Field {
	return dissectMessage(b, 0, 4)
}

// DissectMLD returns the fields of an ICMPv6 message between two addresses, which
// its checksum covers; see [DissectFrame]. With invalid addresses the checksum is
// not judged.
func DissectMLD(b []byte, src, dst netip.Addr) []Field {
	if !src.IsValid() || !dst.IsValid() {
		return dissectMessage(b, unknownSum, 16)
	}
	return dissectMessage(b, int64(pseudoHeader(src, dst, len(b))), 16)
}

// unknownSum stands for a pseudo-header that nobody knows.
const unknownSum = -1

// expected returns what the checksum at offset at of b should be, on top of sum.
func expected(sum uint32, b []byte, at int) uint16 {
	return checksum(sum+uint32(^binary.BigEndian.Uint16(b[at:])), b)
}

// dissectMessage dissects a message with addresses of size bytes. sum is that of the
// pseudo-header.
func dissectMessage(b []byte, sum int64, size int) []Field {
	d := &dissection{b: b}
	if !d.field(1, "type", func(b []byte) string {
		name := typeNames[b[0]]
		if name == "" {
			name = "unknown"
		}
		return fmt.Sprintf("%#02x %s", b[0], name)
	}) {
		return d.fields
	}
	switch typ := b[0]; {
	case typ == typeReport3 || typ == typeMLDv2 && size == 16:
		d.field(1, "reserved", inHex)
		d.sum(sum)
		d.report(size)
	case typ == typeQuery && size == 4:
		d.field(1, "max resp code", func(x []byte) string { return d.response(uint16(x[0]), len(b) >= query4Len, mantissa8, unit4) })
		d.sum(sum)
		d.query(size, query4Len, short4)
	case size == 16 && typ >= typeMLDQuery && typ <= typeMLDDone:
		d.field(1, "code", number)
		d.sum(sum)
		d.field(2, "maximum response code", func(x []byte) string {
			return d.response(binary.BigEndian.Uint16(x), typ == typeMLDQuery && len(b) >= query6Len, mantissa16, unit6)
		})
		d.field(2, "reserved", inHex)
		if typ == typeMLDQuery {
			d.query(size, query6Len, short6)
		} else {
			d.group(size)
		}
	default:
		d.field(1, "code", number)
		d.sum(sum)
		if typ == typeReport1 || typ == typeReport2 || typ == typeLeave {
			d.group(size)
		}
	}
	if n := len(b) - d.at; n > 0 {
		d.field(n, "additional data", inHex)
	}
	return d.fields
}

func (d *dissection) response(code uint16, float bool, mantissa uint, unit time.Duration) string {
	n := uint32(code)
	if float {
		n = decodeFloat(code, mantissa)
	}
	return fmt.Sprintf("%d = %v", code, time.Duration(n)*unit)
}

func (d *dissection) sum(sum int64) {
	if d.field(2, "checksum", inHex) && sum != unknownSum && checksum(uint32(sum), d.b) != 0 {
		d.wrong("is wrong, should be %04x", expected(uint32(sum), d.b, 2))
	}
}

func (d *dissection) group(size int) {
	if d.field(size, "group", address) && !addrAt(d.b, d.at-size, size).IsMulticast() {
		d.wrong("not a multicast address")
	}
}

// query dissects what follows the checksum, or the code of MLD; long is the length
// of a query of version 3, short that of one before.
func (d *dissection) query(size, long, short int) {
	if d.field(size, "group", address) {
		if g := addrAt(d.b, d.at-size, size); !g.IsUnspecified() && !g.IsMulticast() {
			d.wrong("not a multicast address")
		}
	}
	if len(d.b) < long {
		if len(d.b) > short {
			d.field(len(d.b)-d.at, "rest", inHex)
			d.wrong("%d bytes are the length of no version (RFC 9776 section 7.1)", len(d.b))
		}
		return
	}
	d.field(1, "flags, S, QRV", func(b []byte) string {
		return fmt.Sprintf("flags %d, S %d, robustness %d", b[0]>>4, b[0]>>3&1, b[0]&7)
	})
	d.field(1, "QQIC", func(b []byte) string {
		return fmt.Sprintf("%d = %v", b[0], time.Duration(decodeFloat(uint16(b[0]), mantissa8))*time.Second)
	})
	if d.field(2, "number of sources", number) {
		d.sources(int(binary.BigEndian.Uint16(d.b[d.at-2:])), size)
	}
}

// sources dissects n addresses, as far as they are there.
func (d *dissection) sources(n, size int) {
	count := len(d.fields) - 1
	for i := range n {
		if len(d.b)-d.at < size {
			d.fields[count].Wrong = fmt.Sprintf("only %d are there", i)
			return
		}
		d.field(size, "source", address)
	}
}

func (d *dissection) report(size int) {
	d.field(2, "flags", inHex)
	if !d.field(2, "number of records", number) {
		return
	}
	count := len(d.fields) - 1
	n := int(binary.BigEndian.Uint16(d.b[d.at-2:]))
	for i := range n {
		if d.at >= len(d.b) {
			d.fields[count].Wrong = fmt.Sprintf("only %d are there", i)
			return
		}
		d.record(size)
	}
}

func (d *dissection) record(size int) {
	d.field(1, "record type", func(b []byte) string { return fmt.Sprintf("%d %v", b[0], RecordType(b[0])) })
	d.depth = 1
	defer func() { d.depth = 0 }()
	ok := d.field(1, "aux data length", func(b []byte) string { return fmt.Sprintf("%d = %d bytes", b[0], 4*int(b[0])) })
	aux := 0
	if ok {
		aux = 4 * int(d.b[d.at-1])
	}
	if d.field(2, "number of sources", number) {
		n := int(binary.BigEndian.Uint16(d.b[d.at-2:]))
		d.group(size)
		d.sources(n, size)
	}
	if aux > 0 {
		d.field(aux, "aux data", inHex)
	}
}
