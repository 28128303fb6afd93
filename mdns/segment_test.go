package mdns

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/aether-lan/aether/internal/netif"
)

// segment is a link in memory: what one machine multicasts all others get a
// millisecond later, the sender too, as on a real one.
type segment struct {
	mu    sync.Mutex
	wires []*simWire
	sent  time.Duration
}

// machine is a network of one interface on a segment.
type machine struct {
	t   testing.TB
	seg *segment
	mu  sync.Mutex
	ifi netif.Interface
	// shared: another program has port 5353.
	shared bool
	cut    bool // no carrier; guarded by seg
	tell   func(netif.Event)
}

func newMachine(t testing.TB, seg *segment, addrs ...string) *machine {
	m := &machine{t: t, seg: seg, ifi: netif.Interface{Index: 7, Name: "eth0", MTU: 1500, Up: true, Carrier: true, Multicast: true}}
	m.ifi.Addresses = prefixes(addrs)
	return m
}

func prefixes(addrs []string) (out []netip.Prefix) {
	for _, a := range addrs {
		out = append(out, netip.MustParsePrefix(a))
	}
	return out
}

func (m *machine) list() ([]netif.Interface, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return []netif.Interface{m.ifi}, nil
}

func (m *machine) watch(ctx context.Context, heard func(netif.Event)) error {
	m.mu.Lock()
	m.tell = heard
	ifi := m.ifi
	m.mu.Unlock()
	heard(netif.Event{Kind: netif.Added, Interface: ifi})
	<-ctx.Done()
	return context.Cause(ctx)
}

// change gives the interface other addresses.
func (m *machine) change(addrs ...string) {
	m.mu.Lock()
	m.ifi.Addresses = prefixes(addrs)
	tell, ifi := m.tell, m.ifi
	m.mu.Unlock()
	tell(netif.Event{Kind: netif.Changed, Interface: ifi})
}

// plug takes the carrier away or gives it back.
func (m *machine) plug(in bool) {
	m.seg.mu.Lock()
	m.cut = !in
	m.seg.mu.Unlock()
	m.mu.Lock()
	m.ifi.Carrier = in
	ev := netif.Event{Kind: netif.CarrierDown, Interface: m.ifi}
	if in {
		ev.Kind = netif.CarrierUp
	}
	tell := m.tell
	m.mu.Unlock()
	tell(ev)
}

// wake tells that the machine has slept.
func (m *machine) wake() {
	m.mu.Lock()
	tell := m.tell
	m.mu.Unlock()
	tell(netif.Event{Kind: netif.Resumed})
}

func (m *machine) join(_ context.Context, ifi netif.Interface, group netip.AddrPort) (wire, error) {
	w := &simWire{seg: m.seg, group: group.Addr(), in: make(chan Packet, 256), closed: make(chan struct{}), index: ifi.Index, shared: m.shared, m: m}
	for _, p := range ifi.Addresses {
		if p.Addr().Is4() == group.Addr().Is4() {
			w.addr = p.Addr()
		}
	}
	m.seg.mu.Lock()
	m.seg.wires = append(m.seg.wires, w)
	m.seg.mu.Unlock()
	return w, nil
}

type simWire struct {
	seg    *segment
	addr   netip.Addr
	group  netip.Addr
	index  int
	in     chan Packet
	closed chan struct{}
	once   sync.Once
	shared bool
	m      *machine
}

func (w *simWire) ReadPacket() (Packet, error) {
	select {
	case p := <-w.in:
		return p, nil
	case <-w.closed:
		return Packet{}, net.ErrClosed
	}
}

func (w *simWire) WritePacket(p Packet) error {
	w.seg.mu.Lock()
	defer w.seg.mu.Unlock()
	for _, to := range w.seg.wires {
		if w.m.cut || to.m.cut || p.To.Addr() != to.group && p.To.Addr() != to.addr {
			continue
		}
		got := Packet{Data: p.Data, From: netip.AddrPortFrom(w.addr, Port), To: p.To, IfIndex: to.index}
		w.seg.sent++ // a nanosecond each keeps packets in order
		time.AfterFunc(time.Millisecond+w.seg.sent, func() {
			select {
			case to.in <- got:
			case <-to.closed:
			default: // receive buffer full
			}
		})
	}
	return nil
}

func (w *simWire) Close() error  { w.once.Do(func() { close(w.closed) }); return nil }
func (w *simWire) Unicast() bool { return !w.shared }
func (w *simWire) Shared() bool  { return w.shared }
