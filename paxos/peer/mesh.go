package peer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/paxos"
)

// Config says who a node is on the network. ID, Cluster, Listener and Receive must be
// given.
type Config struct {
	ID      paxos.NodeID
	Cluster paxos.ClusterID
	// Key is this machine; nil makes a new one, for this run.
	Key ed25519.PrivateKey
	// Secret is what the machines of the cluster share, of any length. Empty: none,
	// and everybody who can connect belongs.
	Secret []byte
	// Listener takes connections; the Mesh owns it.
	Listener net.Listener
	// Receive takes a message of another node; it may wait, and then that node's
	// messages do. It is called by several goroutines at once, in order for each node.
	Receive func(paxos.Message)
	// Serve answers requests of clients and nodes other than messages. Nil answers
	// none.
	Serve Serve
	// Logger hears of connections that came and went; nil is silent.
	Logger *slog.Logger
}

// Serve answers a request. header and body belong to it. An *Error crosses with its
// code, any other error as text.
type Serve func(ctx context.Context, method uint16, header, body []byte) (h, b []byte, err error)

// Error is an error of the other end.
type Error struct {
	Code uint16
	Text string
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

// FirstCode is the first Code, and FirstMethod the first method, that are free for
// callers.
const (
	FirstCode   = link.CodeUser
	FirstMethod = 16
)

const methodBatch = 1

// Bounds of what waits for a node.
const (
	maxQueued      = 4096
	maxQueuedBytes = 32 << 20
	maxBatch       = 4 << 20
)

// linkConfig is what both ends of a cluster's connections need.
func linkConfig(cluster paxos.ClusterID, key ed25519.PrivateKey, secret []byte) (link.Config, error) {
	if key == nil {
		var err error
		if _, key, err = ed25519.GenerateKey(rand.Reader); err != nil {
			return link.Config{}, err
		}
	}
	id, err := link.NewIdentity(key)
	if err != nil {
		return link.Config{}, err
	}
	h := sha256.New()
	h.Write([]byte("aether paxos cluster\x00"))
	h.Write(cluster[:])
	h.Write(secret)
	return link.Config{
		Identity: id, Admit: link.AdmitSecret(h.Sum(nil)), Protocol: "aether-paxos/1",
		KeepAlive: 2 * time.Second, DeadAfter: 6 * time.Second, MaxBody: paxos.MaxMessage, Queue: 64,
	}, nil
}

// Mesh keeps connections to all nodes and carries messages. Its methods are safe for
// concurrent use.
type Mesh struct {
	cfg     Config
	links   *link.Mesh
	epoch   uint64 // of this process: receivers count batches in it
	dropped atomic.Uint64
	ctx     context.Context
	wg      sync.WaitGroup

	mu    sync.Mutex
	nodes map[paxos.NodeID]*node
	heard map[link.PeerID]*order
}

// New starts a Mesh, which works until ctx ends; then Wait.
func New(ctx context.Context, cfg Config) (*Mesh, error) {
	lc, err := linkConfig(cfg.Cluster, cfg.Key, cfg.Secret)
	if err != nil {
		return nil, fmt.Errorf("paxos/peer: %w", err)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Mesh{cfg: cfg, ctx: ctx, epoch: uint64(time.Now().UnixNano()), nodes: map[paxos.NodeID]*node{}, heard: map[link.PeerID]*order{}}
	lc.Handler = m.handle
	m.links, err = link.NewMesh(ctx, link.MeshConfig{
		Config: lc, Listener: cfg.Listener, BackoffMin: 100 * time.Millisecond, BackoffMax: 2 * time.Second,
		Down:   m.down,
		Failed: func(a netip.AddrPort, err error) { cfg.Logger.Debug("connection failed", "address", a, "error", err) },
	})
	if err != nil {
		return nil, fmt.Errorf("paxos/peer: %w", err)
	}
	return m, nil
}

// Addr returns where the Mesh listens.
func (m *Mesh) Addr() netip.AddrPort { return m.links.Addr() }

// Wait returns once ctx has ended and nothing of the Mesh is left.
func (m *Mesh) Wait() {
	m.links.Wait()
	m.wg.Wait()
}

// Dropped returns how many messages found a queue full.
func (m *Mesh) Dropped() uint64 { return m.dropped.Load() }

// SetAddress says where a node is. Another address replaces it.
func (m *Mesh) SetAddress(id paxos.NodeID, a netip.AddrPort) {
	if id == m.cfg.ID || id == paxos.Everyone || !a.IsValid() {
		return
	}
	m.mu.Lock()
	n := m.nodeLocked(id)
	old := n.addr
	n.addr = a
	m.mu.Unlock()
	if old == a {
		return
	}
	if old.IsValid() {
		m.links.RemoveAddress(old)
	}
	m.links.AddAddress(link.PeerID{}, a)
}

// Address returns where a node is, as far as known.
func (m *Mesh) Address(id paxos.NodeID) netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[id]; n != nil {
		return n.addr
	}
	return netip.AddrPort{}
}

// node is another node: where it is, who it is, what waits for it.
type node struct {
	id    paxos.NodeID
	addr  netip.AddrPort
	peer  link.PeerID // zero until it was heard
	queue []paxos.Message
	bytes int
	wake  chan struct{}
}

// nodeLocked returns the node, and starts what sends to it. The caller holds mu.
func (m *Mesh) nodeLocked(id paxos.NodeID) *node {
	n := m.nodes[id]
	if n == nil {
		n = &node{id: id, wake: make(chan struct{}, 1)}
		m.nodes[id] = n
		m.wg.Go(func() { m.sendTo(n) })
	}
	return n
}

// Send queues messages for their nodes, To Everyone for all that are known.
func (m *Mesh) Send(list []paxos.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range list {
		if msg.To != paxos.Everyone {
			m.queueLocked(m.nodeLocked(msg.To), msg)
			continue
		}
		for _, n := range m.nodes {
			m.queueLocked(n, msg)
		}
	}
}

func (m *Mesh) queueLocked(n *node, msg paxos.Message) {
	size := weight(msg)
	if len(n.queue) >= maxQueued || n.bytes+size > maxQueuedBytes && len(n.queue) > 0 {
		m.dropped.Add(1)
		return
	}
	n.queue, n.bytes = append(n.queue, msg), n.bytes+size
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// weight is about how many bytes a message has on the wire.
func weight(m paxos.Message) int {
	n := 64
	var list []paxos.Entry
	switch b := m.Body.(type) {
	case paxos.Accept:
		list = b.Entries
	case paxos.Promise:
		list = b.Accepted
	case paxos.CaughtUp:
		list = b.Entries
	}
	for _, e := range list {
		n += len(e.Value) + 16
	}
	return n
}

// take removes what waits for n, at most a batch. Without a connection it all goes:
// it would be stale when there is one.
func (m *Mesh) take(n *node) (list []paxos.Message, to link.PeerID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	size, k := 0, 0
	for k < len(n.queue) && (k == 0 || size < maxBatch) {
		size += weight(n.queue[k])
		k++
	}
	list = n.queue[:k:k]
	n.queue, n.bytes = n.queue[k:], n.bytes-size
	if len(n.queue) == 0 {
		n.queue = nil
	}
	return list, n.peer
}

// sendTo sends what waits for n until the Mesh ends.
func (m *Mesh) sendTo(n *node) {
	var b batch
	conns := uint64(0)
	for {
		list, to := m.take(n)
		if len(list) == 0 {
			select {
			case <-n.wake:
				continue
			case <-m.ctx.Done():
				return
			}
		}
		c := m.conn(n, to)
		if c == nil {
			m.dropped.Add(uint64(len(list)))
			continue
		}
		if c != b.conn { // batches count up on a connection
			conns++
			b = batch{conn: c, epoch: m.epoch + conns}
		}
		b.count++
		size := 0
		for _, msg := range list {
			size += weight(msg)
		}
		body := make([]byte, 0, size)
		for _, msg := range list {
			body = appendMessage(body, msg)
		}
		if err := c.Send(m.ctx, link.Message{Method: methodBatch, Header: b.header(), Body: body}); err != nil {
			m.dropped.Add(uint64(len(list)))
		}
	}
}

// conn returns a connection to n. One that was not heard yet is told by its address:
// the first batch makes it known.
func (m *Mesh) conn(n *node, to link.PeerID) *link.Conn {
	if to != (link.PeerID{}) {
		if c := m.links.Conn(to); c != nil {
			return c
		}
	}
	m.mu.Lock()
	addr := n.addr
	m.mu.Unlock()
	if !addr.IsValid() {
		return nil
	}
	for _, p := range m.links.Connected() {
		if c := m.links.Conn(p); c != nil && c.Dialled() && c.RemoteAddr() == addr {
			return c
		}
	}
	return nil
}

// errUnknown says that a node was not heard and is not connected.
var errUnknown = errors.New("not connected")

// Call asks a node; method is FirstMethod or more. An error of its Serve is an *Error.
func (m *Mesh) Call(ctx context.Context, to paxos.NodeID, method uint16, header, body []byte) (h, b []byte, err error) {
	m.mu.Lock()
	n := m.nodes[to]
	var peer link.PeerID
	if n != nil {
		peer = n.peer
	}
	m.mu.Unlock()
	if n == nil {
		return nil, nil, fmt.Errorf("paxos/peer: node %v: %w", to, errUnknown)
	}
	c := m.conn(n, peer)
	if c == nil {
		return nil, nil, fmt.Errorf("paxos/peer: node %v: %w", to, errUnknown)
	}
	return call(ctx, c, method, header, body)
}

func call(ctx context.Context, c *link.Conn, method uint16, header, body []byte) (h, b []byte, err error) {
	r, err := c.Call(ctx, link.Message{Method: method, Header: header, Body: body})
	var e *link.Error
	if errors.As(err, &e) {
		return nil, nil, &Error{e.Code, e.Text}
	}
	return r.Header, r.Body, err
}

// Connected returns the nodes that were heard and have a connection.
func (m *Mesh) Connected() (list []paxos.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, n := range m.nodes {
		if n.peer != (link.PeerID{}) && m.links.Conn(n.peer) != nil {
			list = append(list, id)
		}
	}
	return list
}

// down lets another machine be the node whose machine has gone.
func (m *Mesh) down(p link.PeerID, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.heard, p)
	for id, n := range m.nodes {
		if n.peer == p {
			n.peer = link.PeerID{}
			m.cfg.Logger.Info("node gone", "node", id, "error", why)
		}
	}
}
