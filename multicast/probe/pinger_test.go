package probe

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
)

// link is what may be wrong between two hosts: which datagrams do not pass.
type link struct {
	from, to  netsim.ID
	multicast bool
}

// pingLAN is a simulated network of Pingers.
type pingLAN struct {
	*netsim.Sim[Packet, Event]
	pingers []*Pinger
	cut     map[link]bool
	events  map[netsim.ID]map[EventKind]int
}

func newPingLAN(seed uint64, f netsim.Faults) *pingLAN {
	l := &pingLAN{Sim: netsim.New[Packet, Event](seed), cut: map[link]bool{}, events: map[netsim.ID]map[EventKind]int{}}
	l.Segment("lan").Faults = f
	l.Sim.To = func(_ netsim.ID, p Packet) (netsim.ID, bool) {
		if p.To.Addr().IsMulticast() {
			return 0, false
		}
		return netsim.ID(p.To.Addr().As4()[3]), true
	}
	l.Sim.Receive = func(from, to netsim.ID, p Packet) Packet {
		if l.cut[link{from, to, p.To.Addr().IsMulticast()}] {
			return Packet{} // nobody's
		}
		p.From, p.HopLimit = at(int(from)), 1
		return p
	}
	l.Sim.Event = func(id netsim.ID, _ time.Time, e Event) {
		if l.events[id] == nil {
			l.events[id] = map[EventKind]int{}
		}
		l.events[id][e.Kind]++
	}
	l.Sim.Encode = func(b []byte, p Packet) []byte { return append(b, p.Data...) }
	return l
}

// ping attaches a Pinger, whose address follows from its number.
func (l *pingLAN) ping(t *testing.T, cfg PingerConfig) netsim.ID {
	t.Helper()
	cfg.Group, cfg.ID = group, uint64(len(l.pingers)+100)
	if cfg.Interval == 0 {
		cfg.Interval = 100 * time.Millisecond
	}
	p, err := NewPinger(cfg, l.Now())
	if err != nil {
		t.Fatal(err)
	}
	l.pingers = append(l.pingers, p)
	return l.Attach(p, "lan").ID
}

// reports returns what one Pinger has found, when all is done.
func (l *pingLAN) reports(t *testing.T, id netsim.ID) []HostReport {
	t.Helper()
	if !l.RunIdle(time.Hour) {
		t.Fatal("not done after an hour")
	}
	return l.pingers[id].Reports(l.Now())
}

// counts writes the paths of a report as sent/received.
func counts(h HostReport) (s string) {
	for _, p := range h.Paths {
		s += fmt.Sprintf("%d/%d ", p.Sent, p.Received)
	}
	return s
}

func TestPinger_AllAskAllAndEndWithTheirVerdict(t *testing.T) {
	l := newPingLAN(1, netsim.Faults{Delay: time.Millisecond})
	for range 4 {
		l.ping(t, PingerConfig{Count: 10})
	}
	for id := range netsim.ID(4) {
		list := l.reports(t, id)
		if len(list) != 3 || Judge(list, DefaultMaxLoss) != Good {
			t.Fatalf("host %d: %+v", id, list)
		}
		for _, h := range list {
			// Found by the first question by multicast; by unicast from the second on.
			if got := counts(h); got != "9/9 9/9 10/10 " && got != "10/10 10/10 10/10 " && got != "9/9 9/9 9/9 " {
				t.Errorf("host %d: %v %s", id, h.Host, got)
			}
			if u := h.Paths[Unicast]; u.RTT.Min != 2*time.Millisecond || u.RTT.Max != 2*time.Millisecond || u.Hops != 0 || h.Paths[Outward].Hops != 0 {
				t.Errorf("host %d: %+v", id, u)
			}
		}
	}
	if l.Elapsed() > 2*time.Second {
		t.Errorf("took %v although no answer was missing", l.Elapsed())
	}
}

// What is lost is counted, also when it was asked within the last wait and the very last
// questions were answered.
func TestPinger_WaitsForAllThatMayCome(t *testing.T) {
	for seed := range uint64(20) {
		l := newPingLAN(seed, netsim.Faults{Delay: time.Millisecond, Loss: 0.2})
		l.ping(t, PingerConfig{Count: 50, Interval: 10 * time.Millisecond})
		l.ping(t, PingerConfig{Serve: true})
		var list []HostReport
		l.Sim.Event = func(_ netsim.ID, now time.Time, e Event) {
			if e.Kind == Finished {
				list = l.pingers[0].Reports(now)
			}
		}
		l.reports(t, 0)
		if len(list) != 1 {
			t.Fatalf("seed %d: %d hosts", seed, len(list))
		}
		for p, r := range list[0].Paths {
			if r.Sent < 45 || r.Lost < 5 {
				t.Errorf("seed %d: %v: %d sent, %d lost", seed, Path(p), r.Sent, r.Lost)
			}
		}
	}
}

func TestPinger_Verdicts(t *testing.T) {
	lossy := netsim.Faults{Delay: time.Millisecond, Loss: 0.2}
	for _, c := range []struct {
		name   string
		faults netsim.Faults
		cut    []link
		hosts  []netip.Addr
		want   Verdict
	}{
		{"fine", netsim.Faults{Delay: time.Millisecond}, nil, nil, Good},
		{"the network loses, multicast or not", lossy, nil, nil, Good},
		{"theirs does not reach us", netsim.Faults{}, []link{{1, 0, true}}, nil, Broken},
		{"ours does not reach them", netsim.Faults{}, []link{{0, 1, true}}, []netip.Addr{at(1).Addr()}, Broken},
		{"ours does not reach them and nobody told us who", netsim.Faults{}, []link{{0, 1, true}}, nil, Silent},
		{"nothing passes", netsim.Faults{}, []link{{0, 1, true}, {0, 1, false}}, []netip.Addr{at(1).Addr()}, Silent},
		{"nobody there", netsim.Faults{Loss: 1}, nil, nil, Silent},
		{"one does not answer", netsim.Faults{}, nil, []netip.Addr{at(1).Addr(), at(7).Addr()}, Silent},
		{"unicast is broken, multicast is not", netsim.Faults{}, []link{{0, 1, false}}, []netip.Addr{at(1).Addr()}, Good},
	} {
		for seed := range uint64(20) {
			l := newPingLAN(seed, c.faults)
			l.ping(t, PingerConfig{Count: 50, Hosts: c.hosts})
			l.ping(t, PingerConfig{Serve: true})
			for range 6 { // machines without the program
				l.Attach(&Receiver{done: true}, "lan")
			}
			for _, x := range c.cut {
				l.cut[x] = true
			}
			if list := l.reports(t, 0); Judge(list, DefaultMaxLoss) != c.want {
				t.Errorf("%s, seed %d: %v, want %v: %+v", c.name, seed, Judge(list, DefaultMaxLoss), c.want, list)
			}
		}
	}
}

// The first question of a path may be lost without a bad verdict; the second may not,
// where the limit is none.
func TestHostReport_SetUpIsNotJudged(t *testing.T) {
	whole := PathReport{Sent: 10, Received: 10, SentLater: 9, ReceivedLater: 9}
	first := PathReport{Sent: 10, Received: 9, Lost: 1, SentLater: 9, ReceivedLater: 9}
	second := PathReport{Sent: 10, Received: 9, Lost: 1, SentLater: 9, ReceivedLater: 8}
	none := PathReport{Sent: 10, Lost: 10, SentLater: 9}
	for _, c := range []struct {
		u, m, o PathReport
		limit   float64
		want    Verdict
	}{
		{whole, whole, whole, 0, Good}, {whole, first, first, 0, Good}, {whole, second, whole, 0, Lossy}, {whole, whole, second, 0, Lossy},
		{whole, second, whole, 0.12, Good}, {whole, none, whole, 0.5, Broken}, {whole, second, none, 0.05, Broken}, {none, none, none, 0, Silent},
		{second, second, second, 0, Good}, {whole, PathReport{}, PathReport{}, 0, Good},
		{whole, PathReport{Sent: 1, Lost: 1}, whole, 0, Broken},
	} {
		if got := (HostReport{Paths: [3]PathReport{c.u, c.m, c.o}}).Verdict(c.limit); got != c.want {
			t.Errorf("%+v limit %v: %v, want %v", c, c.limit, got, c.want)
		}
	}
}

// A host that ends says so: its absence is not loss. One that crashes is.
func TestPinger_FarewellAndCrash(t *testing.T) {
	for _, polite := range []bool{true, false} {
		l := newPingLAN(1, netsim.Faults{Delay: time.Millisecond})
		l.ping(t, PingerConfig{Count: 20})
		l.ping(t, PingerConfig{Serve: true})
		l.ping(t, PingerConfig{Serve: true})
		l.At(950*time.Millisecond, func() {
			if polite {
				l.Do(1, l.pingers[1].Stop)
			}
			l.Crash(1)
		})
		list := l.reports(t, 0)
		if len(list) != 2 || list[1].Left || counts(list[1]) != "19/19 19/19 20/20 " {
			t.Fatalf("the other: %+v", list)
		}
		want := map[bool]string{true: "9/9 9/9 10/10 ", false: "19/9 19/9 20/10 "}[polite]
		if got := counts(list[0]); got != want || list[0].Left != polite {
			t.Errorf("polite %v: %s, want %s", polite, got, want)
		}
	}
}

// A host whose program is started again is the same host.
func TestPinger_Restart(t *testing.T) {
	l := newPingLAN(1, netsim.Faults{Delay: time.Millisecond})
	l.ping(t, PingerConfig{Count: 40})
	l.ping(t, PingerConfig{Serve: true})
	l.At(1050*time.Millisecond, func() { l.Do(1, l.pingers[1].Stop); l.Crash(1) })
	l.At(2050*time.Millisecond, func() {
		p, err := NewPinger(PingerConfig{Group: group, ID: 7, Serve: true}, l.Now())
		if err != nil {
			t.Fatal(err)
		}
		l.Restart(1, p)
	})
	l.ping(t, PingerConfig{Serve: true}) // or all would be over when the first leaves
	list := l.reports(t, 0)
	if h := list[0]; h.Restarts != 1 || h.Left || l.events[0][Restarted] != 1 {
		t.Errorf("%+v", h)
	}
	// Found again by its answer to question 22, which was asked by multicast.
	if got := counts(list[0]); got != "29/28 29/28 30/30 " && got != "28/28 28/28 30/30 " {
		t.Errorf("%s", got)
	}
}

// Stopped in the middle, what was asked just now is not counted as lost.
func TestPinger_StopDoesNotCountWhatIsUnderWay(t *testing.T) {
	l := newPingLAN(1, netsim.Faults{Delay: 150 * time.Millisecond})
	l.ping(t, PingerConfig{})
	l.ping(t, PingerConfig{Serve: true})
	l.RunUntil(2050 * time.Millisecond)
	l.Do(0, l.pingers[0].Stop)
	h := l.pingers[0].Reports(l.Now())[0]
	for _, p := range Paths {
		if r := h.Paths[p]; r.Lost != 0 || r.Received < 14 {
			t.Errorf("%v: %+v", p, r)
		}
	}
}

// Too many hosts and too many questions meet a bound and its counter; an answer is
// never longer than its question, and a short question gets none.
func TestPinger_Floods(t *testing.T) {
	p, err := NewPinger(PingerConfig{Group: group, MaxHosts: 10, MaxAnswers: 100}, netsim.Start)
	if err != nil {
		t.Fatal(err)
	}
	p.HandleTimeout(netsim.Start)
	p.Outgoing()
	asked, answered := 0, 0
	for i := range 1000 {
		b := message{kind: kindAsk, seq: 1, from: origin{1, uint64(i)}}.append(nil, 56+i%50)
		p.HandlePacket(netsim.Start, Packet{Data: b, From: at(i % 200), To: group})
		asked += len(b)
	}
	for _, out := range p.Outgoing() {
		answered += len(out.Data)
	}
	questions, hosts := p.Dropped()
	if len(p.Reports(netsim.Start)) != 10 || questions == 0 || hosts == 0 || answered > 100*106 {
		t.Errorf("%d hosts, dropped %d questions and %d hosts, answered %d bytes to %d", len(p.Reports(netsim.Start)), questions, hosts, answered, asked)
	}
	short := message{kind: kindAsk, seq: 1, from: origin{1, 1}}.append(nil, messageLen-1)
	p.HandlePacket(netsim.Start.Add(time.Hour), Packet{Data: short, From: at(1), To: group})
	if out := p.Outgoing(); len(out) != 0 {
		t.Errorf("a question of %d bytes got %d answers", len(short), len(out))
	}
}

// Answers to questions that were not asked, and to others' questions, say nothing.
func TestPinger_IgnoresForgedAnswers(t *testing.T) {
	p, err := NewPinger(PingerConfig{Group: group, ID: 5}, netsim.Start)
	if err != nil {
		t.Fatal(err)
	}
	p.HandleTimeout(netsim.Start)
	for _, m := range []message{
		{kind: kindAnswer, seq: 2, from: origin{1, 9}, echo: echo{asker: p.from}},
		{kind: kindAnswer, seq: 1, from: origin{1, 9}, echo: echo{asker: origin{1, 1}}},
		{kind: kindAnswer, seq: 1, from: p.from, echo: echo{asker: p.from}},
		{kind: kindAnswer, seq: 1, path: 1, from: origin{1, 9}, echo: echo{asker: p.from, path: 1}},
		{kind: kindBye, seq: 1, from: origin{1, 9}},
	} {
		p.HandlePacket(netsim.Start, Packet{Data: m.append(nil, 0), From: at(1), To: at(2)})
	}
	if list := p.Reports(netsim.Start); len(list) != 0 || len(p.Events()) != 0 {
		t.Errorf("%+v", list)
	}
}

func TestPingerConfig_Refuses(t *testing.T) {
	for name, cfg := range map[string]PingerConfig{
		"no group": {Group: at(1)}, "interval": {Group: group, Interval: 1}, "bytes": {Group: group, Bytes: 55}, "hop limit": {Group: group, HopLimit: 300},
		"wait": {Group: group, Wait: time.Hour}, "family": {Group: group, Hosts: []netip.Addr{netip.IPv6LinkLocalAllNodes()}},
		"hosts": {Group: group, Hosts: make([]netip.Addr, 257)},
	} {
		if _, err := NewPinger(cfg, netsim.Start); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
