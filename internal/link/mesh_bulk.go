package link

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
)

// DialBulk opens one more connection to peer, for large messages that must not
// delay small ones on the live connection. It is the caller's to close, and lives
// no longer than the Mesh; Config.Handler answers on it, too. It does not count
// for Connected, Up and Down. Each address that is remembered for peer is tried
// once; without one it fails with ErrNotConnected: then only the other end can
// dial. The other end accepts MeshConfig.MaxBulk from one machine and closes more.
func (m *Mesh) DialBulk(ctx context.Context, peer PeerID) (*Conn, error) {
	err := fmt.Errorf("%w: no address of %v", ErrNotConnected, peer)
	for i, a := range m.addresses(peer) {
		c, dialErr := m.dialBulk(ctx, a, peer)
		if dialErr == nil {
			return c, nil
		}
		if i == 0 {
			err = dialErr
		} else {
			err = errors.Join(err, dialErr)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, err
}

func (m *Mesh) dialBulk(ctx context.Context, a netip.AddrPort, peer PeerID) (*Conn, error) {
	nc, err := m.cfg.Dial(ctx, a)
	if err != nil {
		return nil, err
	}
	// A serial of zero tells the other end that this is not the live connection.
	c, err := Client(m.ctx, nc, peer, m.cfg.Config)
	if err != nil {
		return nil, err
	}
	m.wg.Go(func() { <-c.Done() })
	return c, nil
}

// addresses returns where peer was reached, the live connection's address first.
func (m *Mesh) addresses(peer PeerID) []netip.AddrPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	var live netip.AddrPort
	if p := m.peers[peer]; p != nil && p.conn != nil && p.conn.dialled {
		live = p.conn.RemoteAddr()
	}
	var all []netip.AddrPort
	for a, t := range m.targets {
		switch {
		case t.peer != peer:
		case a == live:
			all = append([]netip.AddrPort{a}, all...)
		default:
			all = append(all, a)
		}
	}
	return all
}

// addBulk keeps a connection that a peer has opened beside the live one, or closes
// it when there are too many.
func (m *Mesh) addBulk(c *Conn) {
	id := c.Peer()
	m.mu.Lock()
	room := m.bulk[id] < m.cfg.MaxBulk
	if room {
		m.bulk[id]++
	}
	m.mu.Unlock()
	if !room {
		c.Close()
	}
	m.wg.Go(func() {
		<-c.Done()
		if !room {
			return
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.bulk[id]--; m.bulk[id] == 0 {
			delete(m.bulk, id)
		}
	})
}
