package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht/peer"
)

func dhtServeCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run a node of the ring until interrupted",
		Description: "A node is a key in its directory, and its ID the hash of that. It joins the ring of --join, of which one node that\n" +
			"answers is enough, and remembers all it meets: after a restart no --join is needed. With --discover, nodes of one\n" +
			"ring name find each other by DNS-SD. Rings that meet become one. At the end it tells its neighbours that it leaves.\n" +
			"JSON events: serving {id, incarnation, address, dir}, member {id, address, state}, stopped {id}.\n" +
			"Exit status: 0 after an interrupt, 1 when the disk failed or the node cannot start." +
			examples(
				`aether dht serve --listen 10.0.0.1:7400`,
				`aether dht serve --listen 10.0.0.2:7400 --join 10.0.0.1:7400 --dir /var/lib/aether/dht`,
				`aether dht serve --discover --secret-file ring.secret`),
		Flags: ringFlags(
			&cli.StringFlag{Name: "listen", Usage: "listen at `HOST:PORT`", DefaultText: "all addresses, the port of the last time or any free one"},
			&cli.StringSliceFlag{Name: "join", Usage: "join the ring of the node at `HOST:PORT`; may be repeated"},
			&cli.StringFlag{Name: "advertise", Usage: "others reach this node at `ADDR`", DefaultText: "the address it listens at, or sends from"},
			&cli.IntFlag{Name: "copies", Value: 5, Usage: "how many nodes keep a record, the same on all nodes: `N`"},
			&cli.Int64Flag{Name: "max-bytes", Usage: "keep at most `N` bytes of records", DefaultText: "256 MiB"},
			&cli.BoolFlag{Name: "discover", Usage: "find other nodes by DNS-SD, and let them find this one"},
			&cli.StringFlag{Name: "ring", Value: "aether", EnvVars: []string{"AETHER_DHT_RING"}, Usage: "with --discover: `NAME` of the ring"},
			interfaceFlag("with --discover: use `IF`"),
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			return dhtServe(c, out)
		},
	}
}

// dhtConfig reads the flags.
func dhtConfig(c *cli.Context, out *printer) (cfg peer.Config, err error) {
	cfg = peer.Config{Dir: dhtDir(c), Copies: c.Int("copies"), MaxBytes: c.Int64("max-bytes"), Logger: eventLogger(c, "member", tellMembers(out))}
	if c.Int("copies") < 1 || c.Int("copies") > 15 {
		return cfg, usage("--copies is a number from 1 to 15")
	}
	if err := checkInterfaces(c); err != nil {
		return cfg, err
	}
	if cfg.Listen, err = listenAddress(c.Context, c.String("listen")); err != nil {
		return cfg, err
	}
	if a := c.String("advertise"); a != "" {
		if cfg.Advertise, err = netip.ParseAddr(a); err != nil {
			return cfg, usage("--advertise: %q is no address", a)
		}
	}
	if cfg.Join, err = resolveEndpoints(c.Context, c.StringSlice("join")); err != nil {
		return cfg, err
	}
	cfg.Secret, err = clusterSecret(c)
	return cfg, err
}

// listenAddress reads HOST:PORT, where both may be missing: "", ":7400", "10.0.0.1:0".
func listenAddress(ctx context.Context, s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a, nil
	}
	if a, err := netip.ParseAddrPort("0.0.0.0" + s); err == nil {
		return netip.AddrPortFrom(netip.Addr{}, a.Port()), nil
	}
	return resolveEndpoint(ctx, s)
}

func dhtServe(c *cli.Context, out *printer) error {
	cfg, err := dhtConfig(c, out)
	if err != nil {
		return err
	}
	n, err := peer.Open(c.Context, cfg)
	if err != nil {
		return err
	}
	if at := n.Addr(); !at.Addr().IsLoopback() && cfg.Secret == nil {
		fmt.Fprintln(c.App.ErrWriter, "aether: without --secret-file everybody who can connect to", at, "can read and write here")
	}
	dhtServices(n)
	self := n.Self()
	err = out.event("serving", fmt.Sprintf("node %s at %v, directory %s", peer.Space().Format(self.ID), self.Address, cfg.Dir),
		"id", peer.Space().Format(self.ID), "incarnation", self.Incarnation, "address", self.Address, "dir", cfg.Dir)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	if c.Bool("discover") {
		stop, err := dhtDiscover(c, n, &wg)
		if err != nil {
			return err
		}
		defer wg.Wait()
		defer stop()
	}
	if err := n.Wait(); err != nil {
		return err
	}
	return out.event("stopped", "", "id", peer.Space().Format(self.ID))
}

// dhtServices offers what every node answers.
func dhtServices(n *peer.Node) {
	n.Serve("echo", func(_ context.Context, q peer.Request) ([]byte, error) { return q.Payload, nil })
	n.Serve("status", func(ctx context.Context, _ peer.Request) ([]byte, error) {
		s, err := n.Status(ctx)
		if err != nil {
			return nil, err
		}
		s.Members = nil // an answer has 64 KiB
		return json.Marshal(s)
	})
}

// tellMembers prints members that come, go and fail.
func tellMembers(out *printer) func(fields map[string]any) error {
	return func(f map[string]any) error {
		text := fmt.Sprintf("member %v at %v is %v", f["id"], f["address"], f["state"])
		return out.event("member", text, "id", f["id"], "address", f["address"], "state", f["state"])
	}
}

func dhtJoinCommand() *cli.Command {
	return &cli.Command{
		Name:      "join",
		Usage:     "tell this machine's node of the node at HOST:PORT, and so of its ring",
		ArgsUsage: "HOST:PORT...",
		Description: "The two rings become one; the node goes on trying when nobody answers yet.\n" +
			"JSON: joined {addresses}. Exit status: 1 when a node does not answer." +
			examples(`aether dht join 10.0.0.1:7400`),
		Flags: ringClientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, -1); err != nil {
				return err
			}
			list, err := resolveEndpoints(c.Context, c.Args().Slice())
			if err != nil {
				return err
			}
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				if err := cl.Join(ctx, list...); err != nil {
					return err
				}
				return out.event("joined", "", "addresses", list)
			})
		},
	}
}
