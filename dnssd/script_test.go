package dnssd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/script"
	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
}

// record reads a record as zone files write it.
func record(t failer, name, typ, data string) mdns.Record {
	t.Helper()
	rr, err := dns.NewRR(fmt.Sprintf("%s 120 IN %s %s", name, typ, data))
	if err != nil {
		t.Fatal(err)
	}
	r, err := mdns.FromRR(rr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// change is a change of a record on eth0 (interface 1), eth1 (2), ….
func change(t failer, op mdns.Op, reason mdns.Reason, ifi string, r mdns.Record) mdns.Change {
	t.Helper()
	var index int
	if _, err := fmt.Sscanf(ifi, "eth%d", &index); err != nil {
		t.Fatal(err)
	}
	return mdns.Change{Op: op, Reason: reason, Record: r, Interface: ifi, IfIndex: index + 1}
}

var reasons = map[string]mdns.Reason{
	"goodbye": mdns.Goodbye, "expired": mdns.Expired, "flushed": mdns.Flushed, "link-down": mdns.LinkDown, "evicted": mdns.Evicted,
}

// browserScript drives one Browser:
//
//	browse SERVICE | names SERVICE | resolve NAME SERVICE
//	at TIME                           everything due until then
//	add|update IF NAME TYPE DATA…     a change, a millisecond after the last
//	goodbye|expired|… IF NAME TYPE DATA…
type browserScript struct {
	t   testing.TB
	b   *Browser
	now time.Time
	out strings.Builder
}

func TestBrowser_Scripts(t *testing.T) {
	script.Run(t, "testdata/browse_*.txt", func(t testing.TB) func([]string) string {
		return (&browserScript{t: t, now: epoch}).do
	})
}

func (s *browserScript) do(args []string) string {
	s.out.Reset()
	switch args[0] {
	case "browse", "names":
		service, err := ParseService(args[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.b = NewBrowser(BrowserConfig{Service: service, NamesOnly: args[0] == "names"})
	case "resolve":
		pinned, err := spellings(strings.ReplaceAll(args[1], `\032`, " "), args[2], Local)
		if err != nil {
			s.t.Fatal(err)
		}
		s.b = NewBrowser(BrowserConfig{Pinned: pinned})
	case "at":
		d, err := time.ParseDuration(args[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.until(epoch.Add(d))
	default:
		s.until(s.now.Add(time.Millisecond))
		op, reason := map[string]mdns.Op{"add": mdns.Add, "update": mdns.Update}[args[0]], mdns.Answered
		if op == 0 {
			var ok bool
			if reason, ok = reasons[args[0]]; !ok {
				s.t.Fatalf("unknown command %q", args)
			}
			op = mdns.Remove
		}
		s.b.HandleChange(s.now, change(s.t, op, reason, args[1], record(s.t, args[2], args[3], strings.Join(args[4:], " "))))
	}
	s.tell()
	return s.out.String()
}

func (s *browserScript) until(end time.Time) {
	for {
		t, ok := s.b.NextTimeout()
		if !ok || t.After(end) {
			break
		}
		s.now = t
		s.b.HandleTimeout(t)
		s.tell()
	}
	s.now = end
}

func (s *browserScript) tell() {
	start, stop := s.b.Outgoing()
	for _, q := range start {
		fmt.Fprintf(&s.out, "ask %s %s\n", q.Name, dns.Type(q.Type))
	}
	for _, q := range stop {
		fmt.Fprintf(&s.out, "stop %s %s\n", q.Name, dns.Type(q.Type))
	}
	for _, ev := range s.b.Events() {
		fmt.Fprintf(&s.out, "%v %v\n", s.now.Sub(epoch), ev)
	}
	if stats := s.b.Stats(); stats != (BrowserStats{}) {
		fmt.Fprintf(&s.out, "dropped %d malformed %d\n", stats.Dropped, stats.Malformed)
	}
}
