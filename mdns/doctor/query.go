package doctor

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/aether-lan/aether/mdns"
)

// asked is a question that was heard lately.
type asked struct {
	at     time.Time
	by     netip.Addr
	port   uint16
	q      mdns.Question // name folded
	qu     bool
	direct bool // sent by unicast
	// known is what the asker knows, with half-lives; nil in the questions of others.
	known map[recordKey]uint32
}

// setKey names a set of records, recordKey one record of one host.
type setKey struct {
	name     string // folded
	typ, cls uint16
}

type recordKey struct {
	setKey
	data string
	host netip.Addr
}

// fold is the comparison of names: case of ASCII letters does not count (RFC 6762
// section 16).
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

func setOf(r mdns.Record) setKey { return setKey{fold(r.Name), r.Type, r.Class} }

// repeatKey names a question of a host by its destination: the families ask apart.
type repeatKey struct {
	host netip.Addr
	to   netip.Addr
	q    mdns.Question
}

// series is how often something came, and how evenly.
type series struct {
	born   time.Time // of a record: first heard
	heard  time.Time // of a record: last heard, asked for or not
	last   time.Time
	gap    time.Duration
	count  int
	steady int // intervals in a row that did not grow
}

// add notes that it came again, and reports the interval before.
func (s *series) add(now time.Time) time.Duration {
	gap := now.Sub(s.last)
	if s.count > 1 {
		if gap < s.gap*3/2 {
			s.steady++
		} else {
			s.steady = 0
		}
	}
	if s.count > 0 {
		s.gap = gap
	}
	s.last = now
	s.count++
	return gap
}

func (d *Doctor) judgeQuery(v visit) {
	d.forgetAsked(v.now)
	probe := len(v.m.Authority) > 0
	legacy := v.p.From.Port() != mdns.Port
	known := make(map[recordKey]uint32, len(v.m.Answers))
	for _, r := range v.m.Answers {
		known[recordKey{setKey: setOf(r), data: string(r.Data)}] = r.TTL
	}
	// Known answers that had no room come in packets without questions (RFC 6762
	// section 7.2).
	if len(v.m.Questions) == 0 {
		for i := range d.asked {
			if d.asked[i].by == v.host && d.asked[i].port == v.p.From.Port() {
				for k, ttl := range known {
					if len(d.asked[i].known) < maxAsked {
						d.asked[i].known[k] = ttl
					}
				}
			}
		}
	}
	for _, q := range v.m.Questions {
		q.Name = fold(q.Name)
		if len(d.asked) < maxAsked {
			d.asked = append(d.asked, asked{
				at: v.now, by: v.host, port: v.p.From.Port(), q: q.Question, qu: q.Unicast,
				direct: !v.p.To.Addr().IsMulticast(), known: known,
			})
		} else {
			d.totals.Untracked.Questions++
		}
		switch {
		case probe && !q.Unicast:
			// RFC 6762 section 8.1: probes SHOULD be QU, so that a defence comes fast.
			d.find(v, ProbeQM, netip.Addr{}, questionText(q.Question))
		case !probe && !legacy:
			d.judgeRepeat(v, q.Question)
		}
	}
}

// judgeRepeat applies RFC 6762 section 5.2: at least a second between the first two
// queries, and intervals that double up to an hour.
func (d *Doctor) judgeRepeat(v visit, q mdns.Question) {
	k := repeatKey{v.host, v.p.To.Addr(), q}
	s := d.repeats[k]
	if s == nil {
		if len(d.repeats) >= maxRecords {
			d.totals.Untracked.Questions++
			return
		}
		s = &series{}
		d.repeats[k] = s
	}
	gap := s.add(v.now)
	switch {
	case s.count == 1 || gap >= 50*time.Minute:
		s.steady = 0
	case gap < 900*time.Millisecond: // a second, less jitter
		d.find(v, Repeats, netip.Addr{}, questionText(q))
	case s.steady >= 5: // more than the four refreshes at 80 to 95 % of a TTL
		d.find(v, Repeats, netip.Addr{}, questionText(q))
	}
}

// forgetAsked drops the questions whose answers are no longer due.
func (d *Doctor) forgetAsked(now time.Time) {
	n := 0
	for n < len(d.asked) && now.Sub(d.asked[n].at) > unicastFor {
		n++
	}
	d.asked = append(d.asked[:0], d.asked[n:]...)
}

func questionText(q mdns.Question) string {
	return fmt.Sprintf("%s %s", q.Name, dns.Type(q.Type))
}

// asks reports whether a asks for r.
func (a asked) asks(r mdns.Record) bool {
	return (a.q.Type == r.Type || a.q.Type == dns.TypeANY || r.Type == dns.TypeCNAME || r.Type == dns.TypeNSEC) && a.q.Name == fold(r.Name)
}
