package node

import (
	"context"
	"net"
	"sync"

	"github.com/aether-lan/aether/internal/link"
	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/gossip"
)

// wire is the core's loop.Conn: it carries gossip over the mesh while there is one,
// and is silent otherwise. Each peer has a short queue of its own, so that a slow
// one holds up nobody; what does not fit is dropped, and gossip asks again.
type wire struct {
	in     chan gossip.Packet
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex
	mesh   *link.Mesh
	queues map[store.MachineID]chan gossip.Packet
	wg     sync.WaitGroup
}

// wireQueue is how many messages wait for one peer.
const wireQueue = 32

func newWire() *wire {
	return &wire{in: make(chan gossip.Packet), closed: make(chan struct{})}
}

// ReadPacket waits for the next message of a peer.
func (w *wire) ReadPacket() (gossip.Packet, error) {
	select {
	case p := <-w.in:
		return p, nil
	case <-w.closed:
		return gossip.Packet{}, net.ErrClosed
	}
}

// receive hands a message of a peer to the loop, in the order of arrival.
func (w *wire) receive(ctx context.Context, p gossip.Packet) error {
	select {
	case w.in <- p:
		return nil
	case <-w.closed:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WritePacket queues a message for its peer.
func (w *wire) WritePacket(p gossip.Packet) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mesh == nil {
		return link.ErrNotConnected
	}
	q := w.queues[p.Peer]
	if q == nil {
		q = make(chan gossip.Packet, wireQueue)
		w.queues[p.Peer] = q
		mesh := w.mesh
		w.wg.Go(func() {
			for p := range q {
				// A call, so that messages arrive in order and a busy peer is not
				// flooded. An error means that the connection has gone: PeerDown
				// follows.
				resp, err := mesh.Call(context.Background(), link.PeerID(p.Peer), link.Message{Method: methodGossip, Header: p.Message})
				if err == nil {
					resp.Release()
				}
			}
		})
	}
	select {
	case q <- p:
		return nil
	default:
		return link.ErrNotConnected
	}
}

// attach gives the wire a mesh, or with nil takes it away and waits until nothing
// is sent any more.
func (w *wire) attach(mesh *link.Mesh) {
	w.mu.Lock()
	for _, q := range w.queues {
		close(q)
	}
	w.mesh, w.queues = mesh, map[store.MachineID]chan gossip.Packet{}
	w.mu.Unlock()
	if mesh == nil {
		w.wg.Wait()
	}
}

// Close ends the wire.
func (w *wire) Close() error { w.once.Do(func() { close(w.closed) }); return nil }
