package igmp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// station is a host or a querier behind a port of the simulated switch. Two with one
// port are on a hub there.
type station struct {
	port   int
	host   *Host
	router *Querier
	off    bool
	wants  map[netip.Addr]time.Time // since when
	left   map[netip.Addr]time.Time
}

func (s *station) engine() interface {
	HandlePacket(time.Time, Packet)
	HandleTimeout(time.Time)
	NextTimeout() (time.Time, bool)
	Outgoing() []Packet
} {
	if s.host != nil {
		return s.host
	}
	return s.router
}

// switched is a link of stations around a switch that snoops, in virtual time.
type switched struct {
	t        *testing.T
	seed     uint64
	rnd      *rand.Rand
	now      time.Time
	sw       *Snooper
	stations []*station
	ports    []int
	frames   int
}

func newSwitched(t *testing.T, seed uint64, cfg SnooperConfig) *switched {
	return &switched{t: t, seed: seed, rnd: rand.New(rand.NewPCG(seed, 7)), now: snoopStart, sw: NewSnooper(snoopStart, cfg)}
}

func (l *switched) add(s *station) {
	s.wants, s.left = make(map[netip.Addr]time.Time), make(map[netip.Addr]time.Time)
	l.stations = append(l.stations, s)
	if !slices.Contains(l.ports, s.port) {
		l.ports = append(l.ports, s.port)
	}
}

func (l *switched) router(port int, addr string, cfg QuerierConfig) *station {
	cfg.Address = netip.MustParseAddr(addr)
	q, err := NewQuerier(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	s := &station{port: port, router: q}
	l.add(s)
	q.Start(l.now)
	return s
}

func (l *switched) host(port int, v Version) *station {
	n := byte(len(l.stations) + 10)
	h, err := NewHost(HostConfig{Version: v, Address: netip.AddrFrom4([4]byte{192, 0, 2, n}), Rand: rand.New(rand.NewPCG(l.seed, uint64(n)))})
	if err != nil {
		l.t.Fatal(err)
	}
	s := &station{port: port, host: h}
	l.add(s)
	return s
}

// send carries a frame from a station through the switch; each step of it happens at
// once.
func (l *switched) send(from *station, frame []byte) (reached []*station) {
	l.frames++
	var to []int
	if from != nil {
		l.sw.HandleFrame(l.now, from.port, frame)
		to = append(l.sw.Forward(from.port, frame, l.ports), from.port)
	} else {
		to = l.ports // the switch's own
	}
	for _, s := range l.stations {
		if s != from && !s.off && slices.Contains(to, s.port) {
			reached = append(reached, s)
		}
	}
	return reached
}

// settle hands on what the engines have to say until all are silent.
func (l *switched) settle() {
	for busy := true; busy; {
		busy = false
		for _, o := range l.sw.Outgoing() {
			busy = true
			l.hear(l.send(nil, o.Frame), o.Frame)
		}
		for _, s := range l.stations {
			for _, p := range s.engine().Outgoing() {
				if s.off {
					continue
				}
				busy = true
				ip, err := p.Append(nil)
				if err != nil {
					l.t.Fatal(err)
				}
				f := EthernetFrame(HardwareAddr{2, 0, 0, 0, 0, byte(s.port)}, ip)
				l.hear(l.send(s, f), f)
			}
		}
	}
}

func (l *switched) hear(list []*station, frame []byte) {
	_, p, err := ParseFrame(frame)
	if err != nil {
		l.t.Fatal(err)
	}
	for _, s := range list {
		s.engine().HandlePacket(l.now, p)
	}
}

// run lets time pass.
func (l *switched) run(d time.Duration) {
	end := l.now.Add(d)
	for {
		l.settle()
		next := end
		for _, s := range l.stations {
			if t, ok := s.engine().NextTimeout(); ok && !s.off && t.Before(next) {
				next = t
			}
		}
		if t, ok := l.sw.NextTimeout(); ok && t.Before(next) {
			next = t
		}
		if next.After(l.now) {
			l.now = next
		}
		l.sw.HandleTimeout(l.now)
		for _, s := range l.stations {
			if t, ok := s.engine().NextTimeout(); ok && !s.off && !t.After(l.now) {
				s.engine().HandleTimeout(l.now)
			}
		}
		if !l.now.Before(end) {
			l.settle()
			return
		}
	}
}

func (l *switched) join(s *station, g netip.Addr) {
	if err := s.host.SetFilter(l.now, 0, g, Exclude); err != nil {
		l.t.Fatal(err)
	}
	delete(s.left, g)
	if _, ok := s.wants[g]; !ok {
		s.wants[g] = l.now
	}
	l.settle()
}

func (l *switched) leave(s *station, g netip.Addr) {
	if err := s.host.SetFilter(l.now, 0, g, Include); err != nil {
		l.t.Fatal(err)
	}
	if _, ok := s.wants[g]; ok {
		s.left[g] = l.now
	}
	delete(s.wants, g)
	l.settle()
}

// check has a station send to g, and looks who is reached: all members, and no port
// whose last member has left for longer than slack.
func (l *switched) check(from *station, g netip.Addr, slack time.Duration) {
	reached := l.send(from, udpFrame(netip.MustParseAddr("192.0.2.99"), g, 0))
	for _, s := range l.stations {
		if s.host == nil || s == from {
			continue
		}
		if _, wants := s.wants[g]; wants && !slices.Contains(reached, s) {
			l.t.Fatalf("seed %d, at %v: the host at port %d has joined %v %v ago, and is cut off\n%v", l.seed, l.now.Sub(snoopStart), s.port, g, l.now.Sub(s.wants[g]), l.sw.Table())
		}
		wanted := slices.ContainsFunc(l.stations, func(o *station) bool {
			_, wants := o.wants[g]
			left, has := o.left[g]
			return o.port == s.port && (wants || has && l.now.Sub(left) <= slack)
		})
		// When another querier takes over, all is flooded while hosts answer it.
		pruning := l.sw.prunes(l.sw.vlans[vlanKey{}])
		if !wanted && pruning && slices.Contains(reached, s) && s.port != from.port {
			l.t.Fatalf("seed %d, at %v: nobody at port %d wants %v, and it is sent\n%v", l.seed, l.now.Sub(snoopStart), s.port, g, l.sw.Table())
		}
	}
}

// Two hours of joining and leaving, with hosts of several versions, a hub with two of
// them, and a querier that dies: no member is ever cut off, and who has left is soon
// left alone.
func TestSim_SwitchServesMembersAndNobodyElse(t *testing.T) {
	groups := []netip.Addr{group1, alias1, netip.MustParseAddr("239.9.9.9")}
	for _, c := range []struct {
		name     string
		cfg      SnooperConfig
		versions []Version
		queriers int
		slack    time.Duration
	}{
		{"version 3", SnooperConfig{}, []Version{V3}, 2, 4 * time.Second},
		{"versions 2 and 3", SnooperConfig{}, []Version{V3, V2}, 2, 4 * time.Second},
		{"all versions", SnooperConfig{}, []Version{V3, V2, V1}, 2, 265 * time.Second},
		{"the switch asks", SnooperConfig{Querier: true}, []Version{V3, V2}, 0, 4 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(10) {
				l := newSwitched(t, seed, c.cfg)
				var routers, hosts []*station
				for i := range c.queriers {
					routers = append(routers, l.router(i+1, fmt.Sprintf("192.0.2.%d", i+1), QuerierConfig{}))
				}
				for i := range 6 {
					hosts = append(hosts, l.host(10+min(i, 4), c.versions[i%len(c.versions)])) // the last two are on a hub
				}
				l.run(11 * time.Second) // the switch begins to prune
				for step := range 400 {
					h, g := hosts[l.rnd.IntN(len(hosts))], groups[l.rnd.IntN(len(groups))]
					if l.rnd.IntN(2) == 0 {
						l.join(h, g)
					} else {
						l.leave(h, g)
					}
					// While the querier's death is unnoticed, nobody follows up leaves.
					slack := c.slack
					if c.queriers > 0 && step > 200 {
						slack = 265 * time.Second
					}
					for _, g := range groups {
						l.check(hosts[0], g, slack)
					}
					l.run(time.Duration(l.rnd.IntN(36_000)) * time.Millisecond)
					for _, g := range groups {
						l.check(hosts[0], g, slack)
					}
					if step == 200 && len(routers) > 0 {
						routers[0].off = true
					}
				}
				if seed == 0 {
					t.Logf("%v of time, %d frames", l.now.Sub(snoopStart).Round(time.Minute), l.frames)
				}
			}
		})
	}
}

// A storm of leaves: forty hosts leave at once, one stays.
func TestSim_LeaveStormSparesWhoStays(t *testing.T) {
	for _, v := range []Version{V2, V3} {
		l := newSwitched(t, 1, SnooperConfig{})
		l.router(1, "192.0.2.1", QuerierConfig{})
		sender := l.host(2, V3)
		var hosts []*station
		for i := range 41 {
			hosts = append(hosts, l.host(10+i, v))
		}
		l.run(11 * time.Second)
		for _, h := range hosts {
			l.join(h, group1)
		}
		l.run(30 * time.Second)
		for _, h := range hosts[1:] {
			l.leave(h, group1)
		}
		for range 50 {
			l.run(100 * time.Millisecond)
			l.check(sender, group1, 4*time.Second)
		}
		l.run(10 * time.Minute)
		l.check(sender, group1, 4*time.Second)
		if tab := l.sw.Table(); len(tab) != 1 {
			t.Errorf("version %d: %v", v, tab)
		}
	}
}

// The cliff: without a querier a switch that prunes cuts members off after 260 s, and
// one that floods does not.
func TestSim_TheCliff(t *testing.T) {
	for _, prune := range []bool{true, false} {
		l := newSwitched(t, 1, SnooperConfig{PruneWithoutQuerier: prune})
		sender, member := l.host(2, V3), l.host(3, V3)
		l.join(member, group1)
		f := udpFrame(sourceA, group1, 0)
		var lost time.Duration
		for lost = 0; lost < 10*time.Minute; lost += time.Second {
			if !slices.Contains(l.send(sender, f), member) {
				break
			}
			l.run(time.Second)
		}
		// The report is repeated once, within a second.
		if cut := lost < 10*time.Minute; cut != prune || prune && (lost < 260*time.Second || lost > 262*time.Second) {
			t.Errorf("prune %t: cut off after %v", prune, lost)
		}
	}
}
