package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/replica"
)

func paxosServeCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run a node of a replicated map until interrupted",
		Description: "All nodes of a new cluster are given the same --peers; a majority of them agrees on everything, and what was\n" +
			"answered is on the disks of a majority. The members change with aether paxos member, and are remembered.\n" +
			"A node that joins a running cluster is started with --join and then added by aether paxos member add.\n" +
			"With --discover, nodes 1 to --size find each other by DNS-SD and need no --peers; with --join, one that comes\n" +
			"later finds them.\n" +
			"A directory that is damaged is put aside, and the node learns anew before it votes again.\n" +
			"JSON events: serving {id, cluster, address, dir}, role {role, leader, ballot}, stopped {id}.\n" +
			"Exit status: 0 after an interrupt, 1 when the disk failed, the node was removed or cannot start." +
			examples(
				`aether paxos serve --id 1 --peers 1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003`,
				`aether paxos serve --id 2 --discover --size 3 --secret-file cluster.secret`,
				`aether paxos serve --id 4 --join --peers 1=10.0.0.1:7001,2=10.0.0.2:7001 --listen 10.0.0.4:7001`),
		Flags: clusterFlags(
			&cli.Uint64Flag{Name: "id", Usage: "`N` of this node, from 1 on"},
			&cli.StringFlag{Name: "peers", Usage: "the nodes: `1=HOST:PORT,2=HOST:PORT,...`"},
			&cli.StringFlag{Name: "dir", Usage: "`DIRECTORY` of this node", DefaultText: "aether/paxos/CLUSTER/ID in the XDG data directory"},
			&cli.StringFlag{Name: "listen", Usage: "listen at `ADDR:PORT`", DefaultText: "this node's place in --peers"},
			&cli.BoolFlag{Name: "join", Usage: "the peers run already, and this node is to be added to them"},
			&cli.BoolFlag{Name: "discover", Usage: "find the other nodes by DNS-SD"},
			&cli.IntFlag{Name: "size", Value: 3, Usage: "with --discover: nodes 1 to `N` make the new cluster"},
			interfaceFlag("with --discover: use `IF`"),
			&cli.DurationFlag{Name: "election", Value: time.Second, Usage: "how long a leader may be silent: `TIME`, the same on all nodes"},
			&cli.DurationFlag{Name: "lease", Usage: "let the leader read without asking the others for `TIME` after they answered, at most --election, the same on\n" +
				"all nodes; clocks may not differ in speed by more than a fifth", DefaultText: "ask for every read"},
			&cli.Uint64Flag{Name: "snapshot-every", Value: 100_000, Usage: "make a snapshot after `N` slots"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			return paxosServe(c, out)
		},
	}
}

// nodeConfig reads the flags.
func nodeConfig(c *cli.Context, out *printer) (cfg replica.Config, err error) {
	id := c.Uint64("id")
	switch {
	case id == 0:
		return cfg, usage("--id N says which node this is, from 1 on")
	case c.Bool("discover") == (c.String("peers") != ""):
		return cfg, usage("give either --peers or --discover")
	case c.Bool("discover") && (c.Int("size") < 1 || c.Int("size") > paxos.MaxMembers || id > uint64(c.Int("size")) && !c.Bool("join")):
		return cfg, usage("--discover: nodes have the IDs 1 to --size, at most %d; one that comes later takes --join", paxos.MaxMembers)
	case c.Duration("election") < 20*time.Millisecond:
		return cfg, usage("--election is at least 20ms")
	case c.Duration("lease") < 0 || c.Duration("lease") > c.Duration("election"):
		return cfg, usage("--lease is at most --election")
	}
	cfg = replica.Config{
		ID: paxos.NodeID(id), Dir: c.String("dir"), Cluster: c.String("cluster"), Join: c.Bool("join"),
		Timing:        paxos.Timing{Election: c.Duration("election"), Heartbeat: c.Duration("election") / 10, Lease: c.Duration("lease")},
		SnapshotEvery: paxos.Slot(c.Uint64("snapshot-every")), Logger: eventLogger(c, "role", tellRoles(out)),
	}
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(paxosRoot(cfg.Cluster), cfg.ID.String())
	}
	if err := checkInterfaces(c); err != nil {
		return cfg, err
	}
	if cfg.Secret, err = clusterSecret(c); err != nil {
		return cfg, err
	}
	if p := c.String("peers"); p != "" {
		cfg.Members, err = parsePeers(c.Context, p)
	}
	return cfg, err
}

// listenAt opens the node's listener.
func listenAt(c *cli.Context, cfg replica.Config) (net.Listener, error) {
	at := c.String("listen")
	if at == "" {
		switch a, ok := cfg.Members[cfg.ID]; {
		case ok:
			at = a.String()
		case c.Bool("discover"):
			at = ":0"
		default:
			return nil, usage("node %v is not among --peers: say with --listen where it is", cfg.ID)
		}
	}
	var lc net.ListenConfig
	return lc.Listen(c.Context, "tcp", at)
}

func paxosServe(c *cli.Context, out *printer) error {
	cfg, err := nodeConfig(c, out)
	if err != nil {
		return err
	}
	if cfg.Listener, err = listenAt(c, cfg); err != nil {
		return err
	}
	at := cfg.Listener.Addr().String()
	if a, err := netip.ParseAddrPort(at); err == nil && !a.Addr().IsLoopback() && cfg.Secret == nil {
		fmt.Fprintln(c.App.ErrWriter, "aether: without --secret-file everybody who can connect to", at, "can read and write here")
	}
	if c.Bool("discover") {
		stop, err := discoverPeers(c, &cfg, out)
		if err != nil && c.Context.Err() != nil {
			err = out.event("stopped", "", "id", uint64(cfg.ID))
			return errors.Join(err, cfg.Listener.Close())
		}
		if err != nil {
			return errors.Join(err, cfg.Listener.Close())
		}
		defer stop()
	}
	cfg.Fatal = func(err error) { // nothing goes on, and so nothing is left to be closed
		fmt.Fprintln(c.App.ErrWriter, "aether:", err)
		os.Exit(statusFailed)
	}
	// The mesh outlives the node, so that its last messages leave.
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.Context))
	defer cancel()
	r, err := replica.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer r.Wait()
	defer cancel()
	if r.Wiped() != "" {
		_ = out.event("damaged", "the directory was damaged and put aside as "+r.Wiped()+": this node learns anew", "aside", r.Wiped())
	}
	if err := out.event("serving", fmt.Sprintf("node %v of cluster %s at %s", cfg.ID, cfg.Cluster, at),
		"id", uint64(cfg.ID), "cluster", cfg.Cluster, "address", at, "dir", cfg.Dir); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	run, done := context.WithCancel(c.Context)
	defer done()
	wg.Go(func() { keepEndpoints(run, r, cfg) })
	err = r.Run(run)
	if c.Context.Err() != nil && errors.Is(err, context.Canceled) {
		return out.event("stopped", "", "id", uint64(cfg.ID))
	}
	return err
}

// endpointsEvery is how often a node writes down which nodes it knows.
const endpointsEvery = 5 * time.Second

// keepEndpoints writes for clients on this machine which nodes there are.
func keepEndpoints(ctx context.Context, r *replica.Replica, cfg replica.Config) {
	var last []netip.AddrPort
	for {
		list := []netip.AddrPort{reachable(r.Addr())}
		for _, a := range cfg.Members {
			list = append(list, a)
		}
		if s, err := r.Status(ctx); err == nil && len(s.Addresses) > 0 {
			list = list[:1]
			for _, a := range s.Addresses {
				list = append(list, a)
			}
		}
		slices.SortFunc(list, netip.AddrPort.Compare)
		list = slices.Compact(list)
		if !slices.Equal(list, last) && writeEndpoints(cfg.Dir, list) == nil {
			last = list
		}
		select {
		case <-time.After(endpointsEvery):
		case <-ctx.Done():
			return
		}
	}
}

// reachable returns where a listener can be reached from this machine.
func reachable(a netip.AddrPort) netip.AddrPort {
	if !a.Addr().IsUnspecified() {
		return a
	}
	if a.Addr().Is4() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Loopback(), a.Port())
}

// tellRoles prints whom the node follows, or that it leads.
func tellRoles(out *printer) func(fields map[string]any) error {
	return func(f map[string]any) error {
		text := fmt.Sprintf("%v, ballot %v", f["role"], f["ballot"])
		if l, _ := f["leader"].(uint64); l == 0 {
			text = "" // on the way to a leader
		} else if f["role"] != "leading" {
			text = fmt.Sprintf("%v node %d, ballot %v", f["role"], l, f["ballot"])
		}
		return out.event("role", text, "role", f["role"], "leader", f["leader"], "ballot", f["ballot"])
	}
}
