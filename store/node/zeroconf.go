package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"

	"github.com/aether-lan/aether/internal/netif"
	"github.com/aether-lan/aether/linklocal"
)

// giveAddresses claims an IPv4 link-local address on each of the interfaces that
// a cable could be plugged into, until ctx ends: the engine itself holds back
// while an interface has a routable address (RFC 3927 section 1.9).
func giveAddresses(ctx context.Context, cfg ServeConfig, dir string, log *slog.Logger) error {
	names := cfg.Interfaces
	if len(names) == 0 {
		all, err := netif.List()
		if err != nil {
			return fmt.Errorf("node: zeroconf: %w", err)
		}
		for _, i := range all {
			if i.Up && i.Multicast && !i.Loopback && !i.PointToPoint && len(i.HardwareAddr) == 6 {
				names = append(names, i.Name)
			}
		}
	}
	if len(names) == 0 {
		return errors.New("node: zeroconf: no interface is up that could take an address; name one with -i")
	}
	ended := make(chan error, len(names))
	for _, name := range names {
		go func() { ended <- claimOn(ctx, cfg, name, dir, log) }()
	}
	var errs []error
	for range names {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

// claimOn claims an address on one interface.
func claimOn(ctx context.Context, cfg ServeConfig, name, dir string, log *slog.Logger) error {
	err := linklocal.Claim(ctx, linklocal.Config{
		Interface: name,
		StateDir:  filepath.Join(dir, "linklocal"),
		Logger:    log,
		Event: func(ev linklocal.Event) {
			if ev.Kind == linklocal.EventClaimed {
				cfg.tell(Event{Kind: EventAddress, Address: netip.AddrPortFrom(ev.Address, 0), Interface: name})
			}
		},
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("node: zeroconf on %s: %w", name, err)
	}
	return nil
}
