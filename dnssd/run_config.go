package dnssd

import (
	"context"
	"iter"
	"log/slog"
	"net/netip"

	"github.com/aether-lan/aether/mdns"
)

// Config says how a call takes part in the network. Its zero value uses all
// interfaces and both families.
type Config struct {
	// Node is what to use, and stays open. Nil means one that is opened for this call
	// with the fields below, and closed at its end.
	Node *mdns.Node
	// Domain is where to look: "local", which is multicast DNS, or any other, which is
	// asked of a DNS server. "" means local, and to [Domains] everywhere. [Register]
	// takes the domain from the Instance.
	Domain string
	// Server is the DNS server to ask about other domains than local; port 0 means 53.
	// The zero value means those that the system is configured with now.
	Server netip.AddrPort
	// Interfaces are the names of the interfaces to use. Empty means all.
	Interfaces []string
	// IPv4 and IPv6 select the families, of packets and of the addresses that are
	// asked for. Both false means both.
	IPv4, IPv6 bool
	// Fleet are further services that do the same job as the one that [Browse] is given,
	// such as "_printer._tcp" beside "_ipp._tcp": a device that offers several of them
	// under one name is told once, under the first that it offers (RFC 6763 section 8).
	// Should that change, an Update tells of another Service. Up to fifteen; none is one
	// service alone.
	Fleet []string
	// NamesOnly lets [Browse] list names alone, without the questions for host, port,
	// addresses and attributes. False asks them.
	NamesOnly bool
	// StateFile is where names are kept that [Register] had to take in place of others, so
	// that they are the first to be tried at the next start (RFC 6762 section 9). "" keeps
	// none. A Node that is given has its own.
	StateFile string
	// Logger hears what goes wrong on the way. Nil means silence.
	Logger *slog.Logger
	// Explain, when not nil, hears the reason of every decision of multicast DNS;
	// see mdns.Config.
	Explain func(mdns.Note)
}

func (c Config) logger() *slog.Logger {
	if c.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return c.Logger
}

// open returns the node to use and how to let it go.
func (c Config) open(ctx context.Context) (node, func(), error) {
	if c.Node != nil {
		return lanNode{c.Node}, func() {}, nil
	}
	n, err := mdns.Open(ctx, mdns.Config{Interfaces: c.Interfaces, IPv4: c.IPv4, IPv6: c.IPv6, Logger: c.Logger, Explain: c.Explain, StateFile: c.StateFile})
	if err != nil {
		return nil, nil, err
	}
	return lanNode{n}, func() { _ = n.Close() }, nil
}

// node is what this package needs of multicast DNS.
type node interface {
	watcher
	// Recall returns the name that was taken in place of name, or name; Remember keeps it.
	Recall(name string) string
	Remember(name, taken string)
	// Publish announces records, or fails with *mdns.ConflictError.
	Publish(ctx context.Context, records []mdns.Record) (publication, error)
	// ClaimHost takes a host name for the addresses of this machine.
	ClaimHost(ctx context.Context, label string) (hostClaim, error)
	// Hostname is the host name that is claimed now, or "".
	Hostname() string
	// HostNames yields each new host name until ctx ends.
	HostNames(ctx context.Context) iter.Seq[string]
}

type publication interface {
	Update(records []mdns.Record) error
	Conflict() <-chan mdns.ConflictError
	Close() error
}

type hostClaim interface {
	Name() string
	Renamed() <-chan string
	Close() error
}

// lanNode is a node on real interfaces.
type lanNode struct{ *mdns.Node }

func (n lanNode) Publish(ctx context.Context, records []mdns.Record) (publication, error) {
	p, err := n.Node.Publish(ctx, records)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (n lanNode) ClaimHost(ctx context.Context, label string) (hostClaim, error) {
	h, err := n.Node.ClaimHost(ctx, label)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (n lanNode) HostNames(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		last := n.Hostname()
		for ev, err := range n.Events(ctx) {
			if err != nil {
				return
			}
			if ev.Kind != mdns.EventClaimed {
				continue
			}
			if name := n.Hostname(); name != "" && name != last {
				last = name
				if !yield(name) {
					return
				}
			}
		}
	}
}
