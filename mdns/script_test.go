package mdns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/aether-lan/aether/internal/script"
)

var t0 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// stage runs a Host by the lines of a script. Times are since the script's start.
type stage struct {
	t   testing.TB
	h   *Host
	now time.Time
	out strings.Builder
}

func newStage(t testing.TB) *stage {
	return &stage{t: t, now: t0, h: NewHost(rand.New(rand.NewPCG(1, 2)))}
}

// TestScripts plays testdata. The commands are:
//
//	link NAME INDEX ADDRESS...     an interface and its addresses
//	unlink INDEX                   takes it away
//	restart INDEX                  its carrier came back
//	claim LABEL                    begins to claim a host name
//	publish RECORDS                begins to own records ("!" at the end: unique)
//	update SET RECORDS             changes them
//	withdraw SET                   gives them up
//	ask NAME TYPE                  begins to ask
//	reconfirm RECORD               doubts a record of others
//	trace on|off                   explains decisions
//	at TIME                        lets time pass
//	recv FROM INDEX query QUESTION[, QUESTION] [; known RECORD]... [; auth RECORD]... [; tc]
//	recv FROM INDEX response RECORDS
//	direct FROM INDEX ...          the same, sent to our own address
//
// RECORDS are in zone file form, separated by ";". Output is what is sent and
// what happens, with the time.
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func(t testing.TB) func([]string) string { return newStage(t).do })
}

func (s *stage) do(args []string) string {
	s.out.Reset()
	rest := strings.Join(args[1:], " ")
	switch args[0] {
	case "link":
		l := Link{Name: args[1], IPv4: true, Unicast: true}
		fmt.Sscan(args[2], &l.Index)
		for _, a := range args[3:] {
			l.Addresses = append(l.Addresses, netip.MustParsePrefix(a))
		}
		s.h.SetLink(s.now, l)
	case "unlink":
		s.h.RemoveLink(s.now, s.number(args[1]))
	case "restart":
		s.h.Restart(s.now, s.number(args[1]))
	case "claim":
		s.check(s.h.ClaimHost(s.now, args[1]))
	case "publish":
		s.check(s.h.Publish(s.now, s.records(rest)))
	case "update":
		if err := s.h.Update(s.now, s.number(args[1]), s.records(strings.Join(args[2:], " "))); err != nil {
			s.t.Fatal(err)
		}
	case "withdraw":
		s.h.Withdraw(s.now, s.number(args[1]))
	case "ask":
		known, err := s.h.Ask(s.now, Question{args[1], dns.StringToType[args[2]]})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, c := range known {
			fmt.Fprintf(&s.out, "known %v\n", c)
		}
	case "reconfirm":
		if held, err := s.h.Reconfirm(s.now, s.records(rest)[0]); err != nil || !held {
			fmt.Fprintf(&s.out, "held %v, error %v\n", held, err)
		}
	case "trace":
		s.h.Trace(args[1] == "on")
	case "at":
		s.pass(args[1])
	case "recv", "direct":
		s.recv(args[0] == "direct", args[1], s.number(args[2]), args[3], strings.Join(args[4:], " "))
	default:
		s.t.Fatalf("no command %q", args[0])
	}
	s.report()
	return s.out.String()
}

func (s *stage) number(a string) (n int) { fmt.Sscan(a, &n); return n }

func (s *stage) check(_ int, err error) {
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) pass(to string) {
	d, err := time.ParseDuration(to)
	if err != nil {
		s.t.Fatal(err)
	}
	end := t0.Add(d)
	for {
		next, ok := s.h.NextTimeout()
		if !ok || next.After(end) {
			break
		}
		if next.After(s.now) {
			s.now = next
		}
		s.h.HandleTimeout(s.now)
		s.report()
	}
	s.now = end
}

// records reads "NAME TTL TYPE DATA [!]; ...".
func (s *stage) records(text string) (records []Record) {
	for part := range strings.SplitSeq(text, ";") {
		part = strings.TrimSpace(part)
		zone, unique := strings.CutSuffix(part, "!")
		rr, err := dns.NewRR(zone)
		if err != nil || rr == nil {
			s.t.Fatalf("record %q: %v", part, err)
		}
		r, err := FromRR(rr)
		if err != nil {
			s.t.Fatal(err)
		}
		r.Flush = unique
		records = append(records, r)
	}
	return records
}

func (s *stage) recv(direct bool, from string, index int, kind, text string) {
	m := &Message{Response: kind == "response"}
	if m.Response {
		m.Answers = s.records(text)
	} else {
		for i, part := range strings.Split(text, ";") {
			part = strings.TrimSpace(part)
			switch {
			case i == 0:
				m.Questions = s.questions(part)
			case part == "tc":
				m.Truncated = true
			case strings.HasPrefix(part, "id "):
				m.ID = uint16(s.number(part[3:]))
			case strings.HasPrefix(part, "known "):
				m.Answers = append(m.Answers, s.records(part[6:])...)
			case strings.HasPrefix(part, "auth "):
				m.Authority = append(m.Authority, s.records(part[5:])...)
			}
		}
	}
	src, err := netip.ParseAddrPort(from)
	if err != nil {
		src = netip.AddrPortFrom(netip.MustParseAddr(from), Port)
	}
	to := group4
	if direct {
		to = netip.AddrPortFrom(s.h.engine(index).own(), Port)
	}
	packets, _ := m.Split(1472)
	for _, b := range packets {
		if m.Truncated {
			b[2] |= bitTruncated >> 8
		}
		s.h.HandlePacket(s.now, Packet{Data: b, From: src, To: to, IfIndex: index})
	}
}

func (s *stage) questions(text string) (qs []AskedQuestion) {
	for part := range strings.SplitSeq(text, ",") {
		f := strings.Fields(part)
		if len(f) < 2 {
			continue
		}
		qs = append(qs, AskedQuestion{Question{f[0], dns.StringToType[f[1]]}, dns.ClassINET, len(f) > 2 && f[2] == "QU"})
	}
	return qs
}

func (s *stage) report() {
	at := s.now.Sub(t0).Round(100 * time.Microsecond)
	for _, p := range s.h.Outgoing() {
		m, err := ParseMessage(p.Data)
		if err != nil {
			s.t.Fatalf("sent %x: %v", p.Data, err)
		}
		fmt.Fprintf(&s.out, "%v send %d %v %s\n", at, p.IfIndex, p.To, describe(m))
	}
	for _, ev := range s.h.Events() {
		if ev.Kind != EventHeard {
			fmt.Fprintf(&s.out, "%v event %d %v\n", at, ev.IfIndex, ev)
		}
	}
}

func describe(m *Message) string {
	kind := "query"
	if m.Response {
		kind = "response"
	}
	if m.ID != 0 {
		kind += fmt.Sprintf(" id %d", m.ID)
	}
	if m.Truncated {
		kind += " tc"
	}
	parts := []string{kind}
	for _, q := range m.Questions {
		text := fmt.Sprintf("? %s %s", q.Name, dns.Type(q.Type))
		if q.Unicast {
			text += " QU"
		}
		parts = append(parts, text)
	}
	for i, section := range [][]Record{m.Answers, m.Authority, m.Additional} {
		for _, r := range section {
			parts = append(parts, []string{"=", "auth", "+"}[i]+" "+r.String())
		}
	}
	return strings.Join(parts, "\n        ")
}
