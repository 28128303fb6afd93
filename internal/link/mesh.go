package link

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// ErrNotConnected reports a peer to which there is no connection now.
var ErrNotConnected = errors.New("link: not connected")

// MeshConfig says how a [Mesh] finds and keeps its peers. Config must be filled
// in, everything else may be zero.
type MeshConfig struct {
	// Config is used for every connection. Its Handler answers all peers.
	Config Config
	// Listener takes incoming connections; the Mesh owns it. Nil means none.
	Listener net.Listener
	// Limits bound strangers; see Limits.
	Limits Limits
	// Dial opens a connection to an address. Nil means TCP.
	Dial func(ctx context.Context, addr netip.AddrPort) (net.Conn, error)
	// Up hears that a peer has a connection where it had none, Down that the last
	// one has ended and why. Both are called from one goroutine, in turn for each
	// peer; a change that was undone before it was told may be left out. Nil
	// means that nobody listens.
	Up   func(peer PeerID, c *Conn)
	Down func(peer PeerID, why error)
	// Failed hears of dials and incoming connections that came to nothing, from
	// several goroutines. Nil means that nobody listens.
	Failed func(addr netip.AddrPort, err error)
	// BackoffMin and BackoffMax bound the pause between two dials of an address.
	// It doubles with each failure, and a random half of it is taken off. Zero
	// means 500 ms and 1 min.
	BackoffMin, BackoffMax time.Duration
	// Overlap is how long a connection that lost to another one of the same peer
	// stays open for calls under way. Zero means 5 s.
	Overlap time.Duration
	// MaxAddresses bounds the remembered addresses. Zero means 1024.
	MaxAddresses int
	// Neighbours is how many peers on each side on the ring of IDs are asked for a sign
	// of life every Config.KeepAlive. The others are asked seldom, and at once when any
	// machine doubts that another lives, so that the end of a peer is noticed within
	// Config.DeadAfter also then. Zero means that all connections are kept alive alike.
	Neighbours int
}

// Mesh keeps one live connection to each peer it has an address of or that has
// dialled it, and dials again for ever. Of two connections between the same two
// machines both ends keep the same one: that dialled by the lower ID, and of
// several dialled by one machine the newest.
type Mesh struct {
	cfg      MeshConfig
	ctx      context.Context
	listener *Listener
	wg       sync.WaitGroup
	dials    chan struct{} // holds one element for each dial under way
	changed  chan struct{} // wakes the goroutine that tells Up and Down
	look     chan struct{} // wakes the goroutine that watches

	mu      sync.Mutex
	serial  uint64
	peers   map[PeerID]*meshPeer
	targets map[netip.AddrPort]*target
	dirty   map[PeerID]bool
	vigil   *vigil // nil: connections are kept alive by themselves
}

// meshPeer is a machine that is or was connected, or is known by address.
type meshPeer struct {
	conn    *Conn         // nil: not connected
	gone    chan struct{} // closed when conn becomes nil
	epoch   uint64        // counts the times that conn became other than nil
	told    uint64        // the epoch that Up was called for; 0: Down was
	why     error         // of the last end
	dialing bool
}

// target is an address that is dialled while its peer is not connected.
type target struct {
	addr   netip.AddrPort
	want   PeerID // zero: whoever answers
	peer   PeerID // who answered last, or want
	cancel context.CancelFunc
	kick   chan struct{}
}

// NewMesh starts a Mesh that works until ctx ends; see [Mesh.Wait].
func NewMesh(ctx context.Context, cfg MeshConfig) (*Mesh, error) {
	c, err := cfg.Config.withDefaults()
	if err != nil {
		if cfg.Listener != nil {
			cfg.Listener.Close()
		}
		return nil, err
	}
	cfg.Config = c
	orDefault(&cfg.BackoffMin, 500*time.Millisecond)
	orDefault(&cfg.BackoffMax, time.Minute)
	orDefault(&cfg.Overlap, 5*time.Second)
	orDefault(&cfg.MaxAddresses, 1024)
	if cfg.Dial == nil {
		d := net.Dialer{Timeout: c.HandshakeTimeout}
		cfg.Dial = func(ctx context.Context, a netip.AddrPort) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", a.String())
		}
	}
	m := &Mesh{
		cfg: cfg, ctx: ctx, serial: uint64(time.Now().UnixNano()),
		dials: make(chan struct{}, 16), changed: make(chan struct{}, 1), look: make(chan struct{}, 1),
		peers: make(map[PeerID]*meshPeer), targets: make(map[netip.AddrPort]*target), dirty: make(map[PeerID]bool),
	}
	m.watch()
	if cfg.Listener != nil {
		failed := func(err error) { m.failed(netip.AddrPort{}, err) }
		if m.listener, err = NewListener(ctx, cfg.Listener, m.cfg.Config, cfg.Limits, failed); err != nil {
			return nil, err
		}
		m.wg.Go(m.acceptLoop)
	}
	m.wg.Go(m.tellLoop)
	return m, nil
}

// Addr returns where the Mesh listens; invalid when it does not.
func (m *Mesh) Addr() netip.AddrPort {
	if m.listener == nil {
		return netip.AddrPort{}
	}
	return m.listener.Addr()
}

// Counters returns what became of incoming connections.
func (m *Mesh) Counters() Counters {
	if m.listener == nil {
		return Counters{}
	}
	return m.listener.Counters()
}

// Wait returns once the Mesh's context has ended and no goroutine of the Mesh or
// its connections is left.
func (m *Mesh) Wait() {
	m.wg.Wait()
	if m.listener != nil {
		m.listener.Wait()
	}
}

// AddAddress remembers that peer may be reached at addrs; a zero peer means
// whoever answers. An address that is being waited for is dialled at once. It
// returns how many addresses there was no room for.
func (m *Mesh) AddAddress(peer PeerID, addrs ...netip.AddrPort) (dropped int) {
	if peer == m.cfg.Config.Identity.id || m.ctx.Err() != nil {
		return len(addrs)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range addrs {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if t := m.targets[a]; t != nil {
			if !peer.IsZero() && t.want != peer {
				t.want, t.peer = peer, peer // the newest word on who lives there
			}
			wake(t.kick)
			continue
		}
		if len(m.targets) >= m.cfg.MaxAddresses {
			dropped++
			continue
		}
		ctx, cancel := context.WithCancel(m.ctx)
		t := &target{addr: a, want: peer, peer: peer, cancel: cancel, kick: make(chan struct{}, 1)}
		m.targets[a] = t
		m.wg.Go(func() { m.dialLoop(ctx, t) })
	}
	return dropped
}

// RemoveAddress forgets addr. A connection made through it stays.
func (m *Mesh) RemoveAddress(addr netip.AddrPort) {
	m.mu.Lock()
	defer m.mu.Unlock()
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if t := m.targets[addr]; t != nil {
		t.cancel()
		delete(m.targets, addr)
	}
}

// Conn returns the live connection to peer, nil when there is none.
func (m *Mesh) Conn(peer PeerID) *Conn {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[peer]; p != nil {
		return p.conn
	}
	return nil
}

// Connected returns the peers that have a live connection, in the order of IDs.
func (m *Mesh) Connected() []PeerID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []PeerID
	for id, p := range m.peers {
		if p.conn != nil {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, comparePeers)
	return ids
}

// Call asks peer over its live connection; see [Conn.Call]. Without one it fails
// at once with ErrNotConnected.
func (m *Mesh) Call(ctx context.Context, peer PeerID, req Message) (Message, error) {
	c := m.Conn(peer)
	if c == nil {
		return Message{}, fmt.Errorf("%w: %v", ErrNotConnected, peer)
	}
	return c.Call(ctx, req)
}

// Send tells peer something; see [Conn.Send] and [Mesh.Call].
func (m *Mesh) Send(ctx context.Context, peer PeerID, req Message) error {
	c := m.Conn(peer)
	if c == nil {
		return fmt.Errorf("%w: %v", ErrNotConnected, peer)
	}
	return c.Send(ctx, req)
}

func (m *Mesh) failed(addr netip.AddrPort, err error) {
	if m.cfg.Failed != nil && m.ctx.Err() == nil {
		m.cfg.Failed(addr, err)
	}
}

func (m *Mesh) acceptLoop() {
	for {
		c, err := m.listener.Accept(m.ctx)
		if err != nil {
			return
		}
		m.add(c)
	}
}

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// jitter takes a random part of at most half off d.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/2+1) }
