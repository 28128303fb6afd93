package linklocal_test

import (
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
	"github.com/aether-lan/aether/linklocal"
)

type sim = netsim.Sim[linklocal.Packet, linklocal.Event]

// newSim returns a link with count hosts, whose hardware addresses follow from
// the seed. Packets to one station reach only it.
func newSim(t *testing.T, seed uint64, count int, f netsim.Faults) (*sim, []*linklocal.Claimer) {
	s := netsim.New[linklocal.Packet, linklocal.Event](seed)
	s.Segment("lan").Faults = f
	ids := map[linklocal.HardwareAddr]netsim.ID{}
	s.To = func(_ netsim.ID, p linklocal.Packet) (netsim.ID, bool) {
		if p.Destination == linklocal.Broadcast {
			return 0, false
		}
		id, ok := ids[p.Destination]
		if !ok {
			id = -1 // a station that is not simulated
		}
		return id, true
	}
	s.Encode = func(b []byte, p linklocal.Packet) []byte {
		b, err := p.Append(b)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var cs []*linklocal.Claimer
	for i := range count {
		h := linklocal.HardwareAddr{2, byte(s.Rand().Uint32()), byte(s.Rand().Uint32()), 0, byte(i >> 8), byte(i)}
		// All want one of a few addresses first, as after a copied disk image.
		first := netip.AddrFrom4([4]byte{169, 254, 10, byte(s.Rand().IntN(8))})
		c, err := linklocal.NewClaimer(linklocal.ClaimerConfig{HardwareAddr: h, First: first})
		if err != nil {
			t.Fatal(err)
		}
		ids[h] = s.Attach(c, "lan").ID
		cs = append(cs, c)
	}
	return s, cs
}

// duplicates returns how many hosts hold an address that another holds, and how
// many hold none.
func duplicates(cs []*linklocal.Claimer) (double, none int) {
	held := map[netip.Addr]int{}
	for _, c := range cs {
		if a, ok := c.Address(); ok {
			held[a]++
		} else {
			none++
		}
	}
	for _, n := range held {
		double += n - 1
	}
	return double, none
}

func seeds(t *testing.T, usual uint64) uint64 {
	if s := os.Getenv("AETHER_SIM_SEEDS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatalf("AETHER_SIM_SEEDS: %v", err)
		}
		return n
	}
	return usual
}

// Hundreds of hosts want the same few addresses at once, on a link that loses,
// doubles and delays. When each has then asked for its own neighbours, no two
// hold one address.
func TestSim_NoTwoHostsShareAnAddress(t *testing.T) {
	for seed := range seeds(t, 6) {
		run := func() (uint64, int, int) {
			s, cs := newSim(t, seed, 200, netsim.Faults{Delay: time.Millisecond, Jitter: 20 * time.Millisecond, Loss: 0.05, Duplicate: 0.02})
			for i, c := range cs {
				s.Do(netsim.ID(i), func(now time.Time) { c.SetLink(now, true) })
			}
			s.RunFor(3 * time.Minute)
			// Traffic shows what the lost packets hid (RFC 3927 section 4).
			for range 4 {
				inquire(s, cs)
				s.RunFor(3 * time.Minute)
			}
			double, none := duplicates(cs)
			return s.Trace(), double, none
		}
		trace, double, none := run()
		t.Logf("seed %d trace %016x", seed, trace)
		if double != 0 || none != 0 {
			t.Errorf("seed %d: %d hosts share an address, %d have none", seed, double, none)
		}
		if again, _, _ := run(); again != trace {
			t.Errorf("seed %d: traces %016x and %016x", seed, trace, again)
		}
	}
}

// On a link that loses nothing, probing alone keeps hosts apart: nobody ever has
// to defend an address (RFC 3927 section 2.2.1).
func TestSim_RFC3927_2_2_1_ProbingSufficesWithoutLoss(t *testing.T) {
	for seed := range seeds(t, 10) {
		s, cs := newSim(t, seed, 100, netsim.Faults{Delay: 200 * time.Millisecond}) // slow, so that ties are common
		s.Event = func(id netsim.ID, now time.Time, e linklocal.Event) {
			if e.Kind == linklocal.EventDefended || e.Kind == linklocal.EventLost {
				t.Errorf("seed %d: host %d after %v: %v", seed, id, now.Sub(netsim.Start), e)
			}
		}
		for i, c := range cs {
			s.Do(netsim.ID(i), func(now time.Time) { c.SetLink(now, true) })
		}
		s.RunFor(5 * time.Minute)
		if double, none := duplicates(cs); double != 0 || none != 0 {
			t.Errorf("seed %d: %d hosts share an address, %d have none", seed, double, none)
		}
	}
}

// inquire has somebody ask for every address held, as traffic would.
func inquire(s *sim, cs []*linklocal.Claimer) {
	for i, c := range cs {
		addr, ok := c.Address()
		if !ok {
			continue
		}
		asker := (i + 1) % len(cs)
		from := linklocal.HardwareAddr{2, 0xff, 0, 0, 0, byte(asker)}
		for to := range cs {
			s.Inject(netsim.ID(asker), netsim.ID(to), linklocal.Packet{
				Destination: linklocal.Broadcast, Source: from, Operation: linklocal.Request, SenderHardwareAddr: from,
				SenderIP: netip.MustParseAddr("192.0.2.1"), TargetIP: addr,
			})
		}
	}
}

// Two links on which the same addresses are held are joined. Because replies are
// broadcast, the first question about an address brings the conflict to light
// (RFC 3927 section 4).
func TestSim_RFC3927_4_JoinedLinksHeal(t *testing.T) {
	for seed := range seeds(t, 5) {
		s, cs := newSim(t, seed, 40, netsim.Faults{Delay: time.Millisecond})
		var left, right []netsim.ID
		for i := range cs {
			if i%2 == 0 {
				left = append(left, netsim.ID(i))
			} else {
				right = append(right, netsim.ID(i))
			}
		}
		s.Partition(left, right)
		for i, c := range cs {
			s.Do(netsim.ID(i), func(now time.Time) { c.SetLink(now, true) })
		}
		s.RunFor(10 * time.Minute)
		before, _ := duplicates(cs)
		s.Heal()
		s.RunFor(10 * time.Minute)
		if quiet, _ := duplicates(cs); quiet != before {
			t.Errorf("seed %d: conflicts were solved without traffic: %d before, %d after", seed, before, quiet)
		}
		for range 3 {
			inquire(s, cs)
			s.RunFor(10 * time.Minute)
		}
		double, none := duplicates(cs)
		t.Logf("seed %d trace %016x: %d shared before", seed, s.Trace(), before)
		if before == 0 || double != 0 || none != 0 {
			t.Errorf("seed %d: %d shared before the links were joined, %d after; %d without", seed, before, double, none)
		}
	}
}
