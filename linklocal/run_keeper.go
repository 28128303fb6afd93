package linklocal

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/aether-lan/aether/internal/netif"
)

// keeper does in the kernel what a Claimer says. All of it runs on the goroutine
// of the loop.
type keeper struct {
	cfg     Config
	hw      HardwareAddr
	claimer *Claimer
	hook    *hook
	fail    func(error) // ends the claim

	addr   netip.Addr // put on the interface; zero: none
	seen   bool       // the kernel has reported it there since
	routed bool       // the default route is ours
	quiet  bool       // the kernel's answers are off
	alone  bool       // the interface has no routable address
}

// see tells the Claimer what the interfaces look like.
func (k *keeper) see(now time.Time, s view) {
	k.claimer.SetOwn(s.own, s.taken)
	if s.resumed {
		k.claimer.Resume(now)
	}
	k.alone = !s.routable
	k.claimer.SetRoutable(now, s.routable)
	k.claimer.SetLink(now, s.link)
	if !k.addr.IsValid() {
		return
	}
	// A view from before the address was added does not show it either.
	if s.has(k.addr) {
		k.seen = true
		if err := k.silence(k.alone && k.claimer.State() != Deprecated); err != nil {
			k.fail(err)
		}
	} else if k.seen {
		k.addr, k.seen = netip.Addr{}, false
		k.claimer.Deleted(now)
	}
}

// hear does what follows from one event of the Claimer and passes it on.
func (k *keeper) hear(e Event) {
	var err error
	switch e.Kind {
	case EventClaimed:
		err = k.put(e.Address, false)
		k.remember(e.Address)
	case EventRestored:
		err = k.put(e.Address, false)
	case EventDeprecated:
		err = k.put(e.Address, true)
	case EventLost, EventReleased:
		if e.Reason == ReasonConflict {
			k.reset(e.Address)
		}
		err = k.remove(e.Address)
	}
	if err != nil {
		k.fail(err)
		return
	}
	k.hook.tell(e)
	if k.cfg.Event != nil {
		k.cfg.Event(e)
	}
}

// put configures the address: with the whole 169.254/16 on the link (RFC 3927
// section 2.6.2), scope link, and when deprecated with preferred lifetime 0.
func (k *keeper) put(a netip.Addr, deprecated bool) error {
	if k.cfg.NoConfigure {
		return nil
	}
	ifname := k.cfg.Interface
	err := netif.AddAddress(ifname, netif.Address{
		Prefix: netip.PrefixFrom(a, Prefix.Bits()), Label: label(ifname), ScopeLink: true, Deprecated: deprecated,
	})
	if err != nil {
		return configureError(err)
	}
	if k.addr != a {
		k.addr, k.seen = a, false
	}
	if err := k.silence(k.alone && !deprecated); err != nil {
		return err
	}
	return k.route(!deprecated)
}

// reset ends the TCP connections of an address that another host has, which RFC 3927
// section 2.5 asks for before it is abandoned. Not every kernel can.
func (k *keeper) reset(a netip.Addr) {
	if k.cfg.NoConfigure {
		return
	}
	if err := netif.ResetConnections(a); err != nil {
		k.cfg.Logger.Warn("connections not reset", "address", a, "error", err)
	}
}

// remove undoes what put did.
func (k *keeper) remove(a netip.Addr) error {
	if k.cfg.NoConfigure {
		return nil
	}
	k.addr, k.seen = netip.Addr{}, false
	err := errors.Join(k.silence(false), k.route(false))
	if rm := netif.RemoveAddress(k.cfg.Interface, netip.PrefixFrom(a, Prefix.Bits())); rm != nil {
		err = errors.Join(err, configureError(rm))
	}
	if errors.Is(err, netif.ErrNoInterface) {
		return nil // and with the interface went the address
	}
	return err
}

// cleanUp removes what is still there when the claim ended without a word from
// the engine.
func (k *keeper) cleanUp() {
	if k.addr.IsValid() {
		if err := k.remove(k.addr); err != nil {
			k.cfg.Logger.Warn("not undone", "error", err)
		}
	}
}

// route sets or removes the default route, which deprecated addresses lose.
func (k *keeper) route(want bool) error {
	if !k.cfg.DefaultRoute || want == k.routed {
		return nil
	}
	k.routed = want
	if want {
		return configureError(netif.AddDefaultRoute(k.cfg.Interface, DefaultMetric))
	}
	return configureError(netif.RemoveDefaultRoute(k.cfg.Interface, DefaultMetric))
}

// silence sets or removes the broadcast-only settings of the kernel.
func (k *keeper) silence(want bool) error {
	if !k.cfg.BroadcastOnly || want == k.quiet {
		return nil
	}
	k.quiet = want
	return broadcastOnly(k.cfg.Interface, want)
}

func (k *keeper) remember(a netip.Addr) {
	if k.cfg.StateDir == "" {
		return
	}
	if err := remember(k.cfg.StateDir, k.hw, a); err != nil {
		k.cfg.Logger.Warn("address not remembered", "error", err)
	}
}

// label names the address for tools that show labels. The kernel allows 15 bytes.
func label(ifname string) string {
	if l := ifname + ":aether"; len(l) <= 15 {
		return l
	}
	return ""
}

// configureError gives errors of netif the words of this package.
func configureError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, netif.ErrNotPermitted):
		return fmt.Errorf("linklocal: %w: needs CAP_NET_ADMIN (or claim without configuring): %w", ErrNotPermitted, err)
	case errors.Is(err, netif.ErrNotSupported):
		return fmt.Errorf("linklocal: %w: %w", ErrNotSupported, err)
	}
	return fmt.Errorf("linklocal: configure: %w", err)
}
