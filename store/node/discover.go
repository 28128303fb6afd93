package node

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aether-lan/aether/dnssd"
	"github.com/aether-lan/aether/mdns"
	"github.com/aether-lan/aether/store"
)

// serviceType is the DNS-SD service under which machines of a pool find each
// other (RFC 6763 section 7).
const serviceType = "_aether._tcp"

// The attributes of the service (RFC 6763 section 6): the version of this
// protocol, the public ID of the pool, the ID of the machine. None is secret.
const (
	txtVersion = "v"
	txtPool    = "pool"
	txtMachine = "id"
)

// discovery makes a machine known on its links and finds the others there.
type discovery struct {
	m     *Machine
	cfg   ServeConfig
	port  uint16
	log   *slog.Logger
	found func(id store.MachineID, addrs []netip.AddrPort)
	node  atomic.Pointer[mdns.Node] // nil while discovery does not work
}

// retryDiscovery is the pause after discovery has failed.
const retryDiscovery = 5 * time.Second

// keep runs discovery until ctx ends. A network on which it cannot work is no reason
// to serve no more: peers may be named, and commands on this machine are served.
func (d *discovery) keep(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := d.run(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("other machines cannot be discovered now", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryDiscovery):
		}
	}
	return nil
}

// run registers the machine and browses for others until ctx ends.
func (d *discovery) run(ctx context.Context) error {
	node, err := mdns.Open(ctx, mdns.Config{Interfaces: d.cfg.Interfaces, Logger: d.log})
	if err != nil {
		return fmt.Errorf("node: discover: %w", err)
	}
	defer node.Close()
	host, err := node.ClaimHost(ctx, hostLabel(d.m.Name()))
	if err != nil {
		return fmt.Errorf("node: claim a host name: %w", err)
	}
	defer host.Close()
	d.cfg.tell(Event{Kind: EventNamed, Name: host.Name()})
	d.node.Store(node)
	defer d.node.Store(nil)
	reg, err := dnssd.Register(ctx, dnssd.Instance{
		Name: d.m.Name(), Service: serviceType, Domain: "local", Port: d.port, TXT: d.txt(),
	}, dnssd.Config{Node: node, Logger: d.log})
	if err != nil {
		return fmt.Errorf("node: register: %w", err)
	}
	defer reg.Close()
	for ev, err := range dnssd.Browse(ctx, serviceType, dnssd.Config{Node: node, Logger: d.log}) {
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("node: browse: %w", err)
		}
		d.heard(ev)
	}
	return nil
}

// announce makes known that this machine invites, at port, until stop is called: as soon
// as discovery works, and again when it had to begin anew.
func (d *discovery) announce(ctx context.Context, port uint16) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if node := d.node.Load(); node != nil {
				d.announceOn(ctx, node, port)
			}
			select {
			case <-ctx.Done():
			case <-time.After(retryAnnounce):
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// retryAnnounce is the pause before an invitation that could not be announced is tried
// again.
const retryAnnounce = 100 * time.Millisecond

// announceOn announces an invitation on node until ctx or node ends.
func (d *discovery) announceOn(ctx context.Context, node *mdns.Node, port uint16) {
	reg, err := dnssd.Register(ctx, dnssd.Instance{
		Name: d.m.Name(), Service: joinServiceType, Domain: "local", Port: port, TXT: dnssd.TXT{{Key: txtVersion, Value: []byte("1")}},
	}, dnssd.Config{Node: node, Logger: d.log})
	if err != nil {
		if ctx.Err() == nil {
			d.log.Debug("the invitation is not announced", "error", err)
		}
		return
	}
	select {
	case <-ctx.Done():
	case <-reg.Done():
	}
	if err := reg.Close(); err != nil {
		d.log.Debug("the end of an invitation is not announced", "error", err)
	}
}

// txt is what the machine announces of itself.
func (d *discovery) txt() dnssd.TXT {
	return dnssd.TXT{
		{Key: txtVersion, Value: []byte("1")},
		{Key: txtPool, Value: []byte(d.m.pool.ID.String())},
		{Key: txtMachine, Value: []byte(d.m.ID().String())},
	}
}

// heard takes a browsing result: an instance of the same pool that is not this
// machine is one to connect to. What goes away is remembered all the same: a
// machine that is switched off comes back.
func (d *discovery) heard(ev dnssd.Event) {
	if ev.Op == mdns.Remove || ev.Instance.Port == 0 {
		return
	}
	txt := ev.Instance.TXT
	pool, _ := txt.Get(txtPool)
	if string(pool) != d.m.pool.ID.String() {
		return
	}
	text, _ := txt.Get(txtMachine)
	id, err := store.ParseMachineID(string(text))
	if err != nil || id == d.m.ID() || !d.m.mayHave(id) {
		return
	}
	var addrs []netip.AddrPort
	for _, a := range ev.Instance.Addresses {
		addrs = append(addrs, netip.AddrPortFrom(a, ev.Instance.Port))
	}
	if len(addrs) > 0 {
		d.found(id, addrs)
	}
}

// hostLabel makes a DNS label of a machine's name: letters, digits and hyphens,
// at most 63 octets (RFC 1123 section 2.1).
func hostLabel(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	label := strings.Trim(b.String(), "-")
	if len(label) > 50 {
		label = strings.Trim(label[:50], "-") // room for "-2" and the like
	}
	if label == "" {
		return "aether"
	}
	return label
}

// defaultName is what a machine is called that was given no name.
func defaultName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "aether"
	}
	name, _, _ = strings.Cut(name, ".")
	return name
}

// logPeerFailure says why nobody could be talked to.
func logPeerFailure(log *slog.Logger, addr netip.AddrPort, err error) {
	if addr.IsValid() {
		log.Debug("a machine cannot be reached", "address", addr, "error", err)
		return
	}
	log.Warn("a connection was refused", "error", err)
}
