package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/aether-lan/aether/mdns"
	"github.com/aether-lan/aether/multicast"
)

// Limits of what is good manners.
const (
	// smallTTL is what receivers treat as too small, in seconds.
	smallTTL = 15
	// manyAnHour is what no idle or busy host needs.
	manyAnHour = 1000
	// manyAnnouncements is how often a record may be announced (RFC 6762 section 8.3).
	manyAnnouncements = 8
	// announcedFor is how long hosts announce: four times, a second apart at first.
	announcedFor = 10 * time.Second
	// reflectedFor is how long after a packet its copy is taken for a reflection.
	reflectedFor = time.Second
)

// hour counts the packets of a host in one hour.
type hour struct {
	since time.Time
	count int
}

func (d *Doctor) judgeHour(v visit) {
	h := d.hours[v.host]
	if h == nil || v.now.Sub(h.since) >= time.Hour {
		h = &hour{since: v.now}
		d.hours[v.host] = h
	}
	if h.count++; h.count == manyAnHour+1 {
		d.find(v, Chatty, netip.Addr{}, fmt.Sprintf("over %d packets in an hour", manyAnHour))
	}
}

// judgeSize reports whether the message is worth parsing.
func (d *Doctor) judgeSize(v visit) bool {
	header := 20 + 8
	if v.p.From.Addr().Is6() {
		header = 40 + 8
	}
	// RFC 6762 section 17: 9000 bytes with the IP and UDP headers.
	if len(v.p.Payload)+header > 9000 {
		d.find(v, Oversize, netip.Addr{}, "a message over 9000 bytes")
		return false
	}
	return true
}

func (d *Doctor) judgeResponse(v visit) {
	d.forgetAsked(v.now)
	legacy := v.p.To.Port() != mdns.Port && v.p.To.Port() != 0
	if v.p.From.Port() != mdns.Port {
		d.find(v, SourcePort, netip.Addr{}, fmt.Sprintf("a response from port %d", v.p.From.Port()))
		return
	}
	if v.p.HopLimit != 0 && v.p.HopLimit != 255 {
		d.find(v, HopLimit, netip.Addr{}, fmt.Sprintf("IP TTL %d", v.p.HopLimit))
	}
	all := slices.Concat(v.m.Answers, v.m.Additional)
	if len(v.p.Payload) > 1500-28 && len(all) > 1 {
		d.find(v, Fragmented, netip.Addr{}, "a message over 1500 bytes with several records")
	}
	if legacy {
		return
	}
	if !v.p.To.Addr().IsMulticast() {
		d.judgeUnicast(v)
	}
	for _, r := range all {
		d.judgeRecord(v, r)
	}
	d.hear(v)
	d.judgeKnown(v)
	d.judgeUnasked(v)
	d.judgeClaims(v, all)
	d.judgeReflection(v, all)
}

func recordText(r mdns.Record) string { return fmt.Sprintf("%s %s", r.Name, dns.Type(r.Type)) }

// shared reports whether r is shared by its nature: pointers from service types,
// subtypes and the list of types (RFC 6763 sections 4.1, 7.1, 9). Reverse
// mappings and all other types may be unique.
func shared(r mdns.Record) bool {
	return r.Type == dns.TypePTR && strings.HasPrefix(r.Name, "_") ||
		r.Type == dns.TypePTR && strings.Contains(fold(r.Name), "._dns-sd._udp.")
}

func (d *Doctor) judgeRecord(v visit, r mdns.Record) {
	if r.Flush && shared(r) {
		d.find(v, SharedFlush, netip.Addr{}, recordText(r))
	}
	if r.TTL > 0 && r.TTL < smallTTL {
		d.find(v, TinyTTL, netip.Addr{}, fmt.Sprintf("%s TTL %d", recordText(r), r.TTL))
	}
}

// judgeUnicast applies RFC 6762 section 6: a unicast response that was not asked
// for in the last two seconds is ignored.
func (d *Doctor) judgeUnicast(v visit) {
	to := v.p.To.Addr()
	for _, a := range d.asked {
		if a.by == to && (a.qu || a.direct || a.port != mdns.Port) {
			return
		}
	}
	what := "an empty response"
	if len(v.m.Answers) > 0 {
		what = recordText(v.m.Answers[0])
	}
	d.find(v, UnicastAlone, to, what)
}

// judgeKnown looks for answers that everybody who asked has (RFC 6762 section 7.1).
// A young record is spared: it may be announced just then.
func (d *Doctor) judgeKnown(v visit) {
	for _, r := range v.m.Answers {
		s := d.told[recordKey{setOf(r), string(r.Data), v.host}]
		if s == nil || v.now.Sub(s.born) < announcedFor {
			continue
		}
		needless := false
		for _, a := range d.asked {
			if v.now.Sub(a.at) > askedFor || a.by == v.host || !a.asks(r) {
				continue
			}
			ttl, known := a.known[recordKey{setKey: setOf(r), data: string(r.Data)}]
			if !known || uint64(ttl)*2 < uint64(r.TTL) {
				needless = false
				break
			}
			needless = true
		}
		if needless {
			d.find(v, KnownAnswer, netip.Addr{}, recordText(r))
		}
	}
}

// wanted reports whether anybody asked for one of the answers. A probe counts, since
// its answer is a defence.
func (d *Doctor) wanted(v visit) bool {
	return slices.ContainsFunc(d.asked, func(a asked) bool {
		return v.now.Sub(a.at) <= askedFor && slices.ContainsFunc(v.m.Answers, a.asks)
	})
}

// judgeUnasked looks for records that are announced for ever (RFC 6762 section 8.3).
func (d *Doctor) judgeUnasked(v visit) {
	unasked := v.p.To.Addr().IsMulticast() && !d.wanted(v)
	d.hearTexts(v, unasked)
	if !unasked {
		return
	}
	for _, r := range v.m.Answers {
		if s := d.told[recordKey{setOf(r), string(r.Data), v.host}]; s != nil {
			s.add(v.now)
			if s.count > manyAnnouncements || s.count >= 4 && s.steady >= 2 && s.gap >= time.Second {
				d.find(v, Periodic, netip.Addr{}, recordText(r))
			}
		}
	}
}

// hear notes which records v's host tells. A goodbye ends a record; what comes
// behind it is a new one.
func (d *Doctor) hear(v visit) {
	for _, r := range v.m.Answers {
		k := recordKey{setOf(r), string(r.Data), v.host}
		switch s := d.told[k]; {
		case r.TTL == 0:
			delete(d.told, k)
		case s != nil:
			s.heard = v.now
		case len(d.told) >= maxRecords:
			d.totals.Untracked.Records++
		default:
			d.told[k] = &series{born: v.now, heard: v.now}
		}
	}
}

// claim is what a host says a unique set of records holds.
type claim struct {
	host  netip.Addr
	mac   multicast.HardwareAddr
	data  string // the sorted rdata
	since time.Time
	until time.Time
	// contested is who claimed other rdata after this claim.
	contested netip.Addr
}

// judgeClaims looks for two hosts that both insist on a unique set: one, the other,
// and the first again. Once each is how a conflict is noticed, or an address
// changed, and nothing to report (RFC 6762 section 9).
func (d *Doctor) judgeClaims(v visit, all []mdns.Record) {
	sets := make(map[setKey][]string)
	ttl := make(map[setKey]uint32)
	for _, r := range all {
		// NSEC speaks of the interface it is sent on, so it may differ in one host.
		if r.Flush && r.TTL > 0 && r.Type != dns.TypeNSEC && !shared(r) {
			k := setOf(r)
			sets[k] = append(sets[k], string(r.Data))
			ttl[k] = r.TTL
		}
	}
	for k, datas := range sets {
		slices.Sort(datas)
		// A record may stand twice in a message; the set holds it once.
		c := claim{
			host: v.host, mac: d.hosts[v.host].HardwareAddr, data: strings.Join(slices.Compact(datas), "\x00"),
			since: v.now, until: v.now.Add(time.Duration(min(ttl[k], mdns.OtherTTL)) * time.Second),
		}
		d.claim(v, k, c)
	}
}

func (d *Doctor) claim(v visit, k setKey, c claim) {
	list := d.claims[k]
	mine := -1
	for i := range list {
		if o := &list[i]; o.host == c.host {
			mine = i
		} else if v.now.Before(o.until) && o.data != c.data && apart(*o, c) {
			o.contested = c.host
		}
	}
	if mine < 0 {
		if len(d.claims) >= maxRecords || len(list) >= 16 {
			d.totals.Untracked.Records++
			return
		}
		d.claims[k] = append(list, c)
		return
	}
	if by := list[mine].contested; by.IsValid() && list[mine].data == c.data {
		d.find(v, Conflict, by, fmt.Sprintf("%s %s", k.name, dns.Type(k.typ)))
	}
	list[mine] = c
}

// apart reports whether two claims come from different machines for certain: by
// their MAC addresses, or else by two addresses of one family.
func apart(a, b claim) bool {
	if none := (multicast.HardwareAddr{}); a.mac != none && b.mac != none {
		return a.mac != b.mac
	}
	return a.host.Is4() == b.host.Is4()
}

// sent is a payload that was heard.
type sent struct {
	at   time.Time
	host netip.Addr
	mac  multicast.HardwareAddr
}

// judgeReflection looks for a response that comes again from another source. Only
// those with a unique record tell: two hosts may well say the same shared one.
func (d *Doctor) judgeReflection(v visit, all []mdns.Record) {
	unique := func(r mdns.Record) bool { return r.Flush && !shared(r) }
	if !slices.ContainsFunc(all, unique) {
		return
	}
	k := string(v.p.Payload)
	now := sent{v.now, v.host, d.hosts[v.host].HardwareAddr}
	was, ok := d.payloads[k]
	if ok && v.now.Sub(was.at) <= reflectedFor {
		if was.host != v.host && apart(claim{host: was.host, mac: was.mac}, claim{host: now.host, mac: now.mac}) {
			d.find(v, Reflected, was.host, recordText(all[slices.IndexFunc(all, unique)]))
		}
		return
	}
	if !ok && len(d.payloads) >= maxAsked {
		d.totals.Untracked.Records++
		return
	}
	d.payloads[k] = now
}
