package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/urfave/cli/v2"
)

// clientFlagValues are what the flags of a command say that asks nodes: which ones, by
// which secret, and until when.
type clientFlagValues struct {
	ctx    context.Context
	cancel context.CancelFunc
	out    *printer
	list   []netip.AddrPort
	secret []byte
}

// clientOf reads the flags; nodes finds whom to ask. cancel is to be called.
func clientOf(c *cli.Context, nodes func(*cli.Context) ([]netip.AddrPort, error)) (k clientFlagValues, err error) {
	if k.out, err = newPrinter(c); err != nil {
		return k, err
	}
	if k.list, err = nodes(c); err != nil {
		return k, err
	}
	if k.secret, err = clusterSecret(c); err != nil {
		return k, err
	}
	k.ctx, k.cancel = c.Context, func() {}
	if d := c.Duration("timeout"); d > 0 {
		k.ctx, k.cancel = contextWithTimeout(c.Context, d)
	}
	return k, nil
}

// unreached joins why a command ended with the sentinel that says that no node could be
// reached, and with what the system said of the last one, where it said anything.
func unreached(why, sentinel, err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		return fmt.Errorf("%w: %w: %v: %w", why, sentinel, op.Addr, op.Err)
	}
	return fmt.Errorf("%w: %w", why, sentinel)
}
