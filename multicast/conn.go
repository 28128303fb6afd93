package multicast

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// maxDatagram is the most a UDP datagram can carry.
const maxDatagram = 65535

// Datagram is one received UDP payload and what the kernel said about it.
type Datagram struct {
	// Payload is the reader's to keep.
	Payload []byte
	// From is the sender. An IPv6 link-local address carries the zone of the
	// receiving interface, so that it can be answered and shown as it is.
	From netip.AddrPort
	// To is the destination: the group, or one of this machine's addresses. It
	// is the group where the system does not tell (Windows).
	To netip.Addr
	// IfIndex is the index of the interface the datagram arrived on.
	IfIndex int
	// HopLimit is the TTL or hop limit it arrived with, 0 where unknown.
	HopLimit int
}

// Stats counts what a [Conn] did not give to its reader.
type Stats struct {
	// Foreign datagrams were for another group or came by another interface.
	Foreign uint64
	// Overrun datagrams found the queue full.
	Overrun uint64
}

// Conn is a group joined on one interface. Its methods may be called from several
// goroutines.
type Conn struct {
	cfg     Config
	ifi     *net.Interface
	socks   []socket // socks[0] has the group and sends
	unicast bool
	shared  bool
	in      chan Datagram
	quit    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
	foreign atomic.Uint64
	overrun atomic.Uint64
}

// socket is one UDP socket of either family.
type socket interface {
	// read fills b with the next datagram. To is invalid and IfIndex zero where
	// the system does not tell.
	read(b []byte) (n int, d Datagram, err error)
	write(b []byte, to netip.AddrPort, ifi *net.Interface) error
	close() error
	local() netip.AddrPort
}

// Listen joins cfg.Group on cfg.Interface. The interface must exist and be up; it
// needs no address of its own to hear the group, but without one of the group's
// family nothing can be sent. It fails with what is wrong in cfg or with the
// system's error; ctx bounds the call only.
func Listen(ctx context.Context, cfg Config) (*Conn, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("multicast: listen: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("multicast: listen: %w", context.Cause(ctx))
	}
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, fmt.Errorf("multicast: listen on %s: %w", cfg.Interface, err)
	}
	socks, unicast, shared, err := openSockets(ctx, cfg, ifi)
	if err != nil {
		return nil, fmt.Errorf("multicast: listen to %v on %s: %w", cfg.Group, cfg.Interface, err)
	}
	c := &Conn{
		cfg: cfg, ifi: ifi, socks: socks, unicast: unicast, shared: shared,
		in: make(chan Datagram, cfg.Queue), quit: make(chan struct{}),
	}
	c.cfg.Group = netip.AddrPortFrom(cfg.Group.Addr(), socks[0].local().Port())
	for _, s := range socks {
		c.wg.Go(func() { c.receive(s) })
	}
	return c, nil
}

// receive moves datagrams of one socket into the queue until the socket is closed.
func (c *Conn) receive(s socket) {
	b := make([]byte, maxDatagram)
	for {
		n, d, err := s.read(b)
		if err != nil {
			select {
			case <-c.quit:
				return
			default:
			}
			if isTransient(err) {
				continue
			}
			c.shut() // the other sockets would outlive this one unseen
			return
		}
		if !c.wanted(&d) {
			c.foreign.Add(1)
			continue
		}
		d.Payload = append([]byte(nil), b[:n]...)
		select {
		case c.in <- d:
		default:
			c.overrun.Add(1)
		}
	}
}

// wanted reports whether d is for this Conn, and fills in what the system left out.
func (c *Conn) wanted(d *Datagram) bool {
	if d.IfIndex == 0 {
		d.IfIndex = c.ifi.Index
	}
	if !d.To.IsValid() {
		d.To = c.cfg.Group.Addr()
	}
	if a := d.From.Addr(); a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
		d.From = netip.AddrPortFrom(a.WithZone(c.ifi.Name), d.From.Port())
	}
	switch to := d.To.WithZone(""); {
	case d.IfIndex != c.ifi.Index:
		return false
	case to.IsMulticast():
		return to == c.cfg.Group.Addr()
	default:
		return c.cfg.Unicast
	}
}

// ReadPacket waits for the next datagram. After [Conn.Close] it returns an error
// that wraps [net.ErrClosed].
func (c *Conn) ReadPacket() (Datagram, error) {
	select {
	case d := <-c.in:
		return d, nil
	case <-c.quit:
		return Datagram{}, fmt.Errorf("multicast: read: %w", net.ErrClosed)
	}
}

// Send sends b to the group.
func (c *Conn) Send(b []byte) error { return c.SendTo(b, c.cfg.Group) }

// SendTo sends b to one address from the group's port and this interface, which
// is how a multicast DNS responder answers one querier.
func (c *Conn) SendTo(b []byte, to netip.AddrPort) error {
	if err := c.socks[0].write(b, to, c.ifi); err != nil {
		return fmt.Errorf("multicast: send to %v on %s: %w", to, c.cfg.Interface, err)
	}
	return nil
}

// Group returns the group and the port in use.
func (c *Conn) Group() netip.AddrPort { return c.cfg.Group }

// IfIndex returns the index of the interface.
func (c *Conn) IfIndex() int { return c.ifi.Index }

// Unicast reports whether datagrams sent to the port at this machine's own
// addresses reach this Conn. They reach one socket of the machine only, so they
// are left to whoever had the port first: Unicast is true when cfg.Unicast was
// set and nobody else was bound to the port when the Conn was opened (RFC 6762
// section 15.1). On systems other than Linux nobody can tell, and it is false
// although some may arrive.
func (c *Conn) Unicast() bool { return c.unicast }

// Shared reports whether another socket of this machine had the port when the Conn
// was opened, which a bind without address reuse finds out. On Linux sockets that
// are tied to other interfaces do not count; elsewhere all do, those of this
// process too.
func (c *Conn) Shared() bool { return c.shared }

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	return Stats{Foreign: c.foreign.Load(), Overrun: c.overrun.Load()}
}

func (c *Conn) shut() {
	c.once.Do(func() {
		close(c.quit)
		for _, s := range c.socks {
			_ = s.close()
		}
	})
}

// Close leaves the group, wakes waiting readers and waits for the Conn's
// goroutines. It may be called more than once.
func (c *Conn) Close() error {
	c.shut()
	c.wg.Wait()
	return nil
}
