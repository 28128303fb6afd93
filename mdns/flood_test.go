package mdns

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// claimed returns a Host that owns box.local. and a service on one link, and the
// time by which it does.
func claimed(t testing.TB, seed uint64) (*Host, time.Time) {
	t.Helper()
	h := NewHost(rand.New(rand.NewPCG(seed, 0)))
	h.SetLink(t0, Link{Index: 1, Name: "eth0", IPv4: true, Unicast: true, Addresses: prefixes([]string{"10.0.0.1/8"})})
	if _, err := h.ClaimHost(t0, "box"); err != nil {
		t.Fatal(err)
	}
	service := []Record{
		record(t, "_ipp._tcp.local. 4500 PTR box._ipp._tcp.local.", false),
		record(t, "box._ipp._tcp.local. 120 SRV 0 0 631 box.local.", true),
		record(t, "box._ipp._tcp.local. 4500 TXT \"a=b\"", true),
	}
	if _, err := h.Publish(t0, service); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Ask(t0, Question{"_ipp._tcp.local.", dns.TypePTR}); err != nil {
		t.Fatal(err)
	}
	now := t0.Add(10 * time.Second)
	runTo(h, now)
	h.Outgoing()
	h.Events()
	return h, now
}

// runTo does all that is due up to end.
func runTo(h *Host, end time.Time) {
	for {
		next, ok := h.NextTimeout()
		if !ok || next.After(end) {
			return
		}
		h.HandleTimeout(next)
	}
}

// junk makes packets: half of random bytes, half messages with some of their bytes
// changed, from all over the link.
type junk struct{ rnd *rand.Rand }

func (j junk) packet() Packet {
	p := Packet{From: netip.AddrPortFrom(sender(2+j.rnd.IntN(1<<20)), Port), To: group4, IfIndex: 1}
	switch j.rnd.IntN(8) {
	case 0:
		p.From = netip.AddrPortFrom(p.From.Addr(), 1024+uint16(j.rnd.IntN(60000)))
	case 1:
		p.To = netip.AddrPortFrom(sender(1), Port)
	}
	if j.rnd.IntN(2) == 0 {
		p.Data = make([]byte, j.rnd.IntN(600))
		for i := range p.Data {
			p.Data[i] = byte(j.rnd.Uint32())
		}
		return p
	}
	packets, _ := j.message().Split(1472)
	p.Data = packets[0]
	for range j.rnd.IntN(3) {
		p.Data[j.rnd.IntN(len(p.Data))] = byte(j.rnd.Uint32())
	}
	return p
}

func (j junk) message() *Message {
	names := []string{"box.local.", "_ipp._tcp.local.", "box._ipp._tcp.local.", fmt.Sprintf("x%d.local.", j.rnd.Uint32())}
	m := &Message{Response: j.rnd.IntN(2) == 0, Truncated: j.rnd.IntN(8) == 0}
	for range 1 + j.rnd.IntN(4) {
		name := names[j.rnd.IntN(len(names))]
		var address [4]byte
		binary.BigEndian.PutUint32(address[:], j.rnd.Uint32())
		r := Record{Name: name, Type: dns.TypeA, Class: dns.ClassINET, TTL: j.rnd.Uint32N(5000), Data: address[:]}
		if name[0] == '_' {
			r.Type, r.Data = dns.TypePTR, []byte(fmt.Sprintf("\x08%08x\x04_ipp\x04_tcp\x05local\x00", j.rnd.Uint32()))
		}
		// Answers for box would be conflicts, which are another matter.
		switch conflict := name == names[0] || name == names[2]; {
		case m.Response && !conflict:
			m.Answers = append(m.Answers, r)
		case !m.Response:
			m.Questions = append(m.Questions, AskedQuestion{Question{name, r.Type}, dns.ClassINET, j.rnd.IntN(2) == 0})
			if j.rnd.IntN(4) == 0 && !conflict {
				m.Answers = append(m.Answers, r)
			}
		}
	}
	if len(m.Answers)+len(m.Questions) == 0 {
		m.Answers = []Record{{Name: names[3], Type: dns.TypeA, Class: dns.ClassINET, TTL: 120, Data: []byte{10, 0, 0, 9}}}
	}
	return m
}

// take lets h have a packet as the loop does.
func take(h *Host, now time.Time, p Packet) (sent int) {
	h.HandlePacket(now, p)
	if next, ok := h.NextTimeout(); ok && !next.After(now) {
		h.HandleTimeout(now)
	}
	for _, p := range h.Outgoing() {
		sent += len(p.Data)
	}
	h.Events()
	return sent
}

func TestHost_FloodLeavesMemoryBoundedAndTheNameAnswered(t *testing.T) {
	const seed, packets = 3, 200_000
	h, now := claimed(t, seed)
	j := junk{rand.New(rand.NewPCG(seed, 1))}
	_, bytes := heapOf(func() *Host {
		for range packets {
			now = now.Add(20 * time.Microsecond)
			take(h, now, j.packet())
		}
		return h
	})
	s, _ := h.Stats(1)
	if bytes > 10_000_000 || s.Cache.Records > CacheSize || s.Replies > ReplyMax || s.Deferred > DeferredMax || len(h.engines[0].responder.limit.sources) > UnicastSources {
		t.Errorf("seed %d: %d bytes kept, stats %+v", seed, bytes, s)
	}
	if s.Malformed == 0 || s.Cache.Evicted == 0 || s.Limited == 0 {
		t.Errorf("seed %d: the flood was none: stats %+v", seed, s)
	}
	now = now.Add(2 * time.Second)
	runTo(h, now)
	h.Outgoing()
	ask := &Message{Questions: []AskedQuestion{{Question{"box.local.", dns.TypeA}, dns.ClassINET, false}}}
	query, _ := ask.Split(1472)
	h.HandlePacket(now, Packet{Data: query[0], From: netip.AddrPortFrom(sender(2), Port), To: group4, IfIndex: 1})
	runTo(h, now.Add(time.Second))
	for _, p := range h.Outgoing() {
		m, err := ParseMessage(p.Data)
		if err == nil && m.Response && len(m.Answers) > 0 && m.Answers[0].Name == "box.local." {
			return
		}
	}
	t.Errorf("seed %d: box.local. is not answered, the name is %s: stats %+v", seed, h.Name(1), s)
}

// BenchmarkFlood measures a packet of a flood that comes at 50,000 a second: of
// junk, and of what costs most in one place or another.
func BenchmarkFlood(b *testing.B) {
	question := func(name string, typ uint16) AskedQuestion {
		return AskedQuestion{Question{name, typ}, dns.ClassINET, false}
	}
	pointer := func(n int, ttl uint32) Record {
		return Record{Name: "_ipp._tcp.local.", Type: dns.TypePTR, Class: dns.ClassINET, TTL: ttl, Data: []byte(fmt.Sprintf("\x08%08x\x04_ipp\x04_tcp\x05local\x00", n))}
	}
	kinds := map[string]func(j junk, i int) *Message{
		"junk": nil,
		"one name": func(_ junk, i int) *Message {
			return &Message{Response: true, Answers: []Record{pointer(i, 4500)}}
		},
		"short lives": func(j junk, i int) *Message {
			return &Message{Response: true, Answers: []Record{pointer(i, 1+j.rnd.Uint32N(3))}}
		},
		"flushes": func(j junk, i int) *Message {
			r := pointer(i, 4500)
			r.Flush = true
			return &Message{Response: true, Answers: []Record{r}}
		},
		"questions": func(junk, int) *Message {
			m := new(Message)
			for range 40 {
				m.Questions = append(m.Questions, question("_ipp._tcp.local.", dns.TypePTR), question("box.local.", dns.TypeA))
			}
			return m
		},
		"duplicates": func(_ junk, i int) *Message {
			return &Message{Questions: []AskedQuestion{question("_ipp._tcp.local.", dns.TypePTR)}, Answers: []Record{pointer(i, 4500)}}
		},
	}
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			h, now := claimed(b, 1)
			j := junk{rand.New(rand.NewPCG(1, 1))}
			packets := make([]Packet, 50_000)
			for i := range packets {
				packets[i] = j.packet()
				if message := kinds[name]; message != nil {
					data, _ := message(j, i).Split(1472)
					packets[i] = Packet{Data: data[0], From: netip.AddrPortFrom(sender(2+i), Port), To: group4, IfIndex: 1}
				}
			}
			for i := range packets[:20_000] {
				now = now.Add(20 * time.Microsecond)
				take(h, now, packets[i])
			}
			for i := 0; b.Loop(); i++ {
				now = now.Add(20 * time.Microsecond)
				take(h, now, packets[i%len(packets)])
			}
			b.ReportMetric(100*50_000*b.Elapsed().Seconds()/float64(b.N), "%core@50kpps")
		})
	}
}

func TestResponder_UnicastRepliesAreLimitedBySource(t *testing.T) {
	h, now := claimed(t, 1)
	plain := &Message{ID: 7, Questions: []AskedQuestion{{Question{"box.local.", dns.TypeA}, dns.ClassINET, false}}}
	query, _ := plain.Split(512)
	count := func(from netip.AddrPort, to netip.AddrPort) (sent int) {
		for range 100 {
			h.HandlePacket(now, Packet{Data: query[0], From: from, To: to, IfIndex: 1})
			runTo(h, now)
			for _, p := range h.Outgoing() {
				if p.To == from {
					sent++
				}
			}
		}
		return sent
	}
	legacy := netip.AddrPortFrom(sender(9), 4000)
	if n := count(legacy, group4); n != UnicastBurst {
		t.Errorf("%d legacy replies at once, want %d", n, UnicastBurst)
	}
	// Another port of the same host is the same source; another host is not.
	if n := count(netip.AddrPortFrom(sender(9), 4001), group4); n != 0 {
		t.Errorf("%d more from another port", n)
	}
	if n := count(netip.AddrPortFrom(sender(8), Port), netip.AddrPortFrom(sender(1), Port)); n != UnicastBurst {
		t.Errorf("%d replies to direct queries, want %d", n, UnicastBurst)
	}
	now = now.Add(time.Second)
	if n := count(legacy, group4); n != UnicastRate {
		t.Errorf("%d legacy replies a second later, want %d", n, UnicastRate)
	}
	if s, _ := h.Stats(1); s.Limited != 400-2*UnicastBurst-UnicastRate {
		t.Errorf("stats %+v", s)
	}
}

func TestResponder_AProbeOverTheLimitIsDefendedByMulticast(t *testing.T) {
	h, now := claimed(t, 1)
	probe := &Message{
		Questions: []AskedQuestion{{Question{"box.local.", dns.TypeANY}, dns.ClassINET, true}},
		Authority: []Record{record(t, "box.local. 120 A 10.0.0.9", false)},
	}
	query, _ := probe.Split(1472)
	unicast, group := 0, 0
	for range 2 * UnicastBurst {
		h.HandlePacket(now, Packet{Data: query[0], From: netip.AddrPortFrom(sender(9), Port), To: group4, IfIndex: 1})
		runTo(h, now)
		for _, p := range h.Outgoing() {
			if p.To == group4 {
				group++
			} else {
				unicast++
			}
		}
	}
	if unicast != UnicastBurst || group != 1 {
		t.Errorf("%d unicast defences and %d multicast, want %d and 1", unicast, group, UnicastBurst)
	}
}

func TestResponder_DirectRepliesAreOnePacket(t *testing.T) {
	h, now := claimed(t, 1)
	var many []Record
	for i := range 100 {
		many = append(many, record(t, fmt.Sprintf("_many._tcp.local. 4500 PTR instance-number-%d._many._tcp.local.", i), false))
	}
	if _, err := h.Publish(now, many); err != nil {
		t.Fatal(err)
	}
	now = now.Add(10 * time.Second)
	runTo(h, now)
	h.Outgoing()
	ask := &Message{Questions: []AskedQuestion{{Question{"_many._tcp.local.", dns.TypePTR}, dns.ClassINET, true}}}
	query, _ := ask.Split(1472)
	from := netip.AddrPortFrom(sender(9), Port)
	for _, c := range []struct {
		to   netip.AddrPort
		most int
	}{{netip.AddrPortFrom(sender(1), Port), DirectMax}, {group4, UnicastMax}} {
		h.HandlePacket(now, Packet{Data: query[0], From: from, To: c.to, IfIndex: 1})
		runTo(h, now.Add(time.Second))
		out := h.Outgoing()
		if len(out) == 0 || len(out) > c.most || out[0].To != from {
			t.Errorf("to %v: %d packets, want up to %d", c.to, len(out), c.most)
		}
		now = now.Add(2 * time.Second)
	}
	if s, _ := h.Stats(1); s.Cut == 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestResponder_DeferredQueriesAreBounded(t *testing.T) {
	h, now := claimed(t, 1)
	ask := &Message{Questions: []AskedQuestion{{Question{"_ipp._tcp.local.", dns.TypePTR}, dns.ClassINET, false}}}
	query, _ := ask.Split(1472)
	query[0][2] |= bitTruncated >> 8
	for i := range 10 * DeferredMax {
		h.HandlePacket(now, Packet{Data: query[0], From: netip.AddrPortFrom(sender(2+i%(2*DeferredMax)), Port), To: group4, IfIndex: 1})
	}
	s, _ := h.Stats(1)
	if s.Deferred != DeferredMax || s.Replies != DeferredMax+1 || s.Hurried != 5*DeferredMax {
		t.Errorf("stats %+v", s)
	}
}

func TestResponder_ManyQuestionersGetOneMulticastReply(t *testing.T) {
	h, now := claimed(t, 1)
	ask := &Message{Questions: []AskedQuestion{{Question{"_ipp._tcp.local.", dns.TypePTR}, dns.ClassINET, true}}}
	query, _ := ask.Split(1472)
	for i := range UnicastTotal {
		h.HandlePacket(now, Packet{Data: query[0], From: netip.AddrPortFrom(sender(2+i), Port), To: group4, IfIndex: 1})
	}
	if s, _ := h.Stats(1); s.Replies != ReplyMax/2+1 || s.Unsent != 0 {
		t.Errorf("stats %+v", s)
	}
	runTo(h, now.Add(time.Second))
	unicast, group := 0, 0
	for _, p := range h.Outgoing() {
		if p.To == group4 {
			group++
		} else {
			unicast++
		}
	}
	if unicast != ReplyMax/2 || group != 1 {
		t.Errorf("%d unicast replies and %d to the group, want %d and 1", unicast, group, ReplyMax/2)
	}
}
