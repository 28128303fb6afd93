package bulk

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
	"github.com/aether-lan/aether/multicast/seal"
)

// divide cuts the network into the named part and the rest, also for TCP.
func (l *lan) divide(part ...netsim.ID) {
	l.sim.Partition(part)
	l.cut = map[netsim.ID]int{}
	for _, id := range part {
		l.cut[id] = 1
	}
}

func (l *lan) heal() { l.sim.Heal(); l.cut = nil }

// crash takes receiver i down; what it had verified is on its disk.
func (l *lan) crash(i int) {
	s := l.receivers[i]
	s.down = true
	l.sim.Crash(s.id)
}

func (l *lan) restart(i int) {
	l.newReceiver(i)
	l.sim.Restart(l.receivers[i].id, l.receivers[i].engine)
}

var badNetwork = netsim.Faults{
	Delay: time.Millisecond, Jitter: time.Millisecond, Loss: 0.05, Duplicate: 0.02, Reorder: 0.02, ReorderDelay: 5 * time.Millisecond,
}

// Whatever the network does, who stays has the object in the end, and the same seed
// does the same.
func TestTransfer_BadNetworkPartitionsAndCrashes(t *testing.T) {
	secret := &seal.Secret{7}
	for name, play := range map[string]func(*lan){
		"loss": func(*lan) {},
		"partition": func(l *lan) {
			l.sim.At(500*time.Millisecond, func() { l.divide(2, 3) })
			l.sim.At(9*time.Second, l.heal)
		},
		"receiver crashes and returns": func(l *lan) {
			l.sim.At(400*time.Millisecond, func() { l.crash(1) })
			l.sim.At(3*time.Second, func() { l.restart(1) })
		},
		"receiver crashes for good": func(l *lan) { l.sim.At(400*time.Millisecond, func() { l.crash(0) }) },
		"sender crashes and returns": func(l *lan) {
			l.sim.At(500*time.Millisecond, func() { l.sim.Crash(0) })
			l.sim.At(4*time.Second, func() { l.newSender(); l.sim.Restart(0, l.sender) })
		},
		"cut off at the very beginning": func(l *lan) {
			l.sim.At(20*time.Millisecond, func() { l.divide(1) })
			l.sim.At(2*time.Second, l.heal)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(2) {
				run := func() uint64 {
					l := newLAN(t, seed+100, 4, 3<<20+int(seed)*777, badNetwork, func(c *SenderConfig) { c.MaxRate = 4 << 20; c.Secret = secret })
					play(l)
					if !l.sim.RunIdle(3 * time.Minute) {
						t.Errorf("seed %d: not idle", seed)
					}
					l.result()
					return l.sim.Trace()
				}
				if a, b := run(), run(); a != b {
					t.Errorf("seed %d: traces %x and %x", seed, a, b)
				}
			}
		})
	}
}

// What was sent for five receivers at 5 % loss stays far below one copy for each.
func TestTransfer_FivePercentLossStaysCheap(t *testing.T) {
	l := newLAN(t, 5, 9, 8<<20, netsim.Faults{Delay: time.Millisecond, Loss: 0.05}, nil)
	if !l.sim.RunIdle(time.Minute) {
		t.Error("not idle")
	}
	l.result()
	t.Logf("ratio %.3f, %+v", l.ratio(), l.sender.Stats())
	if l.ratio() > 1.30 {
		t.Errorf("ratio %.3f", l.ratio())
	}
}

func TestTransfer_SmallObjects(t *testing.T) {
	for _, size := range []int{0, 1, MaxBlock, 10 * MaxBlock, 100*MaxBlock + 1, SectionBlocks * MaxBlock, SectionBlocks*MaxBlock + 1} {
		l := newLAN(t, uint64(size), 3, size, netsim.Faults{Delay: time.Millisecond, Loss: 0.02}, nil)
		if !l.sim.RunIdle(time.Minute) {
			t.Errorf("%d bytes: not idle", size)
		}
		l.result()
	}
}

// An object of many windows: each is repaired before the next is sent.
func TestTransfer_ManyWindows(t *testing.T) {
	l := newLAN(t, 6, 3, 11*SectionBlocks*MaxBlock+5, netsim.Faults{Delay: time.Millisecond, Loss: 0.02}, nil)
	l.sender.pass.size = 2
	l.sim.At(700*time.Millisecond, func() { l.crash(2) })
	l.sim.At(1500*time.Millisecond, func() { l.restart(2) })
	if !l.sim.RunIdle(2 * time.Minute) {
		t.Error("not idle")
	}
	l.result()
	if p := l.sender.pass; p.window != 10 {
		t.Errorf("the last window begins with section %d", p.window)
	}
}

// A receiver that has the object already, and one that has a part, get only what
// they lack.
func TestTransfer_SendsOnlyWhatLacks(t *testing.T) {
	l := newLAN(t, 1, 2, 10*SectionBlocks*MaxBlock, netsim.Faults{Delay: time.Millisecond}, nil)
	for i, s := range l.receivers {
		s.have = newBitmap(10)
		copy(s.store.b, l.content)
		for sec := range 10 - 3*i {
			s.have.set(sec)
		}
		clear(s.store.b[l.object.Offset(10-3*i):])
	}
	l.sim.RunIdle(time.Minute)
	l.result()
	if r := l.ratio(); r > 0.33 || r < 0.3 {
		t.Errorf("ratio %.3f for three sections of ten", r)
	}
}

// liar is a receiver that says what it likes.
type liar struct {
	*Receiver
	twist func(m Message) Message
}

func (l *liar) Outgoing() []Packet {
	out := l.Receiver.Outgoing()
	for i, p := range out {
		if m, _, err := l.env.open(bytes.Clone(p.Payload)); err == nil && m != nil {
			out[i].Payload, _ = l.env.wrap(l.twist(m))
		}
	}
	return out
}

// Whatever one receiver claims, the others are done in about the time they need.
func TestTransfer_ALiarHoldsNobodyBack(t *testing.T) {
	honest := 0 * time.Second
	all := bytes.Repeat([]byte{0xff}, SectionBlocks/8)
	for _, c := range []struct {
		name  string
		twist func(Message) Message
	}{
		{"honest", func(m Message) Message { return m }},
		{"holes for ever", func(m Message) Message {
			if s, ok := m.(Status); ok {
				s.Contiguous, s.Complete = 0, 0
				for i := range s.Reports {
					s.Reports[i].Complete = false
					copy(s.Reports[i].Holes[:], all)
				}
				return s
			}
			return m
		}},
		{"one hole for ever", func(m Message) Message {
			if s, ok := m.(Status); ok {
				s.Contiguous, s.Complete = 0, 0
				for i := range s.Reports {
					s.Reports[i] = Report{Section: s.Reports[i].Section, Pass: s.Reports[i].Pass, Received: s.Reports[i].Received}
					s.Reports[i].Holes[9], s.Reports[i].Need[9*8%Groups] = 1, 1
				}
				return s
			}
			return m
		}},
		{"absurd needs", func(m Message) Message {
			if s, ok := m.(Status); ok {
				for i := range s.Reports {
					for g := range s.Reports[i].Need {
						s.Reports[i].Complete, s.Reports[i].Need[g] = false, 255
					}
					s.Reports[i].Section |= 1 << 20
				}
				return s
			}
			return m
		}},
		{"a tiny window", func(m Message) Message {
			if s, ok := m.(Status); ok {
				s.Window = 10
				return s
			}
			return m
		}},
		{"slow arrivals", func(m Message) Message {
			if s, ok := m.(Status); ok {
				s.Arrival = 1
				return s
			}
			if r, ok := m.(TrainReport); ok {
				r.Span = 1 << 62
				return r
			}
			return m
		}},
	} {
		l := newLAN(t, 9, 5, 8<<20, netsim.Faults{Delay: time.Millisecond}, func(cfg *SenderConfig) { cfg.MaxRate = 4 << 20 })
		l.sim.Restart(5, &liar{l.receivers[4].engine, c.twist})
		var last time.Duration
		for range 600 {
			l.sim.RunFor(100 * time.Millisecond)
			n := 0
			for _, s := range l.receivers[:4] {
				if s.done {
					n++
				}
			}
			if n == 4 {
				last = l.sim.Elapsed()
				break
			}
		}
		switch {
		case last == 0:
			t.Errorf("%s: the others are not done after a minute", c.name)
		case c.name == "honest":
			honest = last
		case last > honest*13/10+300*time.Millisecond:
			t.Errorf("%s: the others are done after %v, with an honest one after %v", c.name, last, honest)
		}
		if st := l.sender.Stats(); float64(st.Bytes) > 1.6*float64(l.object.Size) {
			t.Errorf("%s: %d bytes sent for an object of %d", c.name, st.Bytes, l.object.Size)
		}
		t.Logf("%s: %v, ratio %.3f", c.name, last, l.ratio())
	}
}

// In an unsealed transfer somebody puts in blocks of its own. Whoever took one gets
// the section again, and nobody gets another object.
func TestTransfer_PoisonIsNoticed(t *testing.T) {
	l := newLAN(t, 3, 3, 6<<20, netsim.Faults{Delay: time.Millisecond}, func(cfg *SenderConfig) { cfg.MaxRate = 4 << 20 })
	for i := range 40 {
		l.sim.At(time.Duration(300+40*i)*time.Millisecond, func() {
			b := Block{Session: l.sender.offer.Session, Section: uint32(i % 5), Index: uint16(900 + i), Content: make([]byte, MaxBlock)}
			packet := l.sender.env.appendBlock(nil, &b)
			for _, s := range l.receivers {
				l.sim.Inject(s.id, s.id, Packet{From: simAddr(9), Payload: bytes.Clone(packet)})
			}
		})
	}
	l.sim.RunIdle(2 * time.Minute)
	l.result()
	poisoned := uint64(0)
	for _, s := range l.receivers {
		poisoned += s.engine.Stats().Poisoned
	}
	if poisoned == 0 {
		t.Error("no section was spoiled: the test tests nothing")
	}
}

// Packets of nobody in the group change nothing, recorded ones neither.
func TestTransfer_UnauthenticatedPacketsChangeNothing(t *testing.T) {
	secret := &seal.Secret{7}
	play := func(disturb bool) (uint64, *lan) {
		l := newLAN(t, 4, 2, 4<<20, netsim.Faults{Delay: time.Millisecond}, func(cfg *SenderConfig) { cfg.Secret = secret; cfg.MaxRate = 4 << 20 })
		other, err := newEnvelope(&seal.Secret{8}, newDice(1))
		if err != nil {
			t.Fatal(err)
		}
		plain, _ := newEnvelope(nil, nil)
		var recorded []Packet
		l.sim.Receive = func(from, _ netsim.ID, p Packet) Packet {
			if len(recorded) < 3000 {
				recorded = append(recorded, Packet{From: simAddr(from), Payload: bytes.Clone(p.Payload)})
			}
			return Packet{From: simAddr(from), To: p.To, Payload: bytes.Clone(p.Payload)}
		}
		if disturb {
			for i := range 30 {
				l.sim.At(time.Duration(10+70*i)*time.Millisecond, func() {
					for _, m := range everyMessage() {
						for _, e := range []*envelope{other, plain} {
							b, _ := e.wrap(m)
							for id := range netsim.ID(3) {
								l.node(id).HandlePacket(l.sim.Now(), Packet{From: simAddr(8), Payload: bytes.Clone(b)})
							}
						}
					}
					for _, p := range recorded[max(0, len(recorded)-500):] {
						for id := range netsim.ID(3) {
							l.node(id).HandlePacket(l.sim.Now(), Packet{From: p.From, Payload: bytes.Clone(p.Payload)})
						}
					}
				})
			}
		}
		l.sim.RunIdle(time.Minute)
		l.result()
		return l.sender.Stats().Bytes, l
	}
	calm, _ := play(false)
	disturbed, l := play(true)
	if calm != disturbed {
		t.Errorf("%d bytes sent when disturbed, %d when not", disturbed, calm)
	}
	if l.sender.Stats().NotAuthentic == 0 || l.receivers[0].engine.Stats().NotAuthentic == 0 || l.receivers[0].engine.Stats().Plain == 0 {
		t.Error("the counters of what was dropped stand still")
	}
}

// node is the engine of a node, which must not see what it has to say.
func (l *lan) node(id netsim.ID) interface{ HandlePacket(time.Time, Packet) } {
	if id == 0 {
		return l.sender
	}
	return l.receivers[id-1].engine
}

var errDisk = errors.New("disk")

func TestTransfer_AFailingDiskEndsOneReceiver(t *testing.T) {
	l := newLAN(t, 2, 3, 6<<20, netsim.Faults{Delay: time.Millisecond}, nil)
	l.sim.At(500*time.Millisecond, func() { l.receivers[1].store.fail = errDisk })
	l.sim.RunIdle(time.Minute)
	if !l.receivers[0].done || !l.receivers[2].done {
		t.Error("the others are not done")
	}
	if err := l.receivers[1].err; l.receivers[1].done || !errors.Is(err, errDisk) {
		t.Errorf("the receiver ended with %v", err)
	}
	for _, o := range l.sender.Outcomes() {
		if (o.Receiver == "r2") == o.OK {
			t.Errorf("outcome %+v", o)
		}
	}
}

// A path where multicast crawls is not used.
func TestSender_RefusesMulticastThatIsSlowerThanUnicast(t *testing.T) {
	l := newLAN(t, 2, 3, 16<<20, netsim.Faults{Delay: time.Millisecond}, nil)
	for _, s := range l.receivers {
		// Reports of a multicast train that took a second, and of a quick unicast one.
		l.sim.Restart(s.id, &liar{s.engine, func(m Message) Message {
			if r, ok := m.(TrainReport); ok {
				r.Span = uint64(time.Millisecond)
				if r.Received > probePackets {
					r.Span = uint64(time.Second)
				}
				return r
			}
			return m
		}})
	}
	l.sim.RunIdle(time.Minute)
	l.result()
	refused := false
	for _, e := range l.heard[0] {
		_, is := e.(Refused)
		refused = refused || is
	}
	if st := l.sender.Stats(); !refused || st.Blocks > 3*trainBlocks {
		t.Errorf("refused: %v, %d blocks were sent to the group", refused, st.Blocks)
	}
}

func FuzzEngines(f *testing.F) {
	for _, m := range everyMessage() {
		f.Add(AppendMessage([]byte{magic, version, sortControl}, m))
	}
	f.Add([]byte{magic, version, byte(KindBlock), 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3, 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		content := randomBytes(1, 70_000)
		o, tree, err := Describe("x", bytes.NewReader(content), int64(len(content)), MinBlock)
		if err != nil {
			t.Fatal(err)
		}
		now := netsim.Start
		s, err := NewSender(now, SenderConfig{
			Object: o, Tree: tree, Content: bytes.NewReader(content), Group: simGroup, From: simAddr(0), Random: newDice(1),
		})
		if err != nil {
			t.Fatal(err)
		}
		r, err := NewReceiver(ReceiverConfig{Rand: rand.New(rand.NewPCG(1, 2)), Random: newDice(2)})
		if err != nil {
			t.Fatal(err)
		}
		store := &memory{b: make([]byte, len(content))}
		for i := range 16 {
			s.HandleTimeout(now)
			for _, p := range s.Outgoing() {
				r.HandlePacket(now, Packet{From: simAddr(0), Payload: bytes.Clone(p.Payload)})
			}
			for _, e := range r.Events() {
				switch e := e.(type) {
				case Offered:
					_ = r.Accept(now, store, nil)
				case Complete:
					if e.Root != o.Root || bytes.Equal(store.b, content) {
						r.Finish(now, nil)
						continue
					}
					t.Fatal("completed something else")
				}
			}
			if i > 1 { // with the session's own numbers, so that more of it is taken
				p := bytes.Clone(b)
				for _, k := range []uint64{uint64(s.offer.Session), uint64(r.cur.token)} {
					if at := 4 + i%16; len(p) >= at+8 {
						copy(p[at:], appendUint64(nil, k))
					}
				}
				r.HandlePacket(now, Packet{From: simAddr(9), Payload: bytes.Clone(p)})
				s.HandlePacket(now, Packet{From: simAddr(9), Payload: p})
			}
			r.HandleTimeout(now)
			for _, p := range r.Outgoing() {
				s.HandlePacket(now, Packet{From: simAddr(1), Payload: p.Payload})
			}
			now = now.Add(50 * time.Millisecond)
		}
	})
}
