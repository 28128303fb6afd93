package link

import (
	"bytes"
	"context"
	"errors"
	"time"
)

func comparePeers(a, b PeerID) int { return bytes.Compare(a[:], b[:]) }

// dialLoop dials t until its context ends, with growing pauses, whenever its peer
// has no connection.
func (m *Mesh) dialLoop(ctx context.Context, t *target) {
	defer t.cancel()
	pause := m.cfg.BackoffMin
	for ctx.Err() == nil {
		gone, connected := m.reserve(t)
		if gone != nil {
			select {
			case <-gone:
				// The other end may be about to dial, too; let a moment of chance
				// decide who is first.
				m.sleep(ctx, nil, jitter(m.cfg.BackoffMin))
			case <-ctx.Done():
			}
			if connected {
				pause = m.cfg.BackoffMin
			}
			continue
		}
		err := m.dial(ctx, t)
		if err == nil {
			pause = m.cfg.BackoffMin
			continue
		}
		m.failed(t.addr, err)
		if errors.Is(err, ErrSelf) {
			m.RemoveAddress(t.addr)
			return
		}
		if m.sleep(ctx, t.kick, jitter(pause)) {
			pause = m.cfg.BackoffMin
		} else {
			pause = min(2*pause, m.cfg.BackoffMax)
		}
	}
}

// sleep waits for d, less when kick speaks (true) or ctx ends.
func (m *Mesh) sleep(ctx context.Context, kick <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-kick:
		return true
	case <-ctx.Done():
		return false
	}
}

// reserve claims the peer of t for a dial and returns nil. When the peer is
// connected, or is being dialled at another address, it returns a channel that is
// closed when it makes sense to ask again.
func (m *Mesh) reserve(t *target) (gone <-chan struct{}, connected bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t.peer.IsZero() {
		return nil, false
	}
	p := m.peer(t.peer)
	if p.conn == nil && !p.dialing {
		p.dialing = true
		return nil, false
	}
	if p.gone == nil {
		p.gone = make(chan struct{})
	}
	return p.gone, p.conn != nil
}

// peer returns the entry of id, made when missing. Called with m.mu held.
func (m *Mesh) peer(id PeerID) *meshPeer {
	p := m.peers[id]
	if p == nil {
		p = new(meshPeer)
		m.peers[id] = p
	}
	return p
}

func (m *Mesh) dial(ctx context.Context, t *target) error {
	m.mu.Lock()
	m.serial++
	cfg := m.cfg.Config
	cfg.serial = m.serial
	want, reserved := t.want, t.peer
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if p := m.peers[reserved]; p != nil {
			p.dialing = false
			if p.conn == nil {
				p.release() // other addresses of the peer have their turn
			}
		}
	}()
	select {
	case m.dials <- struct{}{}:
		defer func() { <-m.dials }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	nc, err := m.cfg.Dial(ctx, t.addr)
	if err != nil {
		return err
	}
	c, err := Client(m.ctx, nc, want, cfg)
	if err != nil {
		return err
	}
	m.mu.Lock()
	t.peer = c.Peer()
	m.mu.Unlock()
	m.add(c)
	return nil
}

// release wakes those who wait for the peer to be without connection.
func (p *meshPeer) release() {
	if p.gone != nil {
		close(p.gone)
		p.gone = nil
	}
}

// add takes a new connection into the table, or lets it go when the peer has a
// better one.
func (m *Mesh) add(c *Conn) {
	id := c.Peer()
	m.mu.Lock()
	p := m.peer(id)
	loser := p.conn
	if loser != nil && !m.better(c, loser) {
		loser = c
	} else {
		if p.conn == nil {
			p.epoch++
			m.markLocked(id)
		}
		p.conn = c
		m.watchConn(id, c)
	}
	m.mu.Unlock()
	if loser != nil {
		m.wg.Go(func() { m.retire(loser) })
	}
	m.wg.Go(func() {
		<-c.Done()
		m.remove(id, c)
	})
}

// better reports whether both ends prefer a to b. Both know who dialled, both IDs
// and the dialler's serial, so both answer alike.
func (m *Mesh) better(a, b *Conn) bool {
	if b.Err() != nil {
		return true
	}
	if a.dialled != b.dialled {
		selfLower := comparePeers(m.cfg.Config.Identity.id, a.Peer()) < 0
		return a.dialled == selfLower
	}
	return a.dialSerial() > b.dialSerial()
}

// dialSerial is the number that the dialling end gave the connection.
func (c *Conn) dialSerial() uint64 {
	if c.dialled {
		return c.cfg.serial
	}
	return c.hello.serial
}

// retire closes a connection that has lost, once it had time for what is under
// way.
func (m *Mesh) retire(c *Conn) {
	timer := time.NewTimer(m.cfg.Overlap)
	defer timer.Stop()
	select {
	case <-timer.C:
		c.Close()
	case <-c.Done():
	}
}

// remove takes an ended connection out of the table.
func (m *Mesh) remove(id PeerID, c *Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.peers[id]
	if p == nil || p.conn != c {
		return
	}
	p.conn, p.why = nil, c.Err()
	m.watchConn(id, nil)
	p.release()
	m.markLocked(id)
}

func (m *Mesh) markLocked(id PeerID) {
	m.dirty[id] = true
	wake(m.changed)
}

// tellLoop calls Up and Down. What it has to tell is bounded by the number of
// peers, because only the last state of each counts.
func (m *Mesh) tellLoop() {
	for {
		select {
		case <-m.changed:
		case <-m.ctx.Done():
			return
		}
		for {
			tell := m.next()
			if tell == nil {
				break
			}
			tell()
		}
	}
}

// next returns the calls to make for one peer, nil when there are none.
func (m *Mesh) next() func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id := range m.dirty {
		delete(m.dirty, id)
		p := m.peers[id]
		conn, why, was, is := p.conn, p.why, p.told, p.epoch
		if conn == nil {
			is = 0
		}
		p.told = is
		if conn == nil && !p.dialing && p.gone == nil {
			delete(m.peers, id) // nobody dials it and nobody waits
		}
		return func() {
			if was != 0 && was != is && m.cfg.Down != nil {
				m.cfg.Down(id, why)
			}
			if is != 0 && was != is && m.cfg.Up != nil {
				m.cfg.Up(id, conn)
			}
		}
	}
	return nil
}
