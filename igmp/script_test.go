package igmp_test

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/script"
)

// The scripts in testdata lead an engine through a story.
//
//	querier [family=6] [version=N] [address=A] [robustness=N] [interval=D] [response=D] [strict]
//	host    [family=6] [version=N] [address=A] [robustness=N] [strict]
//	start                         (querier) take part in the election
//	groups                        (querier) what it knows
//	join G, leave G               (host)
//	socket N include|exclude G [S,S]   (host) set the filter of a socket
//	at D                          let time pass until D after the start
//	recv SRC query vN [G] [within D] [robustness N] [interval D] [suppress] [sources S,S]
//	recv SRC report v1|v2 G, recv SRC leave G
//	recv SRC report v3 TYPE G [S,S] [TYPE G [S,S]]...
//	ttl N, noalert, to ADDR before query, report or leave change the packet
//
// Every line of output begins with the time in seconds.
func TestScripts(t *testing.T) {
	for _, kind := range []string{"querier", "host"} {
		script.Run(t, "testdata/"+kind+"_*.txt", func(t testing.TB) func([]string) string {
			s := &stage{t: t, start: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
			s.now = s.start
			return s.command
		})
	}
}

type stage struct {
	t          testing.TB
	start, now time.Time
	querier    *igmp.Querier
	host       *igmp.Host
	out        strings.Builder
}

func (s *stage) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) command(args []string) string {
	s.out.Reset()
	switch args[0] {
	case "querier":
		var err error
		s.querier, err = igmp.NewQuerier(s.querierConfig(args[1:]))
		s.check(err)
	case "host":
		var err error
		s.host, err = igmp.NewHost(s.hostConfig(args[1:]))
		s.check(err)
	case "start":
		s.querier.Start(s.now)
	case "groups":
		s.groups()
	case "join":
		s.check(s.host.Join(s.now, addr(args[1])))
	case "leave":
		s.check(s.host.Leave(s.now, addr(args[1])))
	case "socket":
		s.socket(args[1:])
	case "recv":
		p := parsePacket(s.t, args[1:])
		if s.querier != nil {
			s.querier.HandlePacket(s.now, p)
		} else {
			s.host.HandlePacket(s.now, p)
		}
	case "at":
		d, err := time.ParseDuration(args[1])
		s.check(err)
		s.runUntil(s.start.Add(d))
	default:
		s.t.Fatalf("unknown command %q", args[0])
	}
	s.drain()
	return s.out.String()
}

func (s *stage) socket(args []string) {
	n, err := strconv.Atoi(args[0])
	s.check(err)
	mode := igmp.Include
	if args[1] == "exclude" {
		mode = igmp.Exclude
	}
	var sources []netip.Addr
	if len(args) > 3 {
		sources = addrs(strings.ReplaceAll(args[3], ",", " "))
	}
	s.check(s.host.SetFilter(s.now, igmp.SocketID(n), addr(args[2]), mode, sources...))
}

func (s *stage) runUntil(end time.Time) {
	for range 10000 {
		var next time.Time
		var ok bool
		if s.querier != nil {
			next, ok = s.querier.NextTimeout()
		} else {
			next, ok = s.host.NextTimeout()
		}
		if !ok || next.After(end) {
			s.now = end
			return
		}
		s.now = next
		if s.querier != nil {
			s.querier.HandleTimeout(s.now)
		} else {
			s.host.HandleTimeout(s.now)
		}
		s.drain()
	}
	s.t.Fatal("the engine asks for timeouts without end")
}

func (s *stage) drain() {
	at := strconv.FormatFloat(s.now.Sub(s.start).Seconds(), 'f', -1, 64)
	if s.querier != nil {
		drainOf(&s.out, at, s.querier)
	} else {
		drainOf(&s.out, at, s.host)
	}
}

func drainOf[E any](out *strings.Builder, at string, e loop.Engine[igmp.Packet, E]) {
	for _, ev := range e.Events() {
		fmt.Fprintf(out, "%s event %v\n", at, ev)
	}
	for _, p := range e.Outgoing() {
		fmt.Fprintf(out, "%s send %v: %v\n", at, p.Dst, p.Message)
	}
}

func (s *stage) groups() {
	s.querier.HandleTimeout(s.now)
	for _, g := range s.querier.Groups() {
		fmt.Fprintf(&s.out, "%v %v %v", g.Group, g.Reception, g.Version)
		if !g.Expires.IsZero() {
			fmt.Fprintf(&s.out, " expires %v", g.Expires.Sub(s.now))
		}
		for i, t := range g.SourceExpires {
			fmt.Fprintf(&s.out, " %v=%v", g.Reception.Requested[i], t.Sub(s.now))
		}
		if g.Checking {
			s.out.WriteString(" checking")
		}
		fmt.Fprintf(&s.out, " hosts %v\n", g.Hosts)
	}
}

// settings calls set for each key=value of args, which reports whether it knows it.
func (s *stage) settings(args []string, set func(key, value string) bool) {
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		if !set(key, value) {
			s.t.Fatalf("unknown setting %q", a)
		}
	}
}

func (s *stage) querierConfig(args []string) (c igmp.QuerierConfig) {
	s.settings(args, func(key, value string) bool {
		switch key {
		case "interval":
			c.Timing.QueryInterval = s.duration(value)
		case "response":
			c.Timing.QueryResponse = s.duration(value)
		default:
			return s.common(key, value, &c.Family, &c.Version, &c.Address, &c.Timing.Robustness, &c.Strict)
		}
		return true
	})
	return c
}

func (s *stage) hostConfig(args []string) (c igmp.HostConfig) {
	s.settings(args, func(key, value string) bool {
		return s.common(key, value, &c.Family, &c.Version, &c.Address, &c.Robustness, &c.Strict)
	})
	return c
}

// common is what a querier and a host have in common.
func (s *stage) common(key, value string, family *igmp.Family, version *igmp.Version, address *netip.Addr, robustness *uint8, strict *bool) bool {
	switch key {
	case "family":
		*family = igmp.Family(value[0] - '0')
	case "version":
		*version = igmp.Version(value[0] - '0')
	case "address":
		*address = addr(value)
	case "robustness":
		*robustness = value[0] - '0'
	case "strict":
		*strict = true
	default:
		return false
	}
	return true
}

func (s *stage) duration(text string) time.Duration {
	d, err := time.ParseDuration(text)
	s.check(err)
	return d
}

var recordTypes = map[string]igmp.RecordType{
	"is_in": igmp.ModeIsInclude, "is_ex": igmp.ModeIsExclude, "to_in": igmp.ChangeToInclude,
	"to_ex": igmp.ChangeToExclude, "allow": igmp.AllowNewSources, "block": igmp.BlockOldSources, "type9": 9,
}

// parsePacket reads what follows "recv".
func parsePacket(t testing.TB, args []string) igmp.Packet {
	t.Helper()
	p := igmp.Packet{Src: addr(args[0]), TTL: 1, RouterAlert: true}
	family := igmp.FamilyOf(p.Src)
	var to netip.Addr
	for args = args[1:]; len(args) > 0 && p.Message == nil; {
		word := args[0]
		args = args[1:]
		switch word {
		case "ttl":
			n, err := strconv.Atoi(args[0])
			if err != nil {
				t.Fatal(err)
			}
			p.TTL, args = uint8(n), args[1:]
		case "noalert":
			p.RouterAlert = false
		case "to":
			to, args = addr(args[0]), args[1:]
		case "query":
			q := parseQuery(t, args)
			p.Message, p.Dst = q, family.AllSystems()
			if q.Group.IsValid() {
				p.Dst = q.Group
			}
		case "leave":
			p.Message, p.Dst = &igmp.Leave{Group: addr(args[0])}, family.AllRouters()
		case "report":
			r := parseReport(t, args)
			p.Message, p.Dst = r, family.AllReports()
			if r.Version != 3 {
				p.Dst = r.Group
			}
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	if to.IsValid() {
		p.Dst = to
	}
	return p
}

func parseQuery(t testing.TB, args []string) *igmp.Query {
	t.Helper()
	q := &igmp.Query{Version: igmp.Version(args[0][1] - '0')}
	if q.Version > 1 {
		q.MaxResponse = 10 * time.Second
	}
	for args = args[1:]; len(args) > 0; args = args[1:] {
		if args[0] == "suppress" {
			q.Suppress = true
			continue
		}
		if a, err := netip.ParseAddr(args[0]); err == nil {
			q.Group = a
			if q.Version > 1 {
				q.MaxResponse = time.Second
			}
			continue
		}
		var err error
		switch args[0] {
		case "within":
			q.MaxResponse, err = time.ParseDuration(args[1])
		case "interval":
			q.Interval, err = time.ParseDuration(args[1])
		case "robustness":
			q.Robustness = args[1][0] - '0'
		case "sources":
			q.Sources = addrs(strings.ReplaceAll(args[1], ",", " "))
		default:
			t.Fatalf("unknown word %q", args[0])
		}
		if err != nil {
			t.Fatal(err)
		}
		args = args[1:]
	}
	return q
}

func parseReport(t testing.TB, args []string) *igmp.Report {
	t.Helper()
	r := &igmp.Report{Version: igmp.Version(args[0][1] - '0')}
	if r.Version != 3 {
		r.Group = addr(args[1])
		return r
	}
	for args = args[1:]; len(args) >= 2; {
		rec := igmp.Record{Type: recordTypes[args[0]], Group: addr(args[1])}
		if rec.Type == 0 {
			t.Fatalf("unknown record type %q", args[0])
		}
		args = args[2:]
		if len(args) > 0 && recordTypes[args[0]] == 0 {
			rec.Sources = addrs(strings.ReplaceAll(args[0], ",", " "))
			args = args[1:]
		}
		r.Records = append(r.Records, rec)
	}
	return r
}
