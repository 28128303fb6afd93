package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/multicast"
)

// SendConfig says what [Send] sends, and where.
type SendConfig struct {
	// Conns are what to send by, one for each family among the Sender's groups. Their
	// Group may be any of that family.
	Conns []multicast.Config
	// Sender says what to send. An ID of zero is drawn at random.
	Sender SenderConfig
	// Failed hears of datagrams that could not be sent, one call at a time. The first
	// datagram of all must succeed. Nil drops.
	Failed func(to netip.AddrPort, err error)
}

// SendResult is what [Send] did.
type SendResult struct {
	// Sent is how many datagrams each group was sent; Failed is how many of all could
	// not be.
	Sent, Failed uint64
	// Backoffs is how often the interface's queue was full.
	Backoffs uint64
}

// Send sends numbered datagrams until the Sender's Count is reached or ctx ends,
// which is no error. It joins no group.
func Send(ctx context.Context, cfg SendConfig) (SendResult, error) {
	if cfg.Sender.ID == 0 {
		cfg.Sender.ID = newID()
	}
	s, err := NewSender(cfg.Sender, time.Now())
	if err != nil {
		return SendResult{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &fan{conns: make(map[multicast.Family]*multicast.Conn), quit: make(chan struct{})}
	defer out.Close()
	for _, c := range cfg.Conns {
		conn, err := multicast.Dial(ctx, c)
		if err != nil {
			return SendResult{}, fmt.Errorf("probe: send: %w", err)
		}
		out.conns[multicast.FamilyOf(c.Group.Addr())] = conn
	}
	var result SendResult
	err = loop.Run(ctx, s, out, loop.Config[Packet, Event]{
		Event: func(Event) { cancel(errFinished) },
		Stop:  s.Stop,
		Grace: (endTimes + 1) * endInterval,
		WriteError: func(p Packet, err error) error {
			if s.Sent() == 1 && result.Failed == 0 && !out.wrote {
				return err
			}
			result.Failed++
			if cfg.Failed != nil {
				cfg.Failed(p.To, err)
			}
			return nil
		},
	})
	result.Sent, result.Backoffs = s.Sent(), out.backoffs()
	if ctx.Err() == nil {
		return result, fmt.Errorf("probe: send: %w", err)
	}
	return result, nil
}

// fan sends each packet by the connection of its family. It receives nothing.
type fan struct {
	conns map[multicast.Family]*multicast.Conn
	one   [1][]byte
	wrote bool
	quit  chan struct{}
}

func (f *fan) ReadPacket() (Packet, error) {
	<-f.quit
	return Packet{}, net.ErrClosed
}

func (f *fan) WritePacket(p Packet) error {
	c := f.conns[multicast.FamilyOf(p.To.Addr())]
	if c == nil {
		return errors.New("no connection of that family")
	}
	f.one[0] = p.Data
	_, err := c.WriteBatch(f.one[:], p.To)
	f.wrote = f.wrote || err == nil
	return err
}

// Close is called by the loop and by Send, both on one goroutine.
func (f *fan) Close() error {
	select {
	case <-f.quit:
		return nil
	default:
		close(f.quit)
	}
	for _, c := range f.conns {
		_ = c.Close()
	}
	return nil
}

func (f *fan) backoffs() (n uint64) {
	for _, c := range f.conns {
		n += c.Stats().Backoffs
	}
	return n
}

// packetOf turns a datagram into a packet whose destination has the port to.
func packetOf(d *multicast.Datagram, to uint16) Packet {
	return Packet{Data: d.Payload, From: d.From, To: netip.AddrPortFrom(d.To.WithZone(""), to), HopLimit: d.HopLimit, Received: d.Received}
}
