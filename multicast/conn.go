package multicast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// maxDatagram is the most a UDP datagram can carry.
const maxDatagram = 65535

// Datagram is one received UDP payload and what the kernel said about it.
type Datagram struct {
	// Payload is the reader's to keep, see [Conn.ReadBatch] for its exception.
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
	// Received is when the kernel received it, by the system's clock, however long it
	// waited for its reader. Zero where that is not known: only ReadBatch on Linux
	// tells, and not of what it reads from the queue.
	Received time.Time
}

// Stats counts what a [Conn] did not give to its reader, and what it had to wait for.
type Stats struct {
	// Foreign datagrams were for another group or came by another interface.
	Foreign uint64
	// Overrun datagrams found the queue of [Conn.ReadPacket] full.
	Overrun uint64
	// KernelDrops are datagrams that reached this machine and were dropped at the
	// Conn's own sockets, because the reader was too slow for the receive buffer or
	// the checksum was wrong: loss that the network is not to blame for (what
	// SO_RXQ_OVFL reports). 0 where the system does not tell: only Linux does.
	KernelDrops uint64
	// ReadBuffer is the size of the receive buffer in bytes, in the measure of
	// Config.ReadBuffer. Datagrams take more room in it than their own length,
	// small ones many times as much. 0 where the system does not tell.
	ReadBuffer int
	// Backoffs counts writes that found the interface's queue full (ENOBUFS) and
	// were tried again later.
	Backoffs uint64
}

// Conn is a group joined on one interface. Its methods may be called from several
// goroutines.
type Conn struct {
	cfg     Config
	ifi     *net.Interface
	sockets sockets
	groups  map[netip.Addr][]netip.Addr // joined: the sources to hear, none for all
	in      chan Datagram
	quit    chan struct{}
	batch   batches
	counts  counters
	receivers
}

// receivers are the goroutines that fill the queue. They start with the first
// reader that needs the queue.
type receivers struct {
	mu      sync.Mutex
	started bool
	closed  bool
	last    Stats // of the kernel's counters, when the sockets were closed
	wg      sync.WaitGroup
}

type counters struct{ foreign, overrun, backoffs atomic.Uint64 }

// sockets are what a Conn has open.
type sockets struct {
	read    []socket // read[0] has the group and sends
	holders []socket // never read: they hold memberships that read[0] has no room for
	unicast bool
	shared  bool
}

// close closes all and adds what goes wrong to err.
func (s sockets) close(err error) error {
	for _, x := range slices.Concat(s.read, s.holders) {
		err = errors.Join(err, x.close())
	}
	return err
}

// socket is one UDP socket of either family.
type socket interface {
	// read fills b with the next datagram. To is invalid and IfIndex zero where
	// the system does not tell.
	read(b []byte) (n int, d Datagram, err error)
	write(b []byte, to netip.AddrPort, ifi *net.Interface) error
	close() error
	local() netip.AddrPort
	conn() net.PacketConn
}

// Listen joins cfg.Group on cfg.Interface. The interface must exist and be up; it
// needs no address of its own to hear the group, but without one of the group's
// family nothing can be sent. It fails with what is wrong in cfg or with the
// system's error; ctx bounds the call only.
func Listen(ctx context.Context, cfg Config) (*Conn, error) {
	c, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("multicast: listen to %v on %s: %w", cfg.Group, cfg.Interface, err)
	}
	return c, nil
}

// Dial returns a Conn that sends to cfg.Group and joins nothing: a sender that is
// no member costs its own machine and a snooping switch less. Its port is one that
// the system chooses, where answers to this machine's addresses are read. Of cfg,
// Source, More and Unicast say nothing here.
func Dial(ctx context.Context, cfg Config) (*Conn, error) {
	cfg.sendOnly, cfg.Unicast, cfg.Source, cfg.More = true, true, netip.Addr{}, nil
	c, err := open(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("multicast: dial %v on %s: %w", cfg.Group, cfg.Interface, err)
	}
	return c, nil
}

func open(ctx context.Context, cfg Config) (*Conn, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	ifi, err := net.InterfaceByName(cfg.Interface)
	if err != nil {
		return nil, err
	}
	opened, err := openSockets(ctx, cfg, ifi)
	if err != nil {
		return nil, err
	}
	c := &Conn{
		cfg: cfg, ifi: ifi, sockets: opened,
		groups: make(map[netip.Addr][]netip.Addr),
		in:     make(chan Datagram, cfg.Queue), quit: make(chan struct{}),
	}
	if !cfg.sendOnly {
		c.cfg.Group = netip.AddrPortFrom(cfg.Group.Addr(), opened.read[0].local().Port())
		for _, m := range cfg.channels() {
			c.groups[m.Group] = append(c.groups[m.Group], m.Source)
		}
	}
	return c, nil
}

// start starts the goroutines that fill the queue, once.
func (c *Conn) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started || c.closed {
		return
	}
	c.started = true
	noTimestamps(c.sockets.read[0].conn()) // the queue's readers have no room for them
	for _, s := range c.sockets.read {
		c.wg.Go(func() { c.receive(s) })
	}
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
			c.counts.foreign.Add(1)
			continue
		}
		d.Payload = append([]byte(nil), b[:n]...)
		select {
		case c.in <- d:
		default:
			c.counts.overrun.Add(1)
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
		sources, joined := c.groups[to]
		return joined && (!sources[0].IsValid() || slices.Contains(sources, d.From.Addr().WithZone("")))
	default:
		return c.cfg.Unicast
	}
}

// ReadPacket waits for the next datagram. After [Conn.Close] it returns an error
// that wraps [net.ErrClosed].
func (c *Conn) ReadPacket() (Datagram, error) {
	c.start()
	select {
	case d := <-c.in:
		return d, nil
	case <-c.quit:
		return Datagram{}, errClosedRead
	}
}

// errClosedRead is what reading a closed Conn returns.
var errClosedRead = fmt.Errorf("multicast: read: %w", net.ErrClosed)

// Send sends b to the group.
func (c *Conn) Send(b []byte) error { return c.SendTo(b, c.cfg.Group) }

// SendTo sends b to one address from the Conn's port and this interface, which is
// how a multicast DNS responder answers one querier. When the interface's queue is
// full it tries again for up to about 60 ms.
func (c *Conn) SendTo(b []byte, to netip.AddrPort) error {
	err := c.patiently(func() error { return c.sockets.read[0].write(b, to, c.ifi) })
	if err != nil {
		return fmt.Errorf("multicast: send to %v on %s: %w", to, c.cfg.Interface, err)
	}
	return nil
}

// The pauses after which a write is tried again that met a full queue: 250 µs,
// doubled each time, eight times.
const (
	firstBackoff = 250 * time.Microsecond
	maxBackoffs  = 8
)

// patiently calls write again for as long as the interface's queue is full: a
// sender that takes ENOBUFS for an error loses what the network never saw.
func (c *Conn) patiently(write func() error) error {
	pause := firstBackoff
	for range maxBackoffs {
		err := write()
		if !errors.Is(err, syscall.ENOBUFS) {
			return err
		}
		c.counts.backoffs.Add(1)
		select {
		case <-time.After(pause):
		case <-c.quit:
			return net.ErrClosed
		}
		pause *= 2
	}
	return write()
}

// Group returns the group and the port in use.
func (c *Conn) Group() netip.AddrPort { return c.cfg.Group }

// LocalPort returns the port that the Conn sends from and is answered at: the
// group's port, or after [Dial] the one that the system chose.
func (c *Conn) LocalPort() uint16 { return c.sockets.read[0].local().Port() }

// IfIndex returns the index of the interface.
func (c *Conn) IfIndex() int { return c.ifi.Index }

// Unicast reports whether datagrams sent to the port at this machine's own
// addresses reach this Conn. They reach one socket of the machine only, so they
// are left to whoever had the port first: Unicast is true when cfg.Unicast was
// set and nobody else was bound to the port when the Conn was opened (RFC 6762
// section 15.1). On systems other than Linux nobody can tell, and it is false
// although some may arrive.
func (c *Conn) Unicast() bool { return c.sockets.unicast }

// Shared reports whether another socket of this machine had the port when the Conn
// was opened, which a bind without address reuse finds out. On Linux sockets that
// are tied to other interfaces do not count; elsewhere all do, those of this
// process too.
func (c *Conn) Shared() bool { return c.sockets.shared }

// Stats returns the counters. After [Conn.Close] they stay as they were.
func (c *Conn) Stats() Stats {
	c.mu.Lock()
	s := c.last
	if !c.closed {
		s = c.kernelStats()
	}
	c.mu.Unlock()
	s.Foreign, s.Overrun, s.Backoffs = c.counts.foreign.Load(), c.counts.overrun.Load(), c.counts.backoffs.Load()
	return s
}

// kernelStats asks the kernel for what it counts.
func (c *Conn) kernelStats() (all Stats) {
	for i, s := range c.sockets.read {
		buffer, drops := socketCounts(s.conn())
		all.KernelDrops += drops
		if i == 0 {
			all.ReadBuffer = buffer
		}
	}
	return all
}

func (c *Conn) shut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.last, c.closed = c.kernelStats(), true
	close(c.quit)
	_ = c.sockets.close(nil)
}

// Close leaves the group, wakes waiting readers and waits for the Conn's
// goroutines. It may be called more than once.
func (c *Conn) Close() error {
	c.shut()
	c.wg.Wait()
	return nil
}
