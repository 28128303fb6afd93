package dnssd

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// setMax is the most records of one name and type that are kept of an interface.
// The PTR records of the service itself are not kept, only the instances.
const setMax = 64

// recordKey names a set of records heard on one interface.
type recordKey struct {
	place
	typ uint16
}

// held is a record, when it was heard last, and whether it came in place of others.
type held struct {
	rec mdns.Record
	at  time.Time
	new bool
}

// apply keeps or drops the record of a change. It reports whether the record is
// there now.
func (b *Browser) apply(now time.Time, c mdns.Change) bool {
	if c.Record.Type == dns.TypePTR {
		return c.Op != mdns.Remove
	}
	key := recordKey{place{c.IfIndex, fold(c.Record.Name)}, c.Record.Type}
	set := slices.DeleteFunc(b.records[key], func(h held) bool {
		// What an update replaces is removed a second later, with word of it; but
		// to go on showing the old port for that second helps nobody.
		stale := c.Op == mdns.Update && now.Sub(h.at) > flushGrace
		return stale || bytes.Equal(h.rec.Data, c.Record.Data)
	})
	there := c.Op != mdns.Remove
	if there && len(set) >= setMax {
		b.stats.Dropped++
		there = false
	}
	if there {
		set = append(set, held{c.Record, now, c.Op == mdns.Update})
	}
	if b.records[key] = set; len(set) == 0 {
		delete(b.records, key)
	}
	return there
}

// forgetRecords drops the records of a question on all interfaces.
func (b *Browser) forgetRecords(q mdns.Question) {
	name := fold(q.Name)
	for key := range b.records {
		if key.typ == q.Type && key.name == name {
			delete(b.records, key)
		}
	}
}

// set returns the records of a name and type on an interface, the oldest first.
func (b *Browser) set(at place, typ uint16) []held { return b.records[recordKey{at, typ}] }

// instance puts together what is known.
func (b *Browser) instance(at place, f *found) Instance {
	i := Instance{Name: f.name.Instance, Service: f.name.Service, Domain: f.name.Domain, Interface: f.ifi, IfIndex: at.ifIndex, From: f.from}
	if b.cfg.NamesOnly {
		return i
	}
	if t := f.at; t.host != "" {
		i.Host, i.Port, i.Priority, i.Weight = trimDot(t.host), t.port, t.priority, t.weight
		i.Addresses = b.addresses(place{at.ifIndex, fold(t.host)}, f.ifi)
		i.Targets = b.targets(at)
	}
	// Of several TXT records, which only LPR printing has (RFC 6763 section 6.8), the
	// newest is shown.
	if set := b.set(at, dns.TypeTXT); len(set) > 0 {
		txt, err := ParseTXT(set[len(set)-1].rec.Data)
		if err == nil || len(txt) > 0 {
			i.TXT = txt
		}
	}
	return i
}

// addresses returns a host's addresses in order: IPv4 first.
func (b *Browser) addresses(host place, ifi string) []netip.Addr {
	var list []netip.Addr
	for _, typ := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, h := range b.set(host, typ) {
			a, ok := h.rec.Addr()
			if !ok {
				continue
			}
			if a.Is6() && a.IsLinkLocalUnicast() {
				a = a.WithZone(ifi) // useless without (RFC 6762 section 20)
			}
			list = append(list, a)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// settled returns those of a set that are not about to go: what came in place of others
// has them removed a second later (RFC 6762 section 10.2).
func settled(set []held) []held {
	var newest time.Time
	for _, h := range set {
		if h.new && h.at.After(newest) {
			newest = h.at
		}
	}
	var list []held
	for _, h := range set {
		if !h.at.Before(newest.Add(-Linger)) { // one announcement may come in several packets
			list = append(list, h)
		}
	}
	return list
}

// candidates returns what the SRV records of lowest priority say, the newest first:
// "lower-numbered priority servers should be used in preference" (RFC 6763 section
// 5). A host "." means that nothing is offered (RFC 2782).
func (b *Browser) candidates(at place) []target {
	var list []target
	for _, h := range b.set(at, dns.TypeSRV) {
		t, err := parseTarget(h.rec.Data)
		if err != nil || t.host == "." || len(list) > 0 && t.priority > list[0].priority {
			continue
		}
		if len(list) > 0 && t.priority < list[0].priority {
			list = list[:0]
		}
		list = append(list, t)
	}
	slices.Reverse(list)
	return list
}

// choose returns the SRV record to use. A choice made by chance stands as long as
// the record does.
func (b *Browser) choose(at place, now target) target {
	list := b.candidates(at)
	switch {
	case len(list) == 0:
		return target{}
	case b.cfg.Rand == nil:
		return slices.MaxFunc(list, func(s, t target) int { return cmp.Compare(s.weight, t.weight) })
	case slices.Contains(list, now):
		return now
	}
	return weigh(b.cfg.Rand, list)
}

// weigh chooses in proportion to weights as RFC 2782 says: those of weight 0 in
// front, a number from 0 to the sum, the first whose running sum reaches it.
func weigh(rnd *rand.Rand, list []target) target {
	sum := 0
	for _, t := range list {
		sum += int(t.weight)
	}
	slices.SortStableFunc(list, func(s, t target) int { return min(1, int(s.weight)) - min(1, int(t.weight)) })
	n := rnd.IntN(sum + 1)
	for _, t := range list {
		if n -= int(t.weight); n <= 0 {
			return t
		}
	}
	return list[len(list)-1]
}
