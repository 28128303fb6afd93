package probe

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
)

// lan is a simulated network of senders and one receiver, node 0, with its own count
// of what arrived.
type lan struct {
	*netsim.Sim[Packet, Event]
	r       *Receiver
	from    map[netsim.ID]netip.AddrPort
	arrived map[string]*slowWindow
	events  map[EventKind]int
}

func newLAN(seed uint64, f netsim.Faults, cfg ReceiverConfig) *lan {
	l := &lan{
		Sim: netsim.New[Packet, Event](seed), r: NewReceiver(cfg, netsim.Start), from: map[netsim.ID]netip.AddrPort{},
		arrived: map[string]*slowWindow{}, events: map[EventKind]int{},
	}
	l.Segment("lan").Faults = f
	l.Sim.Receive = func(from, to netsim.ID, p Packet) Packet {
		p.From, p.HopLimit = l.from[from], 1
		if m, err := parseMessage(p.Data); err == nil && to == 0 && m.kind == kindTest {
			key := fmt.Sprint(p.From, p.To.Addr(), m.from)
			if l.arrived[key] == nil {
				l.arrived[key] = &slowWindow{seen: map[uint64]bool{}}
			}
			l.arrived[key].take(m.seq)
		}
		return p
	}
	l.Sim.Event = func(_ netsim.ID, _ time.Time, e Event) { l.events[e.Kind]++ }
	l.Sim.Encode = func(b []byte, p Packet) []byte { return append(b, p.Data...) }
	l.Attach(l.r, "lan")
	return l
}

// send attaches a sender at an address.
func (l *lan) send(t *testing.T, from netip.AddrPort, id uint64, count uint64, groups ...netip.AddrPort) *netsim.Node[Packet, Event] {
	t.Helper()
	s, err := NewSender(SenderConfig{Groups: groups, Count: count, Interval: 10 * time.Millisecond, ID: id, HopLimit: 3}, l.Now())
	if err != nil {
		t.Fatal(err)
	}
	n := l.Attach(s, "lan")
	l.from[n.ID] = from
	return n
}

// Two senders on one group, two behind one address and port, one that sends to two
// groups: with loss, duplicates and reordering every count of each is what an oracle
// counts that keeps all.
func TestReceiver_SimCountsEachSender(t *testing.T) {
	var trace uint64
	for run, seed := range []uint64{1, 1, 2, 3, 4, 5, 6, 7, 8, 9} {
		l := newLAN(seed, netsim.Faults{Delay: time.Millisecond, Jitter: 2 * time.Millisecond, Loss: 0.1, Duplicate: 0.05, Reorder: 0.05, ReorderDelay: 35 * time.Millisecond}, ReceiverConfig{})
		l.send(t, at(1), 11, 500, group)
		l.send(t, at(2), 22, 500, group, other)
		l.send(t, at(2), 33, 500, group)
		if !l.RunIdle(time.Minute) {
			t.Fatalf("seed %d: not idle", seed)
		}
		if len(l.r.Reports()) != 4 || len(l.arrived) != 4 {
			t.Fatalf("seed %d: %d streams, want 4", seed, len(l.r.Reports()))
		}
		for key, stream := range l.r.streams {
			r, want := stream.report(key), l.arrived[fmt.Sprint(key.from, key.group, key.origin)]
			if want == nil || r.Sent != 500 || r.Received != want.received || r.Lost != 500-r.Received || r.Duplicate != want.duplicate || r.Reordered != want.reordered || r.Late != 0 || r.Hops != 2 || r.Restarted {
				t.Errorf("seed %d: %+v, want %d received, %d duplicate, %d reordered", seed, r, want.received, want.duplicate, want.reordered)
			}
			if r.Lost == 0 || r.Duplicate == 0 || r.Reordered == 0 || r.Jitter == 0 || r.Delay.Min != 0 || r.Delay.Max < 30*time.Millisecond {
				t.Errorf("seed %d: the network did nothing to %+v", seed, r)
			}
		}
		if run == 0 {
			trace = l.Trace()
		} else if run == 1 && l.Trace() != trace {
			t.Errorf("seed %d gave traces %x and %x", seed, trace, l.Trace())
		}
	}
}

// What a perfect network does is nothing.
func TestReceiver_PerfectNetwork(t *testing.T) {
	l := newLAN(1, netsim.Faults{Delay: time.Millisecond}, ReceiverConfig{})
	l.send(t, at(1), 1, 100, group)
	l.RunIdle(time.Minute)
	r := l.r.Reports()[0]
	if r.Sent != 100 || r.Received != 100 || r.Lost+r.Duplicate+r.Reordered+r.Late+r.LostAtStart != 0 || r.Jitter != 0 || r.Delay.Max != 0 || r.Bytes != 10000 || !r.Epoch.Equal(netsim.Start) {
		t.Errorf("%+v", r)
	}
	if l.events[Received] != 100 || l.events[Appeared] != 1 || l.events[Ended] != 1 || l.events[Rerouted]+l.events[Restarted] != 0 {
		t.Errorf("%v", l.events)
	}
}

// A sender that dies and is started again on another port: two streams, one restart,
// no loss made up from the difference of their numbers.
func TestReceiver_Restart(t *testing.T) {
	l := newLAN(1, netsim.Faults{Delay: time.Millisecond}, ReceiverConfig{})
	first := l.send(t, at(1), 1, 0, group)
	l.At(500*time.Millisecond, func() { l.Crash(first.ID) })
	l.RunUntil(time.Second)
	l.send(t, netip.AddrPortFrom(at(1).Addr(), 999), 2, 50, group)
	l.RunIdle(time.Minute)
	list := l.r.Reports()
	if len(list) != 2 || l.events[Restarted] != 1 {
		t.Fatalf("%d streams, %d restarts", len(list), l.events[Restarted])
	}
	for _, r := range list {
		if r.Lost+r.Duplicate+r.Reordered != 0 || r.Restarted != (r.From.Port() == 999) {
			t.Errorf("%+v", r)
		}
	}
	// Two at once behind one address are no restart.
	l = newLAN(1, netsim.Faults{Delay: time.Millisecond}, ReceiverConfig{})
	l.send(t, at(1), 1, 100, group)
	l.RunUntil(200 * time.Millisecond)
	l.send(t, at(1), 2, 100, group)
	l.RunIdle(time.Minute)
	if len(l.r.Reports()) != 2 || l.events[Restarted] != 0 {
		t.Errorf("%d streams, %d restarts; want 2, 0", len(l.r.Reports()), l.events[Restarted])
	}
}

// Numbers before the first that came are lost when the receiver was there, and are
// not its business when it came later. The sender's clock is of no use for that.
func TestReceiver_Start(t *testing.T) {
	for _, c := range []struct {
		joined, first uint64 // in intervals of 10 ms, and the number
		sent, atStart uint64
	}{
		{0, 1, 100, 0}, {0, 4, 100, 3}, {0, 60, 100, 59}, {50, 60, 41, 0}, {50, 51, 50, 0}, {99, 100, 1, 0},
	} {
		r := NewReceiver(ReceiverConfig{}, netsim.Start.Add(time.Duration(c.joined)*10*time.Millisecond))
		for seq := c.first; seq <= 100; seq++ {
			m := message{kind: kindTest, from: origin{1, 1}, interval: 10 * time.Millisecond, seq: seq, sent: 12345}
			r.HandlePacket(netsim.Start.Add(time.Duration(seq)*10*time.Millisecond), Packet{Data: m.append(nil, 0), From: at(1), To: group})
		}
		got := r.Reports()[0]
		if got.Sent != c.sent || got.LostAtStart != c.atStart || got.Lost != c.atStart {
			t.Errorf("joined at %d, first %d: %+v", c.joined, c.first, got)
		}
	}
}

func TestReceiver_Routes(t *testing.T) {
	r := NewReceiver(ReceiverConfig{}, netsim.Start)
	for i, ttl := range []int{60, 60, 58, 0, 58, 255} {
		m := message{kind: kindTest, from: origin{1, 1}, hopLimit: 64, seq: uint64(i + 1)}
		r.HandlePacket(netsim.Start, Packet{Data: m.append(nil, 0), From: at(1), To: group, HopLimit: ttl})
	}
	var got []int
	for _, e := range r.Events() {
		if e.Kind == Rerouted {
			got = append(got, e.Hops)
		}
	}
	if fmt.Sprint(got) != "[6]" { // 255 cannot be of a datagram that left with 64
		t.Errorf("new distances %v, want [6]", got)
	}
}

// Datagrams of other programs are counted by sender, those of mcjoin by number.
func TestReceiver_Foreign(t *testing.T) {
	r := NewReceiver(ReceiverConfig{}, netsim.Start)
	give := func(host int, b string) {
		r.HandlePacket(netsim.Start, Packet{Data: []byte(b), From: at(host), To: group})
	}
	for _, n := range []int{0, 1, 3, 3} {
		give(1, fmt.Sprintf("Sender PID 7, MC group 239.255.1.2 ... count: %d, freq: 100\x00\x00", n))
	}
	give(2, "RTP or so")
	give(2, "")
	give(3, "aemp\x09")
	list := r.Reports()
	if len(list) != 2 || list[0].Format != Mcjoin || list[0].Sent != 4 || list[0].Lost != 1 || list[0].Duplicate != 1 ||
		list[1].Format != Raw || list[1].Received != 2 || list[1].Bytes != 9 {
		t.Errorf("%+v", list)
	}
	if tot := r.Totals(); tot.Datagrams != 6 || tot.Malformed != 1 {
		t.Errorf("%+v", tot)
	}
}

// A flood of senders meets the bound and its counter; silent ones make room.
func TestReceiver_FloodOfSenders(t *testing.T) {
	r := NewReceiver(ReceiverConfig{MaxStreams: 100}, netsim.Start)
	flood := func(now time.Time, first int) {
		for i := range 1000 {
			m := message{kind: kindTest, from: origin{1, uint64(first + i)}, seq: 1}
			r.HandlePacket(now, Packet{Data: m.append(nil, 0), From: at(1), To: group})
		}
	}
	flood(netsim.Start, 0)
	if n := len(r.Reports()); n != 100 || r.Totals().Refused != 900 || len(r.byHost) != 1 {
		t.Errorf("%d streams, %+v", n, r.Totals())
	}
	flood(netsim.Start.Add(2*silence), 5000)
	if n := len(r.Reports()); n != 100 || r.Totals().Refused != 1800 {
		t.Errorf("%d streams, %+v", n, r.Totals())
	}
}

func TestReceiver_Count(t *testing.T) {
	r := NewReceiver(ReceiverConfig{Count: 2, Groups: 2}, netsim.Start)
	for i := range 9 {
		r.HandlePacket(netsim.Start, Packet{Data: []byte{byte(i)}, From: at(1), To: group})
	}
	ev := r.Events()
	if tot := r.Totals(); tot.Datagrams != 4 || ev[len(ev)-1].Kind != Finished {
		t.Errorf("%+v, %+v", tot, ev)
	}
}

func FuzzReceiver(f *testing.F) {
	f.Add(message{kind: kindTest, seq: 9, hopLimit: 1, interval: 1000}.append(nil, 0), uint64(3))
	f.Add(message{kind: kindEnd, seq: 9}.append(nil, 0), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, step uint64) {
		r := NewReceiver(ReceiverConfig{MaxStreams: 4}, netsim.Start)
		p, err := NewPinger(PingerConfig{Group: group, MaxHosts: 2}, netsim.Start)
		if err != nil {
			t.Fatal(err)
		}
		now := netsim.Start
		for i := range 8 {
			in := Packet{Data: b, From: at(i % 3), To: group, HopLimit: i}
			r.HandlePacket(now, in)
			p.HandlePacket(now, in)
			p.HandleTimeout(now)
			now = now.Add(time.Duration(step % uint64(time.Hour)))
			if len(b) > 31 {
				b[31] += byte(step) // another number
			}
		}
		for _, rep := range r.Reports() {
			if rep.Received+rep.Lost != rep.Sent && rep.Format != Raw {
				t.Errorf("%+v", rep)
			}
		}
		for _, h := range p.Reports(now) {
			for _, path := range h.Paths {
				if path.Received+path.Lost != path.Sent {
					t.Errorf("%+v", path)
				}
			}
		}
		_, _ = p.Outgoing(), p.Events()
	})
}
