package mdns

import (
	"slices"

	"github.com/miekg/dns"
)

// owned are the records that a Responder is authoritative for, by set.
type owned struct{ sets []ownedSet }

type ownedSet struct {
	set     int
	records []Record
}

func (o *owned) set(set int, records []Record) {
	i := slices.IndexFunc(o.sets, func(s ownedSet) bool { return s.set == set })
	if i < 0 {
		o.sets = append(o.sets, ownedSet{set, records})
		return
	}
	o.sets[i].records = records
}

func (o *owned) remove(set int) {
	o.sets = slices.DeleteFunc(o.sets, func(s ownedSet) bool { return s.set == set })
}

// each calls f for every record until it returns false.
func (o *owned) each(f func(Record) bool) {
	for _, s := range o.sets {
		for _, r := range s.records {
			if !f(r) {
				return
			}
		}
	}
}

func (o *owned) find(id identity) (found Record, ok bool) {
	o.each(func(r Record) bool {
		if r.identity() == id {
			found, ok = r, true
		}
		return !ok
	})
	return found, ok
}

// lookup returns the records that answer q, each once.
func (o *owned) lookup(q Question) (found []Record) {
	o.each(func(r Record) bool {
		if r.answers(q) {
			found = appendNew(found, []Record{r})
		}
		return true
	})
	return found
}

// whole returns all members of r's set when it is unique, else r alone.
func (o *owned) whole(r Record) []Record {
	if !r.Flush {
		return []Record{r}
	}
	return o.lookup(Question{r.Name, r.Type})
}

// answers returns what there is to say to q: all records that match, or, for a
// name that is ours alone, that there is none of that type (RFC 6762 sections
// 6.1, 6.5).
func (o *owned) answers(q AskedQuestion) []Record {
	if q.Class != dns.ClassINET && q.Class != dns.ClassANY {
		return nil
	}
	if found := o.lookup(q.Question); len(found) > 0 {
		return found
	}
	if nsec, ok := o.negative(q.Name); ok {
		return []Record{nsec}
	}
	return nil
}

// negative returns the NSEC record that lists the types which exist for a unique
// name, in the restricted form of RFC 6762 section 6.1, for as long as the
// shortest-lived of its records. ok is false when the name is not ours alone or
// has a type above 255.
func (o *owned) negative(name string) (nsec Record, ok bool) {
	var bitmap [32]byte
	last := 0
	unique, high := false, false
	o.each(func(r Record) bool {
		if !sameName(r.Name, name) {
			return true
		}
		if r.Flush && (!unique || r.TTL < nsec.TTL) {
			unique = true
			nsec.Name, nsec.TTL = r.Name, r.TTL
		}
		if r.Type > 255 {
			high = true
			return false
		}
		bitmap[r.Type/8] |= 0x80 >> (r.Type % 8)
		last = max(last, int(r.Type/8))
		return true
	})
	if !unique || high {
		return Record{}, false
	}
	nsec.Type, nsec.Class, nsec.Flush = dns.TypeNSEC, dns.ClassINET, true
	data, err := appendName(nil, nsec.Name)
	if err != nil {
		return Record{}, false
	}
	data = append(data, 0, byte(last+1))
	nsec.Data = append(data, bitmap[:last+1]...)
	return nsec, true
}

// current returns answers as they are now, without those that are no longer true:
// records may have changed while they waited.
func (o *owned) current(answers []Record) (now []Record) {
	for _, a := range answers {
		own, ok := o.find(a.identity())
		if !ok && a.Type == dns.TypeNSEC {
			own, ok = o.negative(a.Name)
			ok = ok && own.identity() == a.identity()
		}
		if ok {
			now = append(now, own)
		}
	}
	return now
}

// additional returns what a querier will want to know next: SRV and TXT of an
// instance, addresses of a host, the other kind of address or word that there is
// none (RFC 6762 section 6.2, RFC 6763 section 12).
func (o *owned) additional(answers []Record) []Record {
	var extra []Record
	add := func(records []Record) {
		for _, r := range records {
			if !slices.ContainsFunc(answers, func(a Record) bool { return a.identity() == r.identity() }) {
				extra = appendNew(extra, []Record{r})
			}
		}
	}
	addresses := func(host string) {
		a, aaaa := o.lookup(Question{host, dns.TypeA}), o.lookup(Question{host, dns.TypeAAAA})
		add(a)
		add(aaaa)
		if nsec, ok := o.negative(host); ok && (len(a) == 0 || len(aaaa) == 0) {
			add([]Record{nsec})
		}
	}
	for i := 0; i < len(answers)+len(extra); i++ {
		r := append(slices.Clone(answers), extra...)[i]
		target, _ := r.Target()
		switch r.Type {
		case dns.TypePTR:
			add(o.lookup(Question{target, dns.TypeSRV}))
			add(o.lookup(Question{target, dns.TypeTXT}))
		case dns.TypeSRV:
			addresses(target)
		case dns.TypeA, dns.TypeAAAA:
			addresses(r.Name)
		}
	}
	return extra
}
