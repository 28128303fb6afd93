package mdns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/multicast"
)

// wire is a group joined on one interface.
type wire interface {
	ReadPacket() (Packet, error)
	WritePacket(Packet) error
	Close() error
	// Unicast reports whether unicast datagrams to the port come here.
	Unicast() bool
	// Shared reports whether another socket had the port before.
	Shared() bool
}

// network is what a Node needs of its machine.
type network interface {
	// list returns the interfaces there are.
	list() ([]netif.Interface, error)
	// watch tells of interfaces until ctx ends.
	watch(ctx context.Context, heard func(netif.Event)) error
	// join opens a group on an interface.
	join(ctx context.Context, ifi netif.Interface, group netip.AddrPort) (wire, error)
}

// kernel is the machine's own network.
type kernel struct{}

func (kernel) list() ([]netif.Interface, error) { return netif.List() }

func (kernel) watch(ctx context.Context, heard func(netif.Event)) error {
	return netif.Watch(ctx, heard)
}

func (kernel) join(ctx context.Context, ifi netif.Interface, group netip.AddrPort) (wire, error) {
	c, err := multicast.Listen(ctx, multicast.Config{
		Interface: ifi.Name, Group: group, Unicast: true,
		HopLimit: 255, // RFC 6762 section 11
	})
	if err != nil {
		return nil, err
	}
	return udpWire{c}, nil
}

// udpWire is a wire of real sockets.
type udpWire struct{ c *multicast.Conn }

func (w udpWire) ReadPacket() (Packet, error) {
	d, err := w.c.ReadPacket()
	if err != nil {
		return Packet{}, err
	}
	return Packet{Data: d.Payload, From: d.From, To: netip.AddrPortFrom(d.To, Port), IfIndex: d.IfIndex}, nil
}

func (w udpWire) WritePacket(p Packet) error { return w.c.SendTo(p.Data, p.To) }
func (w udpWire) Close() error               { return w.c.Close() }
func (w udpWire) Unicast() bool              { return w.c.Unicast() }
func (w udpWire) Shared() bool               { return w.c.Shared() }

// place names a wire: an interface and a family.
type place struct {
	ifIndex int
	six     bool
}

// wires are the wires of all interfaces as one connection for the loop.
type wires struct {
	mu     sync.Mutex
	at     map[place]wire
	in     chan Packet
	closed chan struct{}
	once   sync.Once
	wg     sync.WaitGroup
}

func newWires() *wires {
	return &wires{at: make(map[place]wire), in: make(chan Packet), closed: make(chan struct{})}
}

// add takes w over. It closes it at once when the wires are closed already.
func (ws *wires) add(at place, w wire) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	select {
	case <-ws.closed:
		_ = w.Close()
		return
	default:
	}
	ws.at[at] = w
	ws.wg.Go(func() {
		for {
			p, err := w.ReadPacket()
			if err != nil {
				return
			}
			select {
			case ws.in <- p:
			case <-ws.closed:
				return
			}
		}
	})
}

func (ws *wires) has(at place) (w wire, ok bool) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w, ok = ws.at[at]
	return w, ok
}

// none reports whether no wire of a family is open.
func (ws *wires) none(six bool) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for at := range ws.at {
		if at.six == six {
			return false
		}
	}
	return true
}

func (ws *wires) remove(at place) {
	ws.mu.Lock()
	w, ok := ws.at[at]
	delete(ws.at, at)
	ws.mu.Unlock()
	if ok {
		_ = w.Close()
	}
}

// ReadPacket waits for a packet from any wire.
func (ws *wires) ReadPacket() (Packet, error) {
	select {
	case p := <-ws.in:
		return p, nil
	case <-ws.closed:
		return Packet{}, net.ErrClosed
	}
}

// WritePacket sends p on the wire of its interface and family.
func (ws *wires) WritePacket(p Packet) error {
	w, ok := ws.has(place{p.IfIndex, p.To.Addr().Is6()})
	if !ok {
		return fmt.Errorf("interface %d: %w", p.IfIndex, net.ErrClosed)
	}
	return w.WritePacket(p)
}

// Close closes all wires and waits for their readers.
func (ws *wires) Close() error {
	ws.once.Do(func() {
		ws.mu.Lock()
		close(ws.closed)
		all := ws.at
		ws.at = nil
		ws.mu.Unlock()
		for _, w := range all {
			_ = w.Close()
		}
	})
	ws.wg.Wait()
	return nil
}
