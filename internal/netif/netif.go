package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// ErrNoInterface reports that no interface has the name asked for.
var ErrNoInterface = errors.New("no such interface")

// ErrNotPermitted reports that the process may not configure interfaces.
var ErrNotPermitted = errors.New("not permitted: needs CAP_NET_ADMIN")

// ErrNotSupported reports that this system cannot do what was asked; the text
// around it names what can be done instead.
var ErrNotSupported = errors.New("not supported on this system")

// Interface is one network interface at one instant. It owns its slices.
type Interface struct {
	// Index is the kernel's number of the interface; it is never zero and stays
	// while the name may change.
	Index int
	Name  string
	// HardwareAddr is the MAC address, 6 bytes on Ethernet and Wi-Fi, empty
	// where there is none.
	HardwareAddr net.HardwareAddr
	// MTU is the largest packet in bytes, link-layer header not counted.
	MTU int
	// Up says that the interface is switched on by its administrator.
	Up bool
	// Carrier says that it is up and can pass packets: cable in, Wi-Fi joined.
	Carrier      bool
	Loopback     bool
	Multicast    bool
	PointToPoint bool
	// Addresses holds each usable address with its prefix length, IPv4 first,
	// sorted, without zone. IPv6 addresses whose uniqueness is still being
	// tested (RFC 4862 section 5.4) or was disproved are left out.
	Addresses []netip.Prefix
}

// Kind is what happened to an interface.
type Kind int

// The kinds of events.
const (
	// Added: the interface exists; its fields say in which state it came.
	Added Kind = iota + 1
	// Removed: the interface is gone; the event holds its last known state.
	Removed
	// Changed: a flag, the name, the MTU, an address changed.
	Changed
	// CarrierUp: packets can pass from now on.
	CarrierUp
	// CarrierDown: packets cannot pass any more.
	CarrierDown
	// Resumed: the machine has slept. It concerns all interfaces; the event's
	// Interface is zero.
	Resumed
)

var kindNames = [...]string{"none", "added", "removed", "changed", "carrier up", "carrier down", "resumed"}

// String returns the kind in lower-case words.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind %d", int(k))
	}
	return kindNames[k]
}

// Event is one thing that happened to an interface.
type Event struct {
	Kind Kind
	// Interface is the state after the event (before it, for Removed).
	Interface Interface
}

// String returns the event in one line.
func (e Event) String() string {
	if e.Kind == Resumed {
		return e.Kind.String()
	}
	i := e.Interface
	return fmt.Sprintf("%s %s (%d) up=%t carrier=%t %v", i.Name, e.Kind, i.Index, i.Up, i.Carrier, i.Addresses)
}

// Address is an address to be put on an interface.
type Address struct {
	// Prefix is the address with the length of its on-link prefix.
	Prefix netip.Prefix
	// Label names the address, as "eth0:avahi" does for ifconfig; it must begin
	// with the interface's name. Empty means none. IPv4 only.
	Label string
	// ScopeLink marks the address as valid on this link only, so that the kernel
	// does not take it for traffic to elsewhere.
	ScopeLink bool
	// Deprecated sets the preferred lifetime to 0: existing connections go on,
	// new ones take another address if there is one (RFC 4862 section 5.5.4).
	Deprecated bool
}

// List returns all interfaces, sorted by index.
func List() ([]Interface, error) {
	list, err := list()
	if err != nil {
		return nil, fmt.Errorf("netif: list: %w", err)
	}
	return list, nil
}

// ByName returns the interface called name. When there is none the error wraps
// [ErrNoInterface].
func ByName(name string) (Interface, error) {
	all, err := List()
	if err != nil {
		return Interface{}, err
	}
	for _, i := range all {
		if i.Name == name {
			return i, nil
		}
	}
	return Interface{}, fmt.Errorf("netif: %q: %w", name, ErrNoInterface)
}

// Watch calls heard with an [Added] event for each interface there is and then
// with each change, until ctx ends; it returns context.Cause(ctx). All calls
// come from the goroutine that called Watch, so heard must not block for long.
//
// An interface that goes down and up between two looks is reported as down and
// up on Linux; on other systems such a flap may be missed.
func Watch(ctx context.Context, heard func(Event)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := watch(ctx, heard); err != nil && ctx.Err() == nil {
		return fmt.Errorf("netif: watch: %w", err)
	}
	return context.Cause(ctx)
}

// AddAddress puts a on the interface called ifname, or changes the lifetime of
// the address already there. Its prefix becomes an on-link route by itself.
func AddAddress(ifname string, a Address) error {
	if !a.Prefix.IsValid() {
		return fmt.Errorf("netif: add address to %s: invalid prefix", ifname)
	}
	return configured("add address "+a.Prefix.String()+" to "+ifname, addAddress(ifname, a))
}

// RemoveAddress takes the address off the interface called ifname. It is not an
// error if it was not there.
func RemoveAddress(ifname string, prefix netip.Prefix) error {
	if !prefix.IsValid() {
		return fmt.Errorf("netif: remove address from %s: invalid prefix", ifname)
	}
	return configured("remove address "+prefix.String()+" from "+ifname, removeAddress(ifname, prefix))
}

// ResetConnections resets the TCP connections of this machine's IPv4 address a, so
// that both ends learn at once what a loss of the address would let them find out in
// minutes.
func ResetConnections(a netip.Addr) error {
	return configured("reset connections of "+a.String(), resetConnections(a))
}

// AddDefaultRoute sends IPv4 traffic for any destination out of the interface
// called ifname, as if all were on its link (RFC 3927 section 2.6.1 lets a
// link-local host ARP for every destination). A smaller metric wins over a
// larger one; 0 is the kernel's default metric.
func AddDefaultRoute(ifname string, metric int) error {
	return configured("add default route on "+ifname, addDefaultRoute(ifname, metric))
}

// RemoveDefaultRoute removes the route that [AddDefaultRoute] made with the same
// metric. It is not an error if there is none.
func RemoveDefaultRoute(ifname string, metric int) error {
	return configured("remove default route on "+ifname, removeDefaultRoute(ifname, metric))
}

// SetUp switches the interface called ifname on.
func SetUp(ifname string) error {
	return configured("set up "+ifname, setUp(ifname))
}

// configured gives err the package's prefix; nil stays nil.
func configured(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("netif: %s: %w", op, err)
}
