package bulk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netsim"
	"github.com/aether-lan/aether/multicast/seal"
)

// memory is a Store in memory, of a fixed size.
type memory struct {
	b    []byte
	fail error
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	n := copy(p, m.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if m.fail != nil {
		return 0, m.fail
	}
	return copy(m.b[off:], p), nil
}

// dice is a source of bytes from a seed.
type dice struct{ *rand.ChaCha8 }

func newDice(seed uint64) dice {
	var b [32]byte
	binary.LittleEndian.PutUint64(b[:], seed)
	return dice{rand.NewChaCha8(b)}
}

var simGroup = netip.MustParseAddrPort("239.255.77.1:7000")

func simAddr(id netsim.ID) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(id)}), 4000)
}

// lan is a sender and receivers in a simulation. Node 0 sends.
type lan struct {
	*testing.T
	sim       *netsim.Sim[Packet, Event]
	object    Object
	content   []byte
	sender    *Sender
	receivers []*station
	started   int // senders
	heard     map[netsim.ID][]Event
	cfg       SenderConfig
	seed      uint64
	secret    *seal.Secret
	cut       map[netsim.ID]int // the part of a divided network that a node is in
}

// station is a receiver and what drives it.
type station struct {
	id     netsim.ID
	engine *Receiver
	store  *memory
	have   bitmap
	done   bool
	err    error
	left   int
	down   bool
}

func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = newDice(seed).Read(b)
	return b
}

// newLAN makes a network of n receivers and a sender of size random bytes.
func newLAN(t *testing.T, seed uint64, n, size int, f netsim.Faults, change func(*SenderConfig)) *lan {
	t.Helper()
	l := &lan{T: t, sim: netsim.New[Packet, Event](seed), content: randomBytes(seed, size), heard: map[netsim.ID][]Event{}, seed: seed}
	l.sim.Segment("lan").Faults = f
	l.sim.To = func(_ netsim.ID, p Packet) (netsim.ID, bool) {
		if !p.To.IsValid() {
			return 0, false
		}
		return netsim.ID(p.To.Addr().As4()[3]), true
	}
	l.sim.Receive = func(from, _ netsim.ID, p Packet) Packet {
		return Packet{From: simAddr(from), To: p.To, Payload: bytes.Clone(p.Payload)}
	}
	l.sim.Encode = func(b []byte, p Packet) []byte { return append(b, p.Payload...) }
	l.sim.Event = l.event
	object, tree, err := Describe("object.bin", bytes.NewReader(l.content), int64(size), MaxBlock)
	if err != nil {
		t.Fatal(err)
	}
	l.object = object
	l.cfg = SenderConfig{
		Object: object, Tree: tree, Content: bytes.NewReader(l.content), Group: simGroup, From: simAddr(0), Pull: 1,
		Receivers: n, MaxRate: 8 << 20,
	}
	if change != nil {
		change(&l.cfg)
	}
	l.secret = l.cfg.Secret
	l.newSender()
	l.sim.Attach(l.sender, "lan")
	for i := range n {
		l.receivers = append(l.receivers, &station{id: netsim.ID(i + 1), store: &memory{b: make([]byte, size)}})
		l.newReceiver(i)
		l.sim.Attach(l.receivers[i].engine, "lan")
	}
	return l
}

func (l *lan) newSender() {
	l.Helper()
	l.started++
	l.cfg.Random = newDice(l.seed*1000 + uint64(l.started)*100)
	var err error
	if l.sender, err = NewSender(l.sim.Now(), l.cfg); err != nil {
		l.Fatal(err)
	}
}

func (l *lan) newReceiver(i int) {
	l.Helper()
	s := l.receivers[i]
	s.left++
	n := l.seed*1000 + uint64(i) + uint64(s.left)*50
	e, err := NewReceiver(ReceiverConfig{
		Name: fmt.Sprint("r", i+1), Pull: 1, Secret: l.secret, Rand: rand.New(rand.NewPCG(n, 1)), Random: newDice(n), Buffers: 4,
	})
	if err != nil {
		l.Fatal(err)
	}
	s.engine, s.down = e, false
}

// event answers what the engines of receivers ask for.
func (l *lan) event(id netsim.ID, now time.Time, e Event) {
	l.heard[id] = append(l.heard[id], e)
	if id == 0 || int(id) > len(l.receivers) {
		return
	}
	s := l.receivers[id-1]
	switch e := e.(type) {
	case Offered:
		if !e.Again {
			l.later(0, s, func(now time.Time) {
				if err := s.engine.Accept(now, s.store, s.have); err != nil {
					l.Errorf("%d: %v", id, err)
				}
			})
		}
	case SectionDone:
		if s.have == nil {
			s.have = newBitmap(l.object.Sections())
		}
		s.have.set(e.Section)
	case PullWanted:
		l.fetch(s)
	case Complete:
		l.later(0, s, func(now time.Time) {
			if !bytes.Equal(s.store.b, l.content) {
				l.Errorf("seed %d: receiver %d completed something else", l.seed, id)
			}
			s.done = true
			s.engine.Finish(now, nil)
		})
	case Left:
		s.err = e.Err
	}
	_ = now
}

// later calls f for s unless it crashes or starts again before.
func (l *lan) later(d time.Duration, s *station, f func(now time.Time)) {
	life := s.left
	l.sim.At(l.sim.Elapsed()+d, func() {
		if !s.down && s.left == life {
			l.sim.Do(s.id, f)
		}
	})
}

// fetch is what a driver does by TCP, a section in 10 ms, while the way is open.
func (l *lan) fetch(s *station) {
	l.later(10*time.Millisecond, s, func(now time.Time) {
		w, ok := s.engine.Want()
		if !ok {
			if !s.done {
				l.fetch(s)
			}
			return
		}
		p, err := l.serve(s, w)
		if err != nil {
			s.engine.NotPulled(w.Section)
		} else if err := s.engine.Pulled(now, p); err != nil {
			l.Errorf("seed %d: %v", l.seed, err)
		}
		l.fetch(s)
	})
}

var errNoSource = errors.New("no source")

func (l *lan) serve(s *station, w Want) (p Piece, err error) {
	for _, source := range w.Sources {
		id := netsim.ID(source.Addr().As4()[3])
		if id != 0 && (l.receivers[id-1].down || !l.receivers[id-1].have.has(w.Section)) || l.cut[id] != l.cut[s.id] {
			continue
		}
		p = Piece{Section: w.Section, Blocks: w.Blocks, Proof: l.cfg.Tree.Proof(w.Section)}
		section := l.content[l.object.Offset(w.Section):][:l.object.Length(w.Section)]
		for b := range l.object.Blocks(w.Section) {
			if bitmap(w.Blocks[:]).has(b) {
				p.Content = append(p.Content, section[b*l.object.Block:][:l.object.BlockLength(w.Section, b)]...)
			}
		}
		return p, nil
	}
	return p, errNoSource
}

// result fails the test when a receiver did not end well.
func (l *lan) result() {
	l.Helper()
	for _, s := range l.receivers {
		if !s.down && (!s.done || s.err != nil) {
			l.Errorf("seed %d: receiver %d: done %v, error %v, %+v", l.seed, s.id, s.done, s.err, s.engine.Stats())
		}
	}
	if l.Failed() {
		l.Logf("sender: state %d, %+v, %+v", l.sender.state, l.sender.Stats(), l.sender.Outcomes())
		for _, e := range l.heard[0] {
			l.Logf("%T%+v", e, e)
		}
	}
}

// ratio is bytes on the wire, with 28 of headers a packet, over the object's.
func (l *lan) ratio() float64 {
	st := l.sender.Stats()
	return float64(st.Bytes+28*st.Packets) / float64(l.object.Size)
}

func TestTransfer_WithoutLoss(t *testing.T) {
	for _, n := range []int{1, 4, 9} {
		l := newLAN(t, uint64(n), n, 4<<20, netsim.Faults{Delay: 200 * time.Microsecond}, nil)
		if !l.sim.RunIdle(time.Minute) {
			t.Error("not idle after a minute")
		}
		l.result()
		t.Logf("%d receivers: ratio %.4f in %v, rate %.0f", n, l.ratio(), l.sim.Elapsed(), l.sender.pace.rate)
		if l.ratio() > 1.06 {
			t.Errorf("%d receivers: ratio %.4f, want at most 1.06", n, l.ratio())
		}
	}
}

func TestTransfer_OnePercentLossNineReceivers(t *testing.T) {
	for seed := range uint64(2) {
		l := newLAN(t, seed, 9, 16<<20, netsim.Faults{Delay: 200 * time.Microsecond, Loss: 0.01}, nil)
		if !l.sim.RunIdle(time.Minute) {
			t.Error("not idle after a minute")
		}
		l.result()
		t.Logf("seed %d: ratio %.4f in %v, rate %.0f, %+v", seed, l.ratio(), l.sim.Elapsed(), l.sender.pace.rate, l.sender.Stats())
		if l.ratio() > 1.10 {
			t.Errorf("seed %d: ratio %.4f, want at most 1.10", seed, l.ratio())
		}
	}
}
