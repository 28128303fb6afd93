package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/internal/loop"
)

// goodbyeGrace bounds how long a Node that ends goes on sending.
const goodbyeGrace = 250 * time.Millisecond

// ErrSlowReader ends a loop over a [Node]'s changes whose body took so long that
// more waited than Config.Queue allows. The Node itself never waits for it.
var ErrSlowReader = errors.New("mdns: reader too slow, changes were dropped")

// Node takes part in multicast DNS on this machine's interfaces. Its methods may
// be called from several goroutines.
type Node struct {
	cfg      Config
	host     *Host // on the loop's goroutine only
	wires    *wires
	do       chan func(time.Time)
	ended    chan struct{}
	cancel   context.CancelFunc
	wg       sync.WaitGroup
	hostname atomic.Pointer[string]
	shared   bool // port 5353, with another program; for the follower only
	ears     ears // on the loop's goroutine only
	memory   *memory
}

// ears are who hears about what, on the loop's goroutine.
type ears struct {
	claims   map[int]*claim
	watchers []*watcher
	monitors []*queue[Heard]
	events   []*queue[Event]
	notes    []*queue[Note]
}

// Open joins the groups on the interfaces that cfg names and takes part until ctx
// ends or [Node.Close]. It needs no privileges. It succeeds without any usable
// interface: a machine may get its addresses later.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	return open(ctx, cfg, kernel{})
}

func open(ctx context.Context, cfg Config, network network) (*Node, error) {
	cfg = cfg.withDefaults()
	n := &Node{
		cfg: cfg, host: NewHost(cfg.Rand), wires: newWires(),
		do: make(chan func(time.Time)), ended: make(chan struct{}), memory: recall(cfg),
		ears: ears{claims: make(map[int]*claim)},
	}
	n.host.Trace(cfg.Explain != nil)
	all, err := network.list()
	if err == nil {
		err = n.checkNames(all)
	}
	if err != nil {
		return nil, fmt.Errorf("mdns: open: %w", err)
	}
	ctx, n.cancel = context.WithCancel(ctx)
	n.wg.Go(func() {
		defer close(n.ended)
		err := loop.Run(ctx, n.host, n.wires, loop.Config[Packet, Event]{
			Do: n.do, Event: n.heard, Stop: n.host.Goodbye, Grace: goodbyeGrace, WriteError: n.unsent,
		})
		if ctx.Err() == nil {
			cfg.Logger.Error("mdns: ended", "error", err)
		}
		n.cancel()
	})
	if n.memory != nil {
		n.wg.Go(n.remember)
	}
	for _, ifi := range all {
		n.adjust(ctx, network, ifi)
	}
	n.wg.Go(func() { n.follow(ctx, network) })
	return n, nil
}

// unsent forgives a packet that could not be sent: an interface may have gone or
// have lost its address, of which the watch will tell.
func (n *Node) unsent(p Packet, err error) error {
	n.cfg.Logger.Debug("mdns: not sent", "to", p.To, "error", err)
	return nil
}

// Close says goodbye for everything that is published, within a quarter of a
// second, and waits until nothing of the Node is left running. It may be called
// more than once.
func (n *Node) Close() error {
	n.cancel()
	n.wg.Wait()
	return nil
}

// call runs f on the loop's goroutine.
func (n *Node) call(ctx context.Context, f func(now time.Time)) error {
	return loop.Call(ctx, n.do, n.ended, f)
}

// Hostname returns the host name that was claimed last, "box.local." say, or ""
// while there is none.
func (n *Node) Hostname() string {
	if name := n.hostname.Load(); name != nil {
		return *name
	}
	return ""
}

// Links returns the interfaces in use.
func (n *Node) Links(ctx context.Context) (links []Link, err error) {
	err = n.call(ctx, func(time.Time) { links = n.host.Links() })
	return links, err
}

// Stats returns the counters of an interface in use, by index.
func (n *Node) Stats(ctx context.Context, ifIndex int) (stats EngineStats, err error) {
	var ok bool
	err = n.call(ctx, func(time.Time) { stats, ok = n.host.Stats(ifIndex) })
	if err == nil && !ok {
		err = fmt.Errorf("mdns: interface %d is not in use: %w", ifIndex, net.ErrClosed)
	}
	return stats, err
}

// heard hands an event to whom it concerns, on the loop's goroutine.
func (n *Node) heard(ev Event) {
	switch ev.Kind {
	case EventChange:
		for _, w := range n.ears.watchers {
			w.tell(*ev.Change)
		}
		return
	case EventHeard:
		for _, m := range n.ears.monitors {
			m.push(*ev.Heard)
		}
		return
	case EventNote:
		n.explain(*ev.Note)
		return
	}
	n.cfg.Logger.Debug("mdns: "+ev.String(), "interface", ev.Interface)
	if c := n.ears.claims[ev.Set]; c != nil {
		if c.host && ev.Kind == EventClaimed { // before c tells who waits for it
			n.hostname.Store(&ev.Name)
			n.memory.note(n.host.numberOf(ev.Set))
		}
		c.heard(ev)
		if ev.Kind == EventLost {
			delete(n.ears.claims, ev.Set)
		}
	}
	for _, q := range n.ears.events {
		q.push(ev)
	}
}

// forget removes x from a list.
func forget[T comparable](list []T, x T) []T {
	return slices.DeleteFunc(list, func(y T) bool { return x == y })
}
