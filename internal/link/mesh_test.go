package link

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipeNet is a network of in-memory connections for fake time.
type pipeNet struct {
	mu        sync.Mutex
	listeners map[netip.AddrPort]*pipeListener
	down      map[netip.AddrPort]bool
	dials     map[netip.AddrPort]int
}

func newPipeNet() *pipeNet {
	return &pipeNet{
		listeners: make(map[netip.AddrPort]*pipeListener), down: make(map[netip.AddrPort]bool),
		dials: make(map[netip.AddrPort]int),
	}
}

func machineAddr(n byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 7)
}

type pipeListener struct {
	addr   netip.AddrPort
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }

func (n *pipeNet) listen(a netip.AddrPort) *pipeListener {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &pipeListener{addr: a, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners[a] = l
	return l
}

func (n *pipeNet) dial(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
	n.mu.Lock()
	l, down := n.listeners[a], n.down[a]
	n.dials[a]++
	n.mu.Unlock()
	if l == nil || down {
		return nil, errors.New("connection refused")
	}
	p, q := net.Pipe()
	select {
	case l.conns <- q:
		return p, nil
	case <-l.closed:
		return nil, errors.New("connection refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// member is a machine of the tests with what its Mesh told.
type member struct {
	*Mesh
	id   PeerID
	mu   sync.Mutex
	told []string
	stop context.CancelFunc
}

func (m *member) tell(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, fmt.Sprintf(format, args...))
}

func (n *pipeNet) join(t *testing.T, i byte) *member {
	t.Helper()
	m := &member{id: identity(t, i).ID()}
	ctx, cancel := context.WithCancel(t.Context())
	m.stop = cancel
	cfg := MeshConfig{
		Config: config(t, i, echo), Listener: n.listen(machineAddr(i)), Dial: n.dial,
		Up:   func(p PeerID, _ *Conn) { m.tell("up %v", p) },
		Down: func(p PeerID, _ error) { m.tell("down %v", p) },
	}
	var err error
	if m.Mesh, err = NewMesh(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *member) leave() { m.stop(); m.Wait() }

func TestMesh_TwoThatDialEachOtherKeepTheSameConnection(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			n := newPipeNet()
			a, b := n.join(t, 1), n.join(t, 2)
			go a.AddAddress(b.id, machineAddr(2))
			go b.AddAddress(PeerID{}, machineAddr(1))
			time.Sleep(time.Minute)
			ca, cb := a.Conn(b.id), b.Conn(a.id)
			if ca == nil || cb == nil {
				t.Fatal("not connected")
			}
			if ca.dialled == cb.dialled || ca.dialSerial() != cb.dialSerial() {
				t.Errorf("the ends kept different connections")
			}
			if a.Counters().Established+b.Counters().Established == 2 && ca.dialled != (comparePeers(a.id, b.id) < 0) {
				t.Errorf("the connection dialled by the higher ID survived")
			}
			if err := errors.Join(ca.Err(), cb.Err()); err != nil {
				t.Error(err)
			}
			for _, m := range []*member{a, b} {
				m.mu.Lock()
				if len(m.told) != 1 {
					t.Errorf("told %q", m.told)
				}
				m.mu.Unlock()
			}
			if _, err := a.Call(t.Context(), b.id, Message{}); err != nil {
				t.Error(err)
			}
			if _, err := a.Call(t.Context(), a.id, Message{}); !errors.Is(err, ErrNotConnected) {
				t.Errorf("Call of nobody = %v", err)
			}
			a.leave()
			b.leave()
		})
	}
}

func TestMesh_EveryOrderOfTwoConnectionsKeepsTheSame(t *testing.T) {
	low, high := identity(t, 1), identity(t, 2)
	if comparePeers(low.id, high.id) > 0 {
		low, high = high, low
	}
	// A connection as its two ends see it: who dialled, with which serial.
	type dialledBy struct {
		low    bool
		serial uint64
	}
	view := func(d dialledBy, lowEnd bool) (*Mesh, *Conn) {
		self, peer := low, high
		if !lowEnd {
			self, peer = high, low
		}
		c := &Conn{cfg: &Config{}, key: peer.key, id: peer.id, dialled: d.low == lowEnd}
		if c.dialled {
			c.cfg.serial = d.serial
		} else {
			c.hello.serial = d.serial
		}
		c.life.ctx = context.Background()
		return &Mesh{cfg: MeshConfig{Config: Config{Identity: self}}}, c
	}
	conns := []dialledBy{{true, 1}, {true, 2}, {false, 1}, {false, 3}}
	for i, x := range conns {
		for j, y := range conns {
			if i == j {
				continue
			}
			want := x.low && !y.low || x.low == y.low && x.serial > y.serial
			for _, end := range []bool{true, false} {
				m, cx := view(x, end)
				_, cy := view(y, end)
				if got := m.better(cx, cy); got != want {
					t.Errorf("end low=%v: %v better than %v = %v", end, x, y, got)
				}
			}
		}
	}
}

func TestMesh_DialsAgainForEverWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipeNet()
		a := n.join(t, 1)
		a.AddAddress(identity(t, 2).ID(), machineAddr(2))
		time.Sleep(time.Hour)
		n.mu.Lock()
		dials := n.dials[machineAddr(2)]
		n.mu.Unlock()
		if dials < 60 || dials > 140 {
			t.Errorf("%d dials in an hour", dials)
		}
		b := n.join(t, 2)
		time.Sleep(2 * time.Minute)
		if !slices.Equal(a.Connected(), []PeerID{b.id}) || !slices.Equal(b.Connected(), []PeerID{a.id}) {
			t.Fatalf("connected: %v, %v", a.Connected(), b.Connected())
		}
		b.leave()
		time.Sleep(time.Second)
		b = n.join(t, 2)
		time.Sleep(5 * time.Second)
		if a.Conn(b.id) == nil {
			t.Error("not reconnected soon after a restart")
		}
		a.mu.Lock()
		want := []string{"up " + b.id.String(), "down " + b.id.String(), "up " + b.id.String()}
		if !slices.Equal(a.told, want) {
			t.Errorf("told %q", a.told)
		}
		a.mu.Unlock()
		a.leave()
		b.leave()
	})
}

func TestMesh_AnnouncedAddressIsDialledAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipeNet()
		a := n.join(t, 1)
		a.AddAddress(identity(t, 2).ID(), machineAddr(2))
		time.Sleep(time.Hour)
		b := n.join(t, 2)
		a.AddAddress(b.id, machineAddr(2))
		time.Sleep(time.Millisecond)
		if a.Conn(b.id) == nil {
			t.Error("not connected")
		}
		a.leave()
		b.leave()
	})
}

func TestMesh_ManyAddressesOfOnePeerAreTriedInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipeNet()
		a, b := n.join(t, 1), n.join(t, 2)
		a.AddAddress(b.id, machineAddr(7), machineAddr(8), machineAddr(2))
		time.Sleep(10 * time.Second)
		if a.Conn(b.id) == nil {
			t.Error("not connected")
		}
		if e := b.Counters().Established; e != 1 {
			t.Errorf("%d connections for one peer", e)
		}
		a.leave()
		b.leave()
	})
}

func TestMesh_ForgetsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipeNet()
		a := n.join(t, 1)
		a.AddAddress(PeerID{}, machineAddr(1))
		if d := a.AddAddress(a.id, machineAddr(9)); d != 1 {
			t.Errorf("dropped %d", d)
		}
		time.Sleep(time.Hour)
		n.mu.Lock()
		if n.dials[machineAddr(1)] != 1 || n.dials[machineAddr(9)] != 0 {
			t.Errorf("dials %v", n.dials)
		}
		n.mu.Unlock()
		a.leave()
	})
}

func TestMesh_AddressesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newPipeNet()
		ctx, cancel := context.WithCancel(t.Context())
		m, err := NewMesh(ctx, MeshConfig{Config: config(t, 1, nil), Dial: n.dial, MaxAddresses: 3})
		if err != nil {
			t.Fatal(err)
		}
		for i := range byte(5) {
			want := 0
			if i >= 3 {
				want = 1
			}
			if d := m.AddAddress(PeerID{}, machineAddr(10+i)); d != want {
				t.Errorf("address %d: dropped %d", i, d)
			}
		}
		m.RemoveAddress(machineAddr(10))
		if m.AddAddress(PeerID{}, machineAddr(20)) != 0 {
			t.Error("no room after one was removed")
		}
		cancel()
		m.Wait()
	})
}

func TestMesh_OverTCP(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var meshes []*Mesh
	var ups sync.WaitGroup
	for i := range byte(3) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ups.Add(2)
		m, err := NewMesh(ctx, MeshConfig{
			Config: config(t, i+1, echo), Listener: ln,
			Up: func(PeerID, *Conn) { ups.Done() },
		})
		if err != nil {
			t.Fatal(err)
		}
		meshes = append(meshes, m)
	}
	for _, m := range meshes {
		for _, o := range meshes {
			if o != m {
				m.AddAddress(o.cfg.Config.Identity.ID(), o.Addr())
			}
		}
	}
	ups.Wait()
	for _, m := range meshes {
		for _, id := range m.Connected() {
			if _, err := m.Call(ctx, id, Message{Body: make([]byte, 1<<20)}); err != nil {
				t.Error(err)
			}
		}
	}
	cancel()
	for _, m := range meshes {
		m.Wait()
	}
}
