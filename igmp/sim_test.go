package igmp_test

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/aether-lan/aether/igmp"
	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/internal/netsim"
)

// node makes hosts and queriers engines of one kind: their events become text.
type node[E fmt.Stringer] struct {
	loop.Engine[igmp.Packet, E]
}

func (n node[E]) Events() []string {
	var all []string
	for _, e := range n.Engine.Events() {
		all = append(all, e.String())
	}
	return all
}

// stranger is on the link without being an engine: it sends what it is told to
// and counts what it hears.
type stranger struct {
	out     []igmp.Packet
	reports int
	queries int
}

func (s *stranger) HandlePacket(_ time.Time, p igmp.Packet) {
	switch p.Message.(type) {
	case *igmp.Query:
		s.queries++
	case *igmp.Report:
		s.reports++
	}
}
func (s *stranger) HandleTimeout(time.Time)            {}
func (s *stranger) NextTimeout() (t time.Time, _ bool) { return t, false }
func (s *stranger) Outgoing() []igmp.Packet            { o := s.out; s.out = nil; return o }
func (s *stranger) Events() []string                   { return nil }

// lan is a simulated link. Every packet is written and parsed on its way.
type lan struct {
	*netsim.Sim[igmp.Packet, string]
	t        *testing.T
	seed     uint64
	queriers []*igmp.Querier
	hosts    []*igmp.Host
	routers  []netsim.ID // of the queriers
	members  []netsim.ID // of the hosts
}

func newLAN(t *testing.T, seed uint64, f netsim.Faults) *lan {
	l := &lan{Sim: netsim.New[igmp.Packet, string](seed), t: t, seed: seed}
	l.Segment("lan").Faults = f
	l.Encode = func(b []byte, p igmp.Packet) []byte {
		b, err := p.Append(b)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	l.Receive = func(_, _ netsim.ID, p igmp.Packet) igmp.Packet {
		p, err := igmp.ParsePacket(l.Encode(nil, p))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	return l
}

func (l *lan) querier(cfg igmp.QuerierConfig) *igmp.Querier {
	q, err := igmp.NewQuerier(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.queriers = append(l.queriers, q)
	l.routers = append(l.routers, l.Attach(node[igmp.QuerierEvent]{q}, "lan").ID)
	return q
}

func (l *lan) start(i int) { l.Do(l.routers[i], l.queriers[i].Start) }

func (l *lan) host(cfg igmp.HostConfig) *igmp.Host {
	h, err := igmp.NewHost(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	l.hosts = append(l.hosts, h)
	l.members = append(l.members, l.Attach(node[igmp.HostEvent]{h}, "lan").ID)
	return h
}

// twenty attaches hosts 10.0.1.1 to 10.0.1.20, whose versions are mixed if asked.
func (l *lan) twenty(mixed bool) {
	for i := range 20 {
		cfg := igmp.HostConfig{Address: netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 1)})}
		if mixed {
			cfg.Version = []igmp.Version{3, 3, 2, 1}[i%4]
		}
		l.host(cfg)
	}
}

func (l *lan) join(i int, group string) {
	l.Do(l.members[i], func(now time.Time) {
		if err := l.hosts[i].Join(now, addr(group)); err != nil {
			l.t.Fatal(err)
		}
	})
}

func (l *lan) leave(i int, group string) {
	l.Do(l.members[i], func(now time.Time) {
		if err := l.hosts[i].Leave(now, addr(group)); err != nil {
			l.t.Fatal(err)
		}
	})
}

func (l *lan) has(i int, group string) bool {
	_, ok := l.queriers[i].Group(addr(group))
	return ok
}

func (l *lan) errorf(format string, args ...any) {
	l.t.Helper()
	l.t.Errorf("seed %d at %v: %s", l.seed, l.Elapsed(), fmt.Sprintf(format, args...))
}

// simulate runs a story for each seed, twice, and compares the traces.
func simulate(t *testing.T, usual uint64, story func(t *testing.T, seed uint64) *lan) {
	n := usual
	if s := os.Getenv("AETHER_SIM_SEEDS"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 32); err != nil {
			t.Fatalf("AETHER_SIM_SEEDS: %v", err)
		}
	}
	for seed := range n {
		trace := story(t, seed).Trace()
		if again := story(t, seed).Trace(); again != trace {
			t.Errorf("seed %d: traces %016x and %016x", seed, trace, again)
		}
		if t.Failed() {
			t.Fatalf("seed %d trace %016x", seed, trace)
		}
	}
	t.Logf("%d seeds", n)
}

var quick = netsim.Faults{Delay: time.Millisecond, Jitter: 5 * time.Millisecond}

// Four routers start within a second on a link that loses packets, among them
// one with an address it gave itself and one without any. When losses end one is
// left: the lowest with a real address. It dies, the next takes over after 255 s;
// it comes back and is elected again.
func TestSim_ElectionRaces(t *testing.T) {
	simulate(t, 30, func(t *testing.T, seed uint64) *lan {
		l := newLAN(t, seed, netsim.Faults{Delay: time.Millisecond, Jitter: 50 * time.Millisecond, Loss: 0.3, Duplicate: 0.1})
		for _, a := range []string{"10.0.0.7", "10.0.0.3", "169.254.1.1", "10.0.0.9", "0.0.0.0"} {
			l.querier(igmp.QuerierConfig{Address: addr(a)})
		}
		for i := range l.queriers {
			l.At(time.Duration(l.Rand().IntN(int(time.Second))), func() { l.start(i) })
		}
		l.RunFor(10 * time.Minute)
		l.Segment("lan").Faults = quick
		l.RunFor(10 * time.Minute)
		l.elected(1)

		l.Crash(l.routers[1])
		l.RunFor(255*time.Second + time.Second)
		l.elected(0)

		l.Restart(l.routers[1], node[igmp.QuerierEvent]{l.queriers[1]})
		l.start(1)
		l.RunFor(time.Second)
		l.elected(1)
		return l
	})
}

// elected checks that the querier i, and nobody else who is not down, asks.
func (l *lan) elected(want int) {
	l.t.Helper()
	for i, q := range l.queriers {
		if i == 1 && want != 1 {
			continue // it is down
		}
		if (q.Role() == igmp.RoleQuerier) != (i == want) {
			l.errorf("router %d is %v", i, q.Role())
		}
	}
}

// Hosts of all versions join, some vanish without a word. Both routers know every
// group while it has members, and forget it between 260 s after its last report
// and the time that two more queries would have taken.
func TestSim_MembershipOfMixedVersions(t *testing.T) {
	for _, mixed := range []bool{false, true} {
		simulate(t, 10, func(t *testing.T, seed uint64) *lan {
			l := newLAN(t, seed, quick)
			l.querier(igmp.QuerierConfig{Address: addr("10.0.0.1")})
			l.querier(igmp.QuerierConfig{Address: addr("10.0.0.2")})
			l.twenty(mixed)
			l.start(0)
			l.start(1)
			for i := range l.hosts {
				l.At(time.Duration(l.Rand().IntN(int(time.Minute))), func() { l.join(i, fmt.Sprintf("239.1.1.%d", 1+i%5)) })
			}
			for range 30 {
				l.RunFor(time.Minute)
				for i := range l.queriers {
					if got := len(l.queriers[i].Groups()); got != 5 {
						l.errorf("router %d knows %d groups", i, got)
					}
				}
			}
			for i, id := range l.members {
				if i%5 == 2 { // all members of one group
					l.Crash(id)
				}
			}
			died := l.Elapsed()
			for l.has(0, "239.1.1.3") && l.Elapsed() < died+time.Hour {
				l.RunFor(time.Second)
			}
			// The last report was up to an interval and an answer ago.
			if d := l.Elapsed() - died; d > 262*time.Second || d < 120*time.Second {
				l.errorf("a dead group was known for %v", d)
			}
			l.RunFor(20 * time.Second)
			if l.has(1, "239.1.1.3") || !l.has(0, "239.1.1.1") || !l.has(1, "239.1.1.1") {
				l.errorf("the routers know %v and %v", l.queriers[0].Groups(), l.queriers[1].Groups())
			}
			return l
		})
	}
}

// Nineteen of twenty members leave at once, again and again: the one that stays is
// never cut off, by neither router, and the leaves cost few queries.
func TestSim_LeaveStorm(t *testing.T) {
	for _, version := range []igmp.Version{2, 3} {
		simulate(t, 10, func(t *testing.T, seed uint64) *lan {
			const group = "239.1.1.1"
			l := newLAN(t, seed, quick)
			l.querier(igmp.QuerierConfig{Address: addr("10.0.0.1"), Version: version})
			l.querier(igmp.QuerierConfig{Address: addr("10.0.0.2"), Version: version})
			l.twenty(false)
			l.start(0)
			l.start(1)
			l.RunFor(time.Minute)
			for i := range l.hosts {
				l.join(i, group)
			}
			l.RunFor(time.Minute)
			l.Event = func(id netsim.ID, _ time.Time, e string) {
				if e == "group-expired "+group {
					l.errorf("router %d cut the last member off", id)
				}
			}
			before := l.queriers[0].Stats().SpecificQueries
			for range 10 {
				for i := range 19 {
					l.leave(i, group)
				}
				l.RunFor(20 * time.Second)
				for i := range 19 {
					l.join(i, group)
				}
				l.RunFor(20 * time.Second)
			}
			if n := l.queriers[0].Stats().SpecificQueries - before; n == 0 || version == 3 && n < 20 || n > 10*3*2 {
				l.errorf("%d leaves cost %d queries", 10*19, n)
			}
			if n := l.queriers[1].Stats().QueriesSent; n > 1 {
				l.errorf("the other router sent %d queries", n)
			}
			return l
		})
	}
}

// Somebody sends leaves for a group that it is no member of, in both languages, for
// ten minutes. A member answers each time and is never cut off.
func TestSim_ForgedLeavesCutNobodyOff(t *testing.T) {
	simulate(t, 10, func(t *testing.T, seed uint64) *lan {
		const group = "239.1.1.1"
		l := newLAN(t, seed, quick)
		l.querier(igmp.QuerierConfig{Address: addr("10.0.0.1")})
		l.twenty(false)
		forger := new(stranger)
		id := l.Attach(forger, "lan").ID
		l.start(0)
		l.join(3, group)
		l.RunFor(30 * time.Second)
		l.Event = func(_ netsim.ID, _ time.Time, e string) {
			if e == "group-expired "+group {
				l.errorf("the member was cut off")
			}
		}
		for l.Elapsed() < 10*time.Minute {
			l.Do(id, func(time.Time) {
				forger.out = append(forger.out,
					igmp.NewPacket(addr("10.0.1.4"), addr("224.0.0.2"), &igmp.Leave{Group: addr(group)}), // even in the member's name
					igmp.NewPacket(addr("10.0.9.9"), addr("224.0.0.22"), &igmp.Report{Version: 3,
						Records: []igmp.Record{{Type: igmp.ChangeToInclude, Group: addr(group)}}}))
			})
			l.RunFor(time.Duration(l.Rand().IntN(int(3 * time.Second))))
		}
		if !l.has(0, group) {
			l.errorf("the group is gone")
		}
		return l
	})
}

// A thousand spoofed queries a second, of all kinds and versions, do not make hosts
// send without end: each group of version 1 and 2 is told at most twice a second,
// and a host of version 3 sends at most eleven packets, whatever it listens to.
func TestSim_SpoofedQueriesDoNotFlood(t *testing.T) {
	for _, version := range []igmp.Version{1, 2, 3} {
		simulate(t, 1, func(t *testing.T, seed uint64) *lan {
			l := newLAN(t, seed, netsim.Faults{Delay: time.Millisecond})
			for i := range 4 {
				l.host(igmp.HostConfig{Address: netip.AddrFrom4([4]byte{10, 0, 1, byte(i + 1)})})
				for g := range 20 {
					l.join(i, fmt.Sprintf("239.1.%d.%d", i, g))
				}
			}
			forger := new(stranger)
			id := l.Attach(forger, "lan").ID
			l.RunFor(30 * time.Second)
			forger.reports = 0
			const span = 10 // seconds
			for range span * 1000 {
				q := &igmp.Query{Version: version, MaxResponse: 100 * time.Millisecond}
				dst := igmp.IPv4.AllSystems()
				if version > 1 && l.Rand().IntN(2) == 0 {
					q.Group = netip.AddrFrom4([4]byte{239, 1, byte(l.Rand().IntN(4)), byte(l.Rand().IntN(20))})
					dst = q.Group
				}
				l.Do(id, func(time.Time) { forger.out = append(forger.out, igmp.NewPacket(addr("10.0.0.66"), dst, q)) })
				l.RunFor(time.Millisecond)
			}
			most := 4 * 20 * 2 * (span + 1)
			if version == 3 {
				most = 4 * 11 * (span + 1)
			}
			if forger.reports > most || forger.reports < 40 {
				l.errorf("queries of version %d drew %d reports, want 40 to %d", version, forger.reports, most)
			}
			t.Logf("%d queries of version %d drew %d reports", span*1000, version, forger.reports)
			return l
		})
	}
}

// One pair of hosts in MLD, from the join to the leave.
func TestSim_MLD(t *testing.T) {
	simulate(t, 10, func(t *testing.T, seed uint64) *lan {
		l := newLAN(t, seed, quick)
		l.querier(igmp.QuerierConfig{Family: igmp.IPv6, Address: addr("fe80::1")})
		l.querier(igmp.QuerierConfig{Family: igmp.IPv6, Address: addr("fe80::2"), Version: 2})
		l.host(igmp.HostConfig{Family: igmp.IPv6, Address: addr("fe80::a")})
		l.host(igmp.HostConfig{Family: igmp.IPv6, Address: addr("fe80::b"), Version: 2})
		l.start(0)
		l.start(1)
		l.RunFor(time.Minute)
		l.join(0, "ff05::77")
		l.join(1, "ff05::77")
		l.RunFor(10 * time.Minute)
		l.leave(0, "ff05::77")
		l.RunFor(5 * time.Second)
		if !l.has(0, "ff05::77") || !l.has(1, "ff05::77") {
			l.errorf("the first leave removed the group")
		}
		l.leave(1, "ff05::77")
		l.RunFor(5 * time.Second)
		if l.has(0, "ff05::77") || l.has(1, "ff05::77") {
			l.errorf("the last leave did not remove the group")
		}
		return l
	})
}
