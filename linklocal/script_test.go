package linklocal_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/script"
	"github.com/aether-lan/aether/linklocal"
)

// The scripts in testdata lead a Claimer through its life. All of it follows
// from the hardware address, delays included.
//
//	new HWADDR [first=ADDR] [policy=P] [linger=D]    a Claimer, without a link
//	link up|down, routable on|off, resume, deleted, stop
//	at D                          let time pass until D after the start
//	until claimed|conflict|...    let time pass until that event
//	recv probe ADDR HWADDR        and announce ADDR HWADDR, reply ADDR HWADDR,
//	                              request ADDR HWADDR SENDER-ADDR; ADDR may be "it"
//
// Every line of output begins with the time in milliseconds.
func TestScripts(t *testing.T) {
	script.Run(t, "testdata/*.txt", func(t testing.TB) func([]string) string {
		s := &stage{t: t, start: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)}
		s.now = s.start
		return s.command
	})
}

type stage struct {
	t          testing.TB
	start, now time.Time
	c          *linklocal.Claimer
	it         netip.Addr // the last address probed or announced
	kinds      []string   // of the events of the current command
	out        strings.Builder
}

func (s *stage) command(args []string) string {
	s.out.Reset()
	s.kinds = nil
	switch args[0] {
	case "new":
		s.create(args[1:])
	case "link":
		s.c.SetLink(s.now, args[1] == "up")
	case "routable":
		s.c.SetRoutable(s.now, args[1] == "on")
	case "resume":
		s.c.Resume(s.now)
	case "deleted":
		s.c.Deleted(s.now)
	case "stop":
		s.c.Stop(s.now)
	case "recv":
		s.c.HandlePacket(s.now, s.packet(args[1:]))
	case "at":
		d, err := time.ParseDuration(args[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.run(func(next time.Time) bool { return !next.After(s.start.Add(d)) })
		s.now = s.start.Add(d)
	case "until":
		s.run(func(time.Time) bool { return !strings.Contains(strings.Join(s.kinds, " "), args[1]) })
	default:
		s.t.Fatalf("unknown command %q", args[0])
	}
	s.drain()
	fmt.Fprintf(&s.out, "(%v)\n", s.c.State())
	return s.out.String()
}

// run handles timeouts as long as more says so of the next.
func (s *stage) run(more func(time.Time) bool) {
	for range 1000 {
		next, ok := s.c.NextTimeout()
		if !ok || !more(next) {
			return
		}
		s.now = next
		s.c.HandleTimeout(s.now)
		s.drain()
	}
	s.t.Fatal("no end of timeouts")
}

func (s *stage) drain() {
	ms := s.now.Sub(s.start).Milliseconds()
	for _, p := range s.c.Outgoing() {
		to := ""
		if p.Destination != linklocal.Broadcast {
			to = " unicast"
		}
		fmt.Fprintf(&s.out, "%d send%s %v\n", ms, to, p)
	}
	for _, e := range s.c.Events() {
		s.kinds = append(s.kinds, e.Kind.String())
		if e.Address.IsValid() {
			s.it = e.Address
		}
		if e.Kind != linklocal.EventProbe && e.Kind != linklocal.EventAnnounce { // the packet says it
			fmt.Fprintf(&s.out, "%d event %v\n", ms, e)
		}
	}
}

func (s *stage) create(args []string) {
	cfg := linklocal.ClaimerConfig{HardwareAddr: s.hw(args[0])}
	for _, a := range args[1:] {
		key, value, _ := strings.Cut(a, "=")
		var err error
		switch key {
		case "first":
			cfg.First, err = netip.ParseAddr(value)
		case "policy":
			cfg.Policy, err = linklocal.ParsePolicy(value)
		case "linger":
			cfg.Linger, err = time.ParseDuration(value)
		default:
			s.t.Fatalf("unknown option %q", a)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
	c, err := linklocal.NewClaimer(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.c = c
}

func (s *stage) packet(args []string) linklocal.Packet {
	addr := s.it
	if args[1] != "it" {
		addr = netip.MustParseAddr(args[1])
	}
	from := s.hw(args[2])
	p := linklocal.Packet{
		Destination: linklocal.Broadcast, Source: from, Operation: linklocal.Request,
		SenderHardwareAddr: from, SenderIP: netip.IPv4Unspecified(), TargetIP: addr,
	}
	switch args[0] {
	case "probe":
	case "announce":
		p.SenderIP = addr
	case "request":
		p.SenderIP = netip.MustParseAddr(args[3])
	case "reply":
		p.Operation, p.SenderIP, p.TargetIP = linklocal.Reply, addr, netip.IPv4Unspecified()
	default:
		s.t.Fatalf("unknown packet %q", args[0])
	}
	return p
}

func (s *stage) hw(text string) linklocal.HardwareAddr {
	h, err := linklocal.ParseHardwareAddr(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return h
}
