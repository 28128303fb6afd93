package conform

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/aether-lan/aether/mdns"
	"github.com/miekg/dns"
)

var (
	targetAddr = netip.MustParseAddr("192.0.2.1")
	ownAddr    = netip.MustParseAddr("192.0.2.2")
	groupAddr  = netip.MustParseAddrPort("224.0.0.251:5353")
)

// target is our own responder on a link in memory with the Tester. A fault changes
// what it is told or what it says.
type target struct {
	t     *testing.T
	rnd   *rand.Rand
	host  *mdns.Host
	label string
	fault fault
	boot  time.Time // when it starts; zero while it runs
}

// fault breaks a responder.
type fault struct {
	name   string
	caught string // the check that must fail or warn
	hear   func(m *mdns.Message) *mdns.Message
	say    func(m *mdns.Message) *mdns.Message
	delay  func(m *mdns.Message) time.Duration // 0 is the way itself
}

func instanceRecords(label, service, host string, port uint16) []mdns.Record {
	rrs := []string{
		service + " 4500 IN PTR " + label + "." + service,
		"_services._dns-sd._udp.local. 4500 IN PTR " + service,
		label + "." + service + " 120 IN SRV 0 0 8080 " + host,
		label + "." + service + ` 4500 IN TXT "path=/"`,
	}
	var list []mdns.Record
	for i, s := range rrs {
		rr, err := dns.NewRR(s)
		if err != nil {
			panic(err)
		}
		r, err := mdns.FromRR(rr)
		if err != nil {
			panic(err)
		}
		r.Flush = i >= 2
		list = append(list, r)
	}
	_ = port
	return list
}

func (x *target) start(now time.Time) {
	x.host = mdns.NewHost(x.rnd)
	x.host.SetLink(now, mdns.Link{
		Index: 1, Name: "eth0", IPv4: true, Unicast: true, Addresses: []netip.Prefix{netip.PrefixFrom(targetAddr, 24)},
	})
	if _, err := x.host.ClaimHost(now, "box"); err != nil {
		x.t.Fatal(err)
	}
	x.publish(now, "Wiki")
}

func (x *target) publish(now time.Time, label string) {
	x.label = label
	if _, err := x.host.Publish(now, instanceRecords(label, "_http._tcp.local.", "box.local.", 80)); err != nil {
		x.t.Fatal(err)
	}
}

// rename does what dnssd does when a name is lost.
func (x *target) rename(now time.Time) {
	for _, e := range x.host.Events() {
		if e.Kind == mdns.EventLost {
			x.publish(now, x.label+"I")
		}
	}
}

type delivery struct {
	at time.Time
	to *target // nil is the Tester
	p  Packet
}

// run turns both until the Tester is done, and returns its results.
func run(t *testing.T, seed uint64, f fault, checks []Check) []Result {
	t.Helper()
	return runFor(t, "Wiki._http._tcp.local.", seed, f, checks)
}

func runFor(t *testing.T, name string, seed uint64, f fault, checks []Check) []Result {
	t.Helper()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	x := &target{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), fault: f}
	x.start(now)
	set := Setting{Target: name, Address: targetAddr, Group: groupAddr, Own: ownAddr, Unicast: true, CanRestart: true, Rand: x.rnd}
	tester := NewTester(set, checks)
	defer tester.Close()
	began := now.Add(5 * time.Second)
	tester.deadline = began
	tester.started = true
	var queue []delivery
	var results []Result
	for range 1_000_000 {
		queue = append(queue, x.outgoing(now)...)
		for _, p := range tester.Outgoing() {
			queue = append(queue, delivery{now.Add(time.Millisecond), x, p})
		}
		for _, e := range tester.Events() {
			switch e.Kind {
			case EventResult:
				results = append(results, e.Result)
			case EventRestart:
				x.host.Goodbye(now)
				queue = append(queue, x.outgoing(now)...)
				x.boot = now.Add(300 * time.Millisecond)
			case EventDone:
				return results
			}
		}
		next, ok := tester.NextTimeout()
		if at, has := x.host.NextTimeout(); has && x.boot.IsZero() && (!ok || at.Before(next)) {
			next = at
		}
		if !x.boot.IsZero() && x.boot.Before(next) {
			next = x.boot
		}
		slices.SortStableFunc(queue, func(a, b delivery) int { return a.at.Compare(b.at) })
		if len(queue) > 0 && !queue[0].at.After(next) {
			d := queue[0]
			queue, now = queue[1:], later(now, d.at)
			if d.to == nil {
				tester.HandlePacket(now, d.p)
			} else if x.boot.IsZero() {
				x.hear(now, d.p)
			}
			continue
		}
		now = later(now, next)
		if !x.boot.IsZero() && !now.Before(x.boot) {
			x.boot = time.Time{}
			x.start(now)
		}
		x.host.HandleTimeout(now)
		x.rename(now)
		tester.HandleTimeout(now)
	}
	t.Fatal("the Tester does not end")
	return nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (x *target) hear(now time.Time, p Packet) {
	from := netip.AddrPortFrom(ownAddr, Port)
	if p.Legacy {
		from = netip.AddrPortFrom(ownAddr, 40000)
	}
	list := [][]byte{p.Data}
	if m, err := mdns.ParseMessage(p.Data); err == nil && x.fault.hear != nil {
		if m = x.fault.hear(m); m == nil {
			return
		}
		list, _ = m.Split(1400)
		if m.Truncated {
			list[0][2] |= 2
		}
	}
	for _, b := range list {
		x.host.HandlePacket(now, mdns.Packet{Data: b, From: from, To: p.To, IfIndex: 1})
	}
	x.rename(now)
}

func (x *target) outgoing(now time.Time) (list []delivery) {
	for _, p := range x.host.Outgoing() {
		m, err := mdns.ParseMessage(p.Data)
		if err != nil {
			x.t.Fatal(err)
		}
		at := now.Add(time.Millisecond)
		data := [][]byte{p.Data}
		if x.fault.say != nil {
			if m = x.fault.say(m); m == nil {
				continue
			}
			data, _ = m.Split(1400)
		}
		if x.fault.delay != nil {
			at = at.Add(x.fault.delay(m))
		}
		for _, b := range data {
			list = append(list, delivery{at: at, p: Packet{
				Data: b, From: netip.AddrPortFrom(targetAddr, Port), To: p.To, HopLimit: 255, Legacy: p.To.Port() == 40000,
			}})
		}
	}
	return list
}

// TestTester_OurResponderPasses: every check, and none has anything to complain.
func TestTester_OurResponderPasses(t *testing.T) {
	for seed := range uint64(3) {
		for _, r := range run(t, seed, fault{}, Checks()) {
			if r.Verdict != Pass {
				t.Errorf("seed %d: %s: %v: %q", seed, r.Check, r.Verdict, r.Notes)
			}
			if len(r.Packets) == 0 && r.Check != "idle" {
				t.Errorf("%s: no packets", r.Check)
			}
		}
	}
}

// A host without a service passes what can be checked of it, and the rest is skipped.
func TestTester_AHostAlone(t *testing.T) {
	for _, r := range runFor(t, "box.local.", 5, fault{}, Checks()) {
		if c := checkOf(r.Check); r.Verdict != Pass && !(c.instance && r.Verdict == Skipped) {
			t.Errorf("%s: %v: %q", r.Check, r.Verdict, r.Notes)
		}
	}
}

func checkOf(name string) Check {
	return Checks()[slices.IndexFunc(Checks(), func(c Check) bool { return c.Name == name })]
}

func each(m *mdns.Message, f func(*mdns.Record)) *mdns.Message {
	for _, list := range [][]mdns.Record{m.Answers, m.Authority, m.Additional} {
		for i := range list {
			f(&list[i])
		}
	}
	return m
}

func isShared(r *mdns.Record) bool { return r.Type == dns.TypePTR }

var faults = []fault{
	{name: "probes QM", caught: "probing", say: func(m *mdns.Message) *mdns.Message {
		for i := range m.Questions {
			m.Questions[i].Unicast = false
		}
		return m
	}},
	{name: "knows no NSEC", caught: "negative", say: func(m *mdns.Message) *mdns.Message {
		nsec := func(r mdns.Record) bool { return r.Type == dns.TypeNSEC }
		m.Answers, m.Additional = slices.DeleteFunc(m.Answers, nsec), slices.DeleteFunc(m.Additional, nsec)
		return m
	}},
	{name: "renames on a lost tie-break", caught: "tie-break-lost", hear: func(m *mdns.Message) *mdns.Message {
		if len(m.Authority) > 0 && m.Authority[0].Type == dns.TypeSRV {
			return &mdns.Message{Response: true, Answers: m.Authority}
		}
		return m
	}},
	{name: "ignores tie-breaks", caught: "tie-break-lost", hear: func(m *mdns.Message) *mdns.Message { m.Authority = nil; return m }},
	{name: "sets the flush bit on shared records", caught: "shared-delay", say: func(m *mdns.Message) *mdns.Message {
		return each(m, func(r *mdns.Record) { r.Flush = r.Flush || isShared(r) && m.Response })
	}},
	{name: "never sets the flush bit", caught: "unique-reply", say: func(m *mdns.Message) *mdns.Message {
		return each(m, func(r *mdns.Record) { r.Flush = false })
	}},
	{name: "ignores known answers", caught: "known-answer", hear: func(m *mdns.Message) *mdns.Message {
		if !m.Response {
			m.Answers = nil
		}
		return m
	}},
	{name: "is always late", caught: "unique-reply", delay: func(m *mdns.Message) time.Duration {
		if m.Response {
			return 800 * time.Millisecond
		}
		return 0
	}},
	{name: "does not answer resolvers", caught: "legacy", say: func(m *mdns.Message) *mdns.Message {
		if m.ID != 0 {
			return nil
		}
		return m
	}},
	{name: "ignores denials", caught: "denied", hear: func(m *mdns.Message) *mdns.Message {
		if m.Response {
			return nil
		}
		return m
	}},
	{name: "hears one question of each query", caught: "several-questions", hear: func(m *mdns.Message) *mdns.Message {
		if len(m.Questions) > 1 {
			m.Questions = m.Questions[:1]
		}
		return m
	}},
	{name: "says no goodbye", caught: "probing", say: func(m *mdns.Message) *mdns.Message {
		if m.Response && len(m.Answers) > 0 && m.Answers[0].TTL == 0 {
			return nil
		}
		return m
	}},
	{name: "sends additional records as answers", caught: "additional", say: func(m *mdns.Message) *mdns.Message {
		m.Answers, m.Additional = append(m.Answers, m.Additional...), nil
		return m
	}},
	{name: "sends every record twice", caught: "any", say: func(m *mdns.Message) *mdns.Message {
		m.Answers = append(m.Answers, m.Answers...)
		return m
	}},
	{name: "tells cases apart", caught: "case", hear: func(m *mdns.Message) *mdns.Message {
		for _, q := range m.Questions {
			if q.Name == swapCase("Wiki._http._tcp.local.") {
				return nil
			}
		}
		return m
	}},
	{name: "hears TC as the end", caught: "known-answer-packets", hear: func(m *mdns.Message) *mdns.Message { m.Truncated = false; return m }},
}

// TestTester_CatchesFaults: every fault is found by the check that it is meant for.
func TestTester_CatchesFaults(t *testing.T) {
	for _, f := range faults {
		results := run(t, 7, f, Checks())
		i := slices.IndexFunc(results, func(r Result) bool { return r.Check == f.caught })
		if i < 0 || results[i].Verdict < Warning {
			t.Errorf("%s: not caught by %s: %+v", f.name, f.caught, results[i].Notes)
		}
	}
}

func TestJudgeDelays(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	uniform := func(from, to int) (list []time.Duration) {
		for range 24 {
			list = append(list, time.Duration(from+rnd.IntN(to-from))*time.Millisecond)
		}
		return list
	}
	for _, c := range []struct {
		delays []time.Duration
		want   Verdict
	}{
		{uniform(20, 120), Pass}, {uniform(0, 5), Fail}, {uniform(100, 104), Fail}, {uniform(20, 40), Warning}, {uniform(20, 300), Warning},
	} {
		var r report
		judgeDelays(&r, c.delays)
		if r.verdict != c.want {
			t.Errorf("%v: %v, want %v", c.delays, r.verdict, c.want)
		}
	}
}
