package link

import "time"

// watch starts the vigil of a Mesh that has one.
func (m *Mesh) watch() {
	if m.cfg.Neighbours <= 0 {
		return
	}
	c := &m.cfg.Config
	m.vigil = newVigil(withinBound(c.Identity.id, m.cfg.Neighbours, c.KeepAlive, c.DeadAfter))
	c.vigil = true
	c.doubted = func(from PeerID, d doubtMessage) {
		m.mu.Lock()
		m.vigil.HandlePacket(time.Now(), note{Peer: from, Doubt: &d})
		m.mu.Unlock()
		wake(m.look)
	}
	m.wg.Go(m.watchLoop)
}

// watchConn says that the connection to a peer is now c, or that it has none. Called
// with m.mu held.
func (m *Mesh) watchConn(id PeerID, c *Conn) {
	if m.vigil == nil {
		return
	}
	if c != nil && c.watched() {
		m.vigil.up(time.Now(), id)
	} else {
		m.vigil.down(id)
	}
	wake(m.look)
}

// watchEvery is how often it is looked whether calls are under way, whose answers
// somebody may wait for in vain.
const watchEvery = time.Second

// watchLoop turns the vigil.
func (m *Mesh) watchLoop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-m.look:
		case <-m.ctx.Done():
			return
		}
		for _, act := range m.watchOnce(timer) {
			act()
		}
	}
}

// watchOnce has the vigil look, sets timer to when it wants to look again, and returns
// what it wants done.
func (m *Mesh) watchOnce(timer *time.Timer) []func() {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, now := m.vigil, time.Now()
	for id := range v.peers {
		c := m.peers[id].conn
		v.heard(c.lastHeard(), id, c.calls.underWay() > 0)
	}
	v.HandleTimeout(now)
	var acts []func()
	for _, n := range v.Outgoing() {
		c := m.peers[n.Peer].conn
		if c != nil {
			acts = append(acts, func() { c.tellSign(n.Doubt) })
		}
	}
	for _, s := range v.Events() {
		if c := m.peers[s.Peer].conn; c != nil {
			acts = append(acts, func() { c.fail(ErrPeerSilent) })
		}
	}
	if next, ok := v.NextTimeout(); ok {
		timer.Reset(max(0, min(watchEvery, time.Until(next))))
	} else {
		timer.Stop()
	}
	return acts
}

// tellSign pings the peer, or tells it of a doubt. It does not wait: a peer that is not
// written to shows that by itself, and doubts come from several.
func (c *Conn) tellSign(d *doubtMessage) {
	if d == nil {
		wake(c.signs.ask)
		return
	}
	select {
	case c.out <- outgoing{frame: frame{kind: kindDoubt, body: d.append(nil)}}:
	default:
	}
}
