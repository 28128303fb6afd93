package peer

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/internal/link"
)

// maxContacts bounds the addresses at which nodes are looked for.
const maxContacts = 256

// contacts are addresses at which there may be nodes of the ring.
type contacts struct {
	mu   sync.Mutex
	list []netip.AddrPort
	met  map[netip.AddrPort]dht.ID // who answered last
	wake chan struct{}
}

func newContacts(list []netip.AddrPort) *contacts {
	c := &contacts{met: map[netip.AddrPort]dht.ID{}, wake: make(chan struct{}, 1)}
	c.add(list...)
	return c
}

// add remembers addresses, as long as there is room.
func (c *contacts) add(list ...netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range list {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if a.IsValid() && a.Port() != 0 && !slices.Contains(c.list, a) && len(c.list) < maxContacts {
			c.list = append(c.list, a)
		}
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// answered notes who is at an address.
func (c *contacts) answered(a netip.AddrPort, id dht.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.met[a] = id
}

// without returns the addresses at which none of the living is known.
func (c *contacts) without(living []dht.Peer) []netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Clone(c.list)
	for _, p := range living {
		list = slices.DeleteFunc(list, func(a netip.AddrPort) bool {
			id, ok := c.met[a]
			return a == p.Address || ok && id == p.ID
		})
	}
	return list
}

// remove forgets an address: it is this node's own.
func (c *contacts) remove(a netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list = slices.DeleteFunc(c.list, func(b netip.AddrPort) bool { return a == b })
}

// Join remembers addresses of nodes, and joins the ring through them as soon as they
// answer. Two rings that meet so become one.
func (n *Node) Join(list ...netip.AddrPort) { n.contacts.add(list...) }

// runContacts looks for ever for nodes at the contacts that are no members. Nodes that
// were met are remembered by the ring itself.
func (n *Node) runContacts(ctx context.Context) {
	pause := 50 * time.Millisecond
	for {
		missing := n.missingContacts(ctx)
		met := 0
		for _, a := range missing {
			if n.meet(ctx, a) {
				met++
			}
		}
		if len(missing) == met {
			pause = 50 * time.Millisecond
		} else {
			pause = min(2*pause, contactEvery)
		}
		wait := pause
		if len(missing) == met {
			wait = contactEvery
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-n.contacts.wake:
			timer.Stop()
			pause = 50 * time.Millisecond
		case <-timer.C:
		}
	}
}

// missingContacts returns the contacts at which no living member is known.
func (n *Node) missingContacts(ctx context.Context) (list []netip.AddrPort) {
	var living []dht.Peer
	if n.call(ctx, func(l *loop) { living = l.living() }) != nil {
		return nil
	}
	return n.contacts.without(living)
}

// meet asks who is at a, and tells the ring.
func (n *Node) meet(ctx context.Context, a netip.AddrPort) bool {
	try, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	p, err := n.links.probe(try, a)
	if errors.Is(err, link.ErrSelf) {
		n.contacts.remove(a)
		return true
	}
	if err != nil {
		n.cfg.Logger.Debug("contact does not answer", "address", a, "error", err)
		return false
	}
	n.contacts.answered(a, p.ID)
	return n.call(ctx, func(l *loop) { l.ring.Meet(time.Now(), p) }) == nil
}
