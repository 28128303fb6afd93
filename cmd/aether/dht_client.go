package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/adrg/xdg"
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht"
	"github.com/aether-lan/aether/dht/peer"
)

// ringFlags say which ring is meant.
func ringFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "dir", EnvVars: []string{"AETHER_DHT_DIR"}, Usage: "`DIRECTORY` of this machine's node",
			DefaultText: "aether/dht in the XDG data directory"},
		&cli.StringFlag{Name: "secret-file", EnvVars: []string{"AETHER_DHT_SECRET_FILE"}, TakesFile: true,
			Usage: "`FILE` with what the machines of the ring share; without, everybody who can connect belongs"},
	}, more...)
}

// ringClientFlags say which node to ask, and for how long.
func ringClientFlags(more ...cli.Flag) []cli.Flag {
	return ringFlags(append([]cli.Flag{
		&cli.StringFlag{Name: "node", Aliases: []string{"n"}, EnvVars: []string{"AETHER_DHT_NODE"},
			Usage: "`HOST:PORT,...` of the node to ask; of several the first that answers", DefaultText: "the node of --dir"},
		&cli.DurationFlag{Name: "timeout", Value: defaultPatience, Usage: "give up after this `TIME`; 0 never does"},
	}, more...)...)
}

// dhtDir is the node's directory.
func dhtDir(c *cli.Context) string {
	if dir := c.String("dir"); dir != "" {
		return dir
	}
	return filepath.Join(xdg.DataHome, "aether", "dht")
}

// errNoRing says that nobody can be asked.
var errNoRing = errors.New("no node is known on this machine: start one with aether dht serve, or say with --node which to ask")

// ringNodes returns whom to ask.
func ringNodes(c *cli.Context) (list []netip.AddrPort, err error) {
	if s := c.String("node"); s != "" {
		return resolveEndpoints(c.Context, strings.Split(s, ","))
	}
	a, err := peer.LocalAddress(dhtDir(c))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoRing
	}
	return []netip.AddrPort{a}, err
}

// resolveEndpoints turns a list of HOST:PORT into addresses.
func resolveEndpoints(ctx context.Context, hosts []string) (list []netip.AddrPort, err error) {
	for _, h := range hosts {
		a, err := resolveEndpoint(ctx, strings.TrimSpace(h))
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, nil
}

// withRing runs f with a client of the ring that the flags name, within --timeout.
func withRing(c *cli.Context, f func(ctx context.Context, cl *peer.Client, out *printer) error) error {
	k, err := clientOf(c, ringNodes)
	if err != nil {
		return err
	}
	defer k.cancel()
	cl, err := peer.NewClient(peer.ClientConfig{Nodes: k.list, Secret: k.secret})
	if err != nil {
		return err
	}
	defer cl.Close()
	return ringCause(k.ctx, f(k.ctx, cl, k.out))
}

// withRingForEver is withRing for commands that run until they are interrupted, unless
// --timeout was given.
func withRingForEver(c *cli.Context, f func(ctx context.Context, cl *peer.Client, out *printer) error) error {
	if !c.IsSet("timeout") {
		if err := c.Set("timeout", "0"); err != nil {
			return err
		}
	}
	err := withRing(c, f)
	if c.Context.Err() != nil || errors.Is(err, errEnoughSeen) {
		err = nil // the end that was asked for
	}
	return err
}

// ringCause says why a command that ran out of time got nowhere.
func ringCause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	why := withCause(ctx, err)
	if !errors.Is(why, errTimeout) {
		return why
	}
	for _, reason := range []error{peer.ErrNoMajority, peer.ErrBusy} {
		var r *peer.RecordError
		if errors.Is(err, reason) && errors.As(err, &r) {
			return fmt.Errorf("%w: %w", why, r)
		}
	}
	if errors.Is(err, peer.ErrUnreachable) {
		return unreached(why, peer.ErrUnreachable, err)
	}
	return why
}

// ringPoint reads a point of the circle: an ID as status prints it, or a key, whose
// point is that of its record.
func ringPoint(s string) dht.ID {
	if id, err := peer.Space().Parse(s); err == nil {
		return id
	}
	return peer.KeyID(s)
}

// shortID is how an ID is shown to people who only tell nodes apart.
func shortID(id string) string { return id[:min(len(id), 8)] }
