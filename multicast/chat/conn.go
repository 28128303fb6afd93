package chat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/multicast"
)

// wires are the group on all interfaces in use, as one connection: what is sent
// goes out on each. It satisfies loop.Conn.
type wires struct {
	group netip.AddrPort
	hops  int
	log   *slog.Logger
	in    chan Packet
	quit  chan struct{}
	once  sync.Once
	wg    sync.WaitGroup

	mu     sync.Mutex
	closed bool
	open   map[int]*multicast.Conn
}

func newWires(group netip.AddrPort, hops int, log *slog.Logger) *wires {
	return &wires{group: group, hops: hops, log: log, in: make(chan Packet), quit: make(chan struct{}), open: make(map[int]*multicast.Conn)}
}

// has reports whether the interface is in use.
func (w *wires) has(index int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.open[index] != nil
}

// names returns the indices of the interfaces in use.
func (w *wires) indices() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.open))
}

// add joins the group on an interface. The sender's own datagrams come back to
// other sockets of the machine, so that two members on it hear each other.
func (w *wires) add(ctx context.Context, ifi netif.Interface) error {
	c, err := multicast.Listen(ctx, multicast.Config{Interface: ifi.Name, Group: w.group, HopLimit: w.hops, Queue: 1024})
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.open[ifi.Index] != nil {
		return c.Close()
	}
	w.open[ifi.Index] = c
	w.wg.Go(func() { w.receive(c) })
	return nil
}

// receive hands on what one interface hears, until it is closed.
func (w *wires) receive(c *multicast.Conn) {
	for {
		d, err := c.ReadPacket()
		if err != nil {
			w.forget(c)
			return
		}
		select {
		case w.in <- Packet{Data: d.Payload}:
		case <-w.quit:
			return
		}
	}
}

// forget takes c out if it is still there: its interface may be gone.
func (w *wires) forget(c *multicast.Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	maps.DeleteFunc(w.open, func(_ int, o *multicast.Conn) bool { return o == c })
}

// remove leaves the group on an interface.
func (w *wires) remove(index int) {
	w.mu.Lock()
	c := w.open[index]
	delete(w.open, index)
	w.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// ReadPacket waits for a datagram on any of the interfaces.
func (w *wires) ReadPacket() (Packet, error) {
	select {
	case p := <-w.in:
		return p, nil
	case <-w.quit:
		return Packet{}, fmt.Errorf("chat: read: %w", net.ErrClosed)
	}
}

// WritePacket sends p on every interface. One that cannot send may have lost its
// address or be gone, which the watch will tell: it is no failure.
func (w *wires) WritePacket(p Packet) error {
	w.mu.Lock()
	all := slices.Collect(maps.Values(w.open))
	w.mu.Unlock()
	for _, c := range all {
		if err := c.Send(p.Data); err != nil && !errors.Is(err, net.ErrClosed) {
			w.log.Debug("chat: not sent", "error", err)
		}
	}
	return nil
}

// Close leaves the group everywhere. It may be called more than once.
func (w *wires) Close() error {
	w.once.Do(func() { close(w.quit) })
	w.mu.Lock()
	w.closed = true
	all := slices.Collect(maps.Values(w.open))
	clear(w.open)
	w.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
	w.wg.Wait()
	return nil
}
