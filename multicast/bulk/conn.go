package bulk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/multicast"
)

const (
	batchSize  = 64
	queueLimit = 4096
	// readBuffer is asked of the kernel: at 100 MB/s it holds 40 ms.
	readBuffer = 4 << 20
	// flushLimit bounds the time that closing waits for packets to leave.
	flushLimit = 300 * time.Millisecond
)

// conn carries the packets of one party: to the group and to single addresses by
// one socket, and, for a receiver, from the group by another one. It satisfies
// loop.Conn. Packets are written behind the caller's back, as many at once as have
// gathered; when too many wait, the caller does.
type conn struct {
	out   *multicast.Conn // sends, and reads what is sent to this machine alone
	group *multicast.Conn // nil for a sender
	addr  netip.Addr      // of this machine
	zone  string

	read    chan Packet
	write   chan Packet
	quit    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
	sending sync.WaitGroup

	failed atomic.Uint64 // packets that the system would not send
}

// dial opens the sockets for a group on an interface; listen says whether to join.
func dial(ctx context.Context, ifname string, group netip.AddrPort, hops int, listen bool) (*conn, error) {
	addr, err := ownAddr(ifname, group.Addr())
	if err != nil {
		return nil, err
	}
	cfg := multicast.Config{Interface: ifname, Group: group, HopLimit: hops, ReadBuffer: readBuffer}
	c := &conn{
		addr: addr, zone: ifname,
		read: make(chan Packet, queueLimit), write: make(chan Packet, 4*batchSize), quit: make(chan struct{}),
	}
	if c.out, err = multicast.Dial(ctx, cfg); err != nil {
		return nil, err
	}
	if listen {
		if c.group, err = multicast.Listen(ctx, cfg); err != nil {
			return nil, errors.Join(err, c.out.Close())
		}
		c.wg.Go(func() { c.receive(c.group) })
	}
	c.wg.Go(func() { c.receive(c.out) })
	c.sending.Go(c.transmit)
	return c, nil
}

// ownAddr returns the interface's address of the group's family, of IPv6 the one of
// the link, which every neighbour can reach.
func ownAddr(ifname string, group netip.Addr) (netip.Addr, error) {
	ifi, err := netif.ByName(ifname)
	if err != nil {
		return netip.Addr{}, err
	}
	var found []netip.Addr
	for _, p := range ifi.Addresses {
		if p.Addr().Is4() == group.Unmap().Is4() {
			found = append(found, p.Addr())
		}
	}
	if i := slices.IndexFunc(found, func(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }); i >= 0 {
		return found[i], nil
	}
	if len(found) == 0 {
		return netip.Addr{}, fmt.Errorf("%s has no address of the family of %v (aether linklocal claim gives it one)", ifname, group)
	}
	return found[0], nil
}

// local is where this party hears packets meant for it alone.
func (c *conn) local() netip.AddrPort { return netip.AddrPortFrom(c.addr, c.out.LocalPort()) }

// reachable returns a as this machine must write it: with the zone, if it is an
// address of the link.
func (c *conn) reachable(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is6() && a.Addr().IsLinkLocalUnicast() {
		return netip.AddrPortFrom(a.Addr().WithZone(c.zone), a.Port())
	}
	return a
}

// receive moves what a socket hears into the queue.
func (c *conn) receive(m *multicast.Conn) {
	ds := make([]multicast.Datagram, batchSize)
	for {
		n, err := m.ReadBatch(ds)
		if err != nil {
			c.shut()
			return
		}
		for i := range ds[:n] {
			p := Packet{From: ds[i].From, Payload: ds[i].Payload}
			ds[i].Payload = nil // the engine keeps it
			select {
			case c.read <- p:
			case <-c.quit:
				return
			}
		}
	}
}

// transmit sends what waits, packets to one address together.
func (c *conn) transmit() {
	for {
		select {
		case p := <-c.write:
			c.sendWith(p)
		case <-c.quit:
			for {
				select {
				case p := <-c.write:
					c.sendWith(p)
				default:
					return
				}
			}
		}
	}
}

// sendWith sends p and what waits behind it for the same address.
func (c *conn) sendWith(p Packet) {
	bs := [][]byte{p.Payload}
	for {
		var next Packet
		more := false
		if len(bs) < batchSize {
			select {
			case next = <-c.write:
				more = true
			default:
			}
		}
		if more && next.To == p.To {
			bs = append(bs, next.Payload)
			continue
		}
		to := p.To
		if to.IsValid() {
			to = c.reachable(to)
		}
		// A packet that cannot be sent is one that was lost: the network may be
		// down for a moment.
		if n, err := c.out.WriteBatch(bs, to); err != nil {
			c.failed.Add(uint64(len(bs) - n))
		}
		if !more {
			return
		}
		p, bs = next, [][]byte{next.Payload}
	}
}

// ReadPacket waits for a packet.
func (c *conn) ReadPacket() (Packet, error) {
	select {
	case p := <-c.read:
		return p, nil
	case <-c.quit:
		return Packet{}, net.ErrClosed
	}
}

// WritePacket hands p over to be sent.
func (c *conn) WritePacket(p Packet) error {
	select {
	case c.write <- p:
		return nil
	case <-c.quit:
		return net.ErrClosed
	}
}

func (c *conn) shut() { c.once.Do(func() { close(c.quit) }) }

// Close sends what waits, within a bound, and ends.
func (c *conn) Close() error {
	c.shut()
	flushed := time.AfterFunc(flushLimit, func() { _ = c.out.Close() })
	defer flushed.Stop()
	c.sending.Wait()
	err := c.out.Close()
	if c.group != nil {
		err = errors.Join(err, c.group.Close())
	}
	c.wg.Wait()
	return err
}
