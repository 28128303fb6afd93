package mdns

import (
	"context"
	"sync"
	"time"
)

// claim is what a Publication and a HostClaim have in common: a set of records and
// what the loop tells about it.
type claim struct {
	node    *Node
	set     int
	host    bool
	done    chan struct{} // closed when first claimed or lost
	lost    chan ConflictError
	renamed chan string

	mu      sync.Mutex
	name    string // claimed last
	by      *ConflictError
	settled bool
}

func (n *Node) newClaim(host bool) *claim {
	return &claim{node: n, host: host, done: make(chan struct{}), lost: make(chan ConflictError, 1), renamed: make(chan string, 16)}
}

// heard takes an event about the claim, on the loop's goroutine.
func (c *claim) heard(ev Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch ev.Kind {
	case EventClaimed:
		if c.settled && c.name != ev.Name {
			select {
			case c.renamed <- ev.Name:
			default: // nobody has read the last sixteen; Name tells
			}
		}
		c.name = ev.Name
	case EventLost:
		c.by = &ConflictError{Name: ev.Name, From: ev.From}
		c.lost <- *c.by // once only: a lost set is gone
	default:
		return
	}
	if !c.settled {
		c.settled = true
		close(c.done)
	}
}

// settle waits until the claim is won or lost. One that is given up is withdrawn.
func (c *claim) settle(ctx context.Context) error {
	select {
	case <-c.done:
	case <-c.node.ended:
		return errClosed
	case <-ctx.Done():
		_ = c.Close()
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by != nil {
		return c.by
	}
	return nil
}

// Close gives the records up and says goodbye for them. It may be called more than
// once, and after the Node has ended.
func (c *claim) Close() error {
	_ = c.node.call(context.Background(), func(now time.Time) {
		c.node.host.Withdraw(now, c.set)
		delete(c.node.ears.claims, c.set)
	})
	if name := c.node.hostname.Load(); c.host && name != nil && *name == c.Name() {
		c.node.hostname.CompareAndSwap(name, nil)
	}
	return nil
}

// Name returns the name that is claimed: the present one of a host claim.
func (c *claim) Name() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.name
}

// Publication is a set of records that a [Node] owns.
type Publication struct{ c *claim }

// Publish owns records on all interfaces. Those with Flush set are unique: their
// names are probed for together first, reverse names excepted. It returns when
// everything is announced on every interface there is (and waits for the first
// interface when there is none), or with a *[ConflictError] when another host has
// one of the names. When ctx ends first, the records are withdrawn.
func (n *Node) Publish(ctx context.Context, records []Record) (*Publication, error) {
	c := n.newClaim(false)
	err := n.begin(ctx, c, func(now time.Time) (int, error) { return n.host.Publish(now, records) })
	if err != nil {
		return nil, err
	}
	return &Publication{c}, nil
}

// begin starts a claim and waits for its outcome.
func (n *Node) begin(ctx context.Context, c *claim, start func(time.Time) (int, error)) error {
	var failed error
	err := n.call(ctx, func(now time.Time) {
		if c.set, failed = start(now); failed == nil {
			n.ears.claims[c.set] = c
		}
	})
	if err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	return c.settle(ctx)
}

// Update changes the records. Their names should stay as they are: a name that is
// ours needs no new probe, and a new one gets none. More than ten updates a minute
// are delayed (RFC 6762 section 8.4).
func (p *Publication) Update(records []Record) error {
	var failed error
	err := p.c.node.call(context.Background(), func(now time.Time) { failed = p.c.node.host.Update(now, p.c.set, records) })
	if err != nil {
		return err
	}
	return failed
}

// Conflict tells, once, that another host took the name over after it had been
// claimed: it was contradicted and lost the new probe. The records are withdrawn
// by then.
func (p *Publication) Conflict() <-chan ConflictError { return p.c.lost }

// Close gives the records up and says goodbye for them.
func (p *Publication) Close() error { return p.c.Close() }

// HostClaim is a host name with the addresses of this machine.
type HostClaim struct{ c *claim }

// ClaimHost claims label.local with the addresses of each interface, and the
// reverse names, which follow the addresses from then on. When another host has
// the name it takes label-2, label-3 and so on; it begins where Config.StateFile says
// that it ended. It returns when the name is
// announced on every interface there is, and waits for the first one.
func (n *Node) ClaimHost(ctx context.Context, label string) (*HostClaim, error) {
	c := n.newClaim(true)
	err := n.begin(ctx, c, func(now time.Time) (int, error) { return n.host.claimHost(now, label, n.memory.number(label)) })
	if err != nil {
		return nil, err
	}
	return &HostClaim{c}, nil
}

// Name returns the name that is claimed now: "label-2.local.".
func (h *HostClaim) Name() string { return h.c.Name() }

// Renamed gives each new name, once it is claimed, after a later conflict has
// taken the old one.
func (h *HostClaim) Renamed() <-chan string { return h.c.renamed }

// Close gives the name up and says goodbye for it.
func (h *HostClaim) Close() error { return h.c.Close() }
