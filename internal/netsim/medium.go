package netsim

import (
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// inboxLimit bounds the packets that wait at one Conn; more are dropped, as a
// socket's receive buffer does, and counted by [Conn.Dropped].
const inboxLimit = 4096

// Medium carries packets between Conns in the time of package time, so that in a
// testing/synctest bubble it is fake time. It is safe for concurrent use.
type Medium[P any] struct {
	// To gives the one Conn that a packet is for. Nil, or ok false, means all
	// others. Set it before the first packet.
	To func(from ID, p P) (to ID, ok bool)
	// Receive makes what a Conn receives from what another sent. Nil hands the
	// value on. Set it before the first packet.
	Receive func(from, to ID, p P) P

	mu     sync.Mutex // guards the rest and the chances drawn
	faults Faults
	rand   *rand.Rand
	seq    uint64
	parts  partition
	conns  []*Conn[P]
}

// NewMedium returns a medium with the given faults, drawn from seed.
func NewMedium[P any](seed uint64, f Faults) *Medium[P] {
	return &Medium[P]{faults: f, rand: rand.New(rand.NewPCG(seed, 0x6d656469756d))}
}

// SetFaults changes what happens to packets sent from now on.
func (m *Medium[P]) SetFaults(f Faults) { m.mu.Lock(); m.faults = f; m.mu.Unlock() }

// Partition divides the medium as [Sim.Partition] does.
func (m *Medium[P]) Partition(groups ...[]ID) {
	m.mu.Lock()
	m.parts = newPartition(groups)
	m.mu.Unlock()
}

// Heal ends a partition.
func (m *Medium[P]) Heal() { m.mu.Lock(); m.parts = nil; m.mu.Unlock() }

// Attach returns a new Conn, numbered in order.
func (m *Medium[P]) Attach() *Conn[P] {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Conn[P]{ID: ID(len(m.conns)), m: m, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	m.conns = append(m.conns, c)
	return c
}

// Conn is one end of a Medium. It satisfies loop.Conn.
type Conn[P any] struct {
	// ID is the Conn's number.
	ID ID

	m      *Medium[P]
	once   sync.Once
	closed chan struct{}
	wake   chan struct{} // told when the inbox has a new first packet

	mu      sync.Mutex
	inbox   []waiting[P] // ordered by at, then seq
	dropped int
}

type waiting[P any] struct {
	at  time.Time
	seq uint64
	p   P
}

// ReadPacket waits for the next packet to arrive. After Close it returns
// net.ErrClosed.
func (c *Conn[P]) ReadPacket() (P, error) {
	var none P
	for {
		p, wait, ok := c.take()
		if ok {
			return p, nil
		}
		var due <-chan time.Time
		if wait > 0 {
			due = time.After(wait)
		}
		select {
		case <-c.closed:
			return none, net.ErrClosed
		case <-c.wake:
		case <-due:
		}
	}
}

// take returns a packet that has arrived, or how long until the first one will;
// zero means that none is under way.
func (c *Conn[P]) take() (p P, wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.inbox) == 0 {
		return p, 0, false
	}
	if wait = time.Until(c.inbox[0].at); wait > 0 {
		return p, wait, false
	}
	p = c.inbox[0].p
	c.inbox = slices.Delete(c.inbox, 0, 1)
	return p, 0, true
}

// WritePacket sends p. It never waits; after Close it returns net.ErrClosed.
func (c *Conn[P]) WritePacket(p P) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	m := c.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.To != nil {
		if id, ok := m.To(c.ID, p); ok {
			if id >= 0 && int(id) < len(m.conns) {
				m.transmit(c, m.conns[id], p)
			}
			return nil
		}
	}
	for _, d := range m.conns {
		if d != c {
			m.transmit(c, d, p)
		}
	}
	return nil
}

// transmit puts the copies that d will get into its inbox. The caller holds m.mu.
func (m *Medium[P]) transmit(c, d *Conn[P], p P) {
	if m.parts.cut(c.ID, d.ID) || m.faults.lost(m.rand) {
		return
	}
	if m.Receive != nil {
		p = m.Receive(c.ID, d.ID, p)
	}
	for range m.faults.copies(m.rand) {
		m.seq++
		d.put(waiting[P]{time.Now().Add(m.faults.latency(m.rand)), m.seq, p})
	}
}

func (c *Conn[P]) put(w waiting[P]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.inbox) >= inboxLimit {
		c.dropped++
		return
	}
	i, _ := slices.BinarySearchFunc(c.inbox, w, func(a, b waiting[P]) int {
		if d := a.at.Compare(b.at); d != 0 {
			return d
		}
		return int(a.seq) - int(b.seq)
	})
	c.inbox = slices.Insert(c.inbox, i, w)
	if i == 0 {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
}

// Dropped returns how many packets found the inbox full.
func (c *Conn[P]) Dropped() int { c.mu.Lock(); defer c.mu.Unlock(); return c.dropped }

// Close wakes a waiting ReadPacket. It may be called more than once.
func (c *Conn[P]) Close() error { c.once.Do(func() { close(c.closed) }); return nil }
