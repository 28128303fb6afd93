package probe

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/internal/loop"
	"github.com/aether-lan/aether/multicast"
)

// PingConfig says where [Ping] measures.
type PingConfig struct {
	// Conn is the group and the interface. Its HopLimit and Unicast are set by Ping.
	Conn multicast.Config
	// Pinger says whom to ask. Its Group is that of Conn; an ID of zero is drawn at
	// random.
	Pinger PingerConfig
	// Ready is called when the group is joined. Nil is not called.
	Ready func()
	// Event hears what happens. It must not block. Nil drops.
	Event func(Event)
}

// ErrPortTaken says that another program of this machine gets the unicast datagrams
// of the port.
var ErrPortTaken = fmt.Errorf("probe: another program on this machine has the port")

// Ping measures unicast beside multicast between this host and the others that run
// Ping on the same group, until the Pinger's Count is reached or ctx ends, which is no
// error. While it runs it answers the others. It fails with what is wrong in cfg, with
// an error that wraps [ErrPortTaken], or with the system's.
func Ping(ctx context.Context, cfg PingConfig) ([]HostReport, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cfg.Pinger.Group = cfg.Conn.Group
	if cfg.Pinger.ID == 0 {
		cfg.Pinger.ID = newID()
	}
	p, err := NewPinger(cfg.Pinger, time.Now())
	if err != nil {
		return nil, err
	}
	cfg.Conn.HopLimit, cfg.Conn.Unicast = p.cfg.HopLimit, true
	conn, err := multicast.Listen(ctx, cfg.Conn)
	if err != nil {
		return nil, fmt.Errorf("probe: ping: %w", err)
	}
	if conn.Shared() {
		_ = conn.Close()
		return nil, fmt.Errorf("%w %d", ErrPortTaken, cfg.Conn.Group.Port())
	}
	if cfg.Ready != nil {
		cfg.Ready()
	}
	w := &pingWire{c: conn}
	err = loop.Run(ctx, p, w, loop.Config[Packet, Event]{
		Event: func(e Event) {
			if cfg.Event != nil {
				cfg.Event(e)
			}
			if e.Kind == Finished {
				cancel(errFinished)
			}
		},
		Stop:       p.Stop,
		WriteError: func(q Packet, err error) error { return w.excuse(q.To, err) },
	})
	reports := p.Reports(time.Now())
	if ctx.Err() == nil {
		return reports, fmt.Errorf("probe: ping: %w", err)
	}
	return reports, nil
}

// pingWire is a group's connection as the loop wants it.
type pingWire struct {
	c     *multicast.Conn
	wrote bool
}

func (w *pingWire) ReadPacket() (Packet, error) {
	d, err := w.c.ReadPacket()
	return packetOf(&d, w.c.Group().Port()), err
}

func (w *pingWire) WritePacket(p Packet) error {
	err := w.c.SendTo(p.Data, p.To)
	w.wrote = w.wrote || err == nil
	return err
}

func (w *pingWire) Close() error { return w.c.Close() }

// excuse decides about a packet that could not be sent: the first of all must be, as
// an interface without an address sends nothing. Later ones count as lost.
func (w *pingWire) excuse(_ netip.AddrPort, err error) error {
	if !w.wrote {
		return err
	}
	return nil
}
