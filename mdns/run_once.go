package mdns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

var errClosed = fmt.Errorf("mdns: node: %w", net.ErrClosed)

// ErrNotFound says that nobody answered for a name.
var ErrNotFound = errors.New("mdns: no answer")

const (
	resolveTimeout = 3 * time.Second        // RFC 6762 section 5.1
	resolveLinger  = 250 * time.Millisecond // for further addresses
)

// Claimed is a host name with a [Node] of its own.
type Claimed struct {
	*HostClaim
	Node *Node
}

// Claim takes label.local, or label-2.local and so on, for this machine until
// [Claimed.Close] or the end of ctx.
func Claim(ctx context.Context, label string, cfg Config) (*Claimed, error) {
	n, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h, err := n.ClaimHost(ctx, label)
	if err != nil {
		_ = n.Close()
		return nil, err
	}
	return &Claimed{h, n}, nil
}

// Close says goodbye and ends the Node.
func (c *Claimed) Close() error { return c.Node.Close() }

// Address is one address of a host.
type Address struct {
	// Addr carries the zone of the interface when it is an IPv6 link-local one.
	Addr      netip.Addr
	Interface string
	TTL       time.Duration
}

// Resolve returns the addresses of the host called name, "box.local" or "box". It
// waits for ctx, or three seconds where ctx has no deadline, and fails with
// [ErrNotFound] when nobody answered by then, or at once when the host says that it has
// no address (RFC 6762 section 6.1).
func Resolve(ctx context.Context, name string, cfg Config) ([]Address, error) {
	n, err := Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	return n.Resolve(ctx, name)
}

// Resolve is like the function [Resolve], on a Node that is open.
func (n *Node) Resolve(ctx context.Context, name string) ([]Address, error) {
	if !strings.Contains(strings.TrimSuffix(name, "."), ".") {
		name = strings.TrimSuffix(name, ".") + ".local."
	}
	name = dns.Fqdn(name)
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
	}
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	var found []Address
	var linger *time.Timer
	questions := []Question{{name, dns.TypeA}, {name, dns.TypeAAAA}}
	for c, err := range n.watch(within, true, questions) {
		if err != nil {
			return nil, err
		}
		a, ok := c.Record.Addr()
		if c.Op == Remove || !ok && !c.Record.denies(dns.TypeA, dns.TypeAAAA) {
			continue
		}
		if a.Is6() && a.IsLinkLocalUnicast() {
			a = a.WithZone(c.Interface)
		}
		if ok {
			found = append(found, Address{a, c.Interface, time.Duration(c.Record.TTL) * time.Second})
		}
		if linger == nil {
			linger = time.AfterFunc(resolveLinger, cancel)
			defer linger.Stop()
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("mdns: resolve %s: %w", name, ErrNotFound)
	}
	return found, nil
}

// ResolveAddress returns the names of the host that has the address a: the targets of
// its reverse PTR records. It waits as [Node.Resolve] does and fails with [ErrNotFound].
func (n *Node) ResolveAddress(ctx context.Context, a netip.Addr) ([]string, error) {
	name, err := dns.ReverseAddr(a.Unmap().WithZone("").String())
	if err != nil {
		return nil, fmt.Errorf("mdns: resolve %v: %w", a, err)
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, resolveTimeout)
		defer cancel()
	}
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	var found []string
	var linger *time.Timer
	for c, err := range n.Watch(within, Question{name, dns.TypePTR}) {
		if err != nil {
			return nil, err
		}
		target, ok := c.Record.Target()
		if !ok || c.Op == Remove || slices.Contains(found, target) {
			continue
		}
		found = append(found, target)
		if linger == nil {
			linger = time.AfterFunc(resolveLinger, cancel)
			defer linger.Stop()
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("mdns: resolve %v: %w", a, ErrNotFound)
	}
	return found, nil
}
