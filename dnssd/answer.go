package dnssd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

// Bounds of what one answer of a DNS server is used for.
const (
	answerMax = 2048 // records
	aliasMax  = 8    // CNAME records behind each other
)

// How long an answer is believed. The lower bound spares servers that say 0, the
// upper one lets a browse notice changes that no server will tell of.
const (
	refreshMin  = 5 * time.Second
	refreshMax  = time.Hour
	negativeTTL = time.Minute // of an answer without a SOA record (RFC 2308 section 5)
)

// ErrServer reports a DNS server that does not answer, or that answers with a
// failure.
var ErrServer = errors.New("dnssd: DNS server failed")

// ednsSize is the largest answer that is asked for by UDP, in bytes: what a path of
// the smallest IPv6 MTU carries in one piece (RFC 6891 section 6.2.5).
const ednsSize = 1232

// newQuery returns the message that asks a DNS server q under a transaction ID.
func newQuery(id uint16, q mdns.Question) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.Name, q.Type)
	m.Id = id
	m.SetEdns0(ednsSize, false)
	return m
}

// answersQuery reports whether r belongs to query: anybody can send a packet to an
// open port, and only who saw the query knows its ID and question.
func answersQuery(query, r *dns.Msg) bool {
	return r.Response && r.Opcode == dns.OpcodeQuery && r.Id == query.Id && len(r.Question) == 1 &&
		r.Question[0].Qtype == query.Question[0].Qtype && r.Question[0].Qclass == query.Question[0].Qclass &&
		fold(r.Question[0].Name) == fold(query.Question[0].Name)
}

// answer is what a DNS server knows about one question.
type answer struct {
	records []mdns.Record // under the name that was asked for
	good    time.Duration // for so long
}

// readAnswer takes from r the records that answer q, also those behind an alias, and
// nothing else: what a server adds unasked is asked for when it is needed (RFC 6763
// section 12). No such name is an answer without records. It fails with [ErrServer].
func readAnswer(q mdns.Question, r *dns.Msg) (answer, error) {
	if r.Rcode != dns.RcodeSuccess && r.Rcode != dns.RcodeNameError {
		return answer{}, fmt.Errorf("%w: %s %s: %s", ErrServer, q.Name, dns.Type(q.Type), dns.RcodeToString[r.Rcode])
	}
	if len(r.Answer) > answerMax {
		return answer{}, fmt.Errorf("%w: %s %s: %d records, limit %d", ErrServer, q.Name, dns.Type(q.Type), len(r.Answer), answerMax)
	}
	name, ttl := q.Name, uint32(refreshMax/time.Second)
	for range aliasMax {
		i := slices.IndexFunc(r.Answer, func(rr dns.RR) bool {
			_, alias := rr.(*dns.CNAME)
			return alias && q.Type != dns.TypeCNAME && fold(rr.Header().Name) == fold(name)
		})
		if i < 0 {
			break
		}
		ttl = min(ttl, r.Answer[i].Header().Ttl)
		name = r.Answer[i].(*dns.CNAME).Target
	}
	var a answer
	for _, rr := range r.Answer {
		h := rr.Header()
		if h.Class != dns.ClassINET || h.Rrtype != q.Type || fold(h.Name) != fold(name) {
			continue
		}
		rec, err := mdns.FromRR(rr)
		if err != nil {
			continue
		}
		rec.Name = q.Name
		ttl = min(ttl, h.Ttl)
		same := func(x mdns.Record) bool { return string(x.Data) == string(rec.Data) }
		if !slices.ContainsFunc(a.records, same) {
			a.records = append(a.records, rec)
		}
	}
	a.good = time.Duration(ttl) * time.Second
	if len(a.records) == 0 {
		a.good = min(a.good, negativeTime(r))
	}
	a.good = max(a.good, refreshMin)
	return a, nil
}

// negativeTime is how long nothing is known to be there (RFC 2308 section 5).
func negativeTime(r *dns.Msg) time.Duration {
	for _, rr := range r.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return time.Duration(min(soa.Minttl, soa.Hdr.Ttl)) * time.Second
		}
	}
	return negativeTTL
}

// changesTo returns what has become of the records was, now that they are now. The
// new come first, so that what replaces something is known before that is gone.
func changesTo(was, now []mdns.Record, reason mdns.Reason) []mdns.Change {
	missing := func(from, in []mdns.Record) (list []mdns.Record) {
		have := make(map[string]bool, len(in))
		for _, r := range in {
			have[string(r.Data)] = true
		}
		return slices.DeleteFunc(slices.Clone(from), func(r mdns.Record) bool { return have[string(r.Data)] })
	}
	var list []mdns.Change
	for _, r := range missing(now, was) {
		list = append(list, mdns.Change{Op: mdns.Add, Record: r})
	}
	for _, r := range missing(was, now) {
		list = append(list, mdns.Change{Op: mdns.Remove, Reason: reason, Record: r})
	}
	return list
}

// resolvConf is what resolv.conf(5) says.
type resolvConf struct {
	servers []string // addresses, as written
	search  []string
}

// resolvMax bounds each list of a resolv.conf that is used.
const resolvMax = 8

// parseResolvConf reads the text of a resolv.conf(5). What it does not know is
// ignored, as that page asks.
func parseResolvConf(text string) resolvConf {
	var c resolvConf
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		line, _, _ = strings.Cut(line, ";")
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			if len(c.servers) < resolvMax {
				c.servers = append(c.servers, f[1])
			}
		case "domain", "search": // the last of them counts
			c.search = nil
			for _, d := range f[1:] {
				if d = trimDot(d); d != "" && len(c.search) < resolvMax {
					c.search = append(c.search, d)
				}
			}
		}
	}
	return c
}
