package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/adrg/xdg"
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/replica"
)

// clusterFlags say which cluster is meant.
func clusterFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "cluster", Value: "aether", EnvVars: []string{"AETHER_PAXOS_CLUSTER"}, Usage: "`NAME` of the cluster"},
		&cli.StringFlag{Name: "secret-file", EnvVars: []string{"AETHER_PAXOS_SECRET_FILE"}, TakesFile: true,
			Usage: "`FILE` with what the machines of the cluster share; without, everybody who can connect belongs"},
	}, more...)
}

// clientFlags say which cluster to ask, and for how long.
func clientFlags(more ...cli.Flag) []cli.Flag {
	return clusterFlags(append([]cli.Flag{
		&cli.StringFlag{Name: "endpoints", Aliases: []string{"e"}, EnvVars: []string{"AETHER_PAXOS_ENDPOINTS"},
			Usage: "`HOST:PORT,...` of nodes to ask", DefaultText: "those that the nodes of this machine know"},
		&cli.DurationFlag{Name: "timeout", Value: defaultPatience, Usage: "give up after this `TIME`; 0 never does"},
	}, more...)...)
}

const defaultPatience = 10e9 // 10 s

// maxSecret bounds a secret file.
const maxSecret = 64 << 10

// clusterSecret reads --secret-file; white space at its ends does not count.
func clusterSecret(c *cli.Context) ([]byte, error) {
	name := c.String("secret-file")
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return nil, err
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" {
		return nil, fmt.Errorf("%s is empty: a secret must have something in it", name)
	}
	return []byte(secret), nil
}

// paxosRoot is where the nodes of a cluster on this machine have their directories.
func paxosRoot(cluster string) string {
	return filepath.Join(xdg.DataHome, "aether", "paxos", filepath.Base("/"+cluster))
}

// resolveEndpoint turns HOST:PORT into an address.
func resolveEndpoint(ctx context.Context, s string) (netip.AddrPort, error) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, usage("%q is not HOST:PORT", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" {
		return netip.AddrPort{}, usage("%q is not HOST:PORT", s)
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(list[0].Unmap(), uint16(n)), nil
}

// parsePeers reads 1=HOST:PORT,2=HOST:PORT.
func parsePeers(ctx context.Context, s string) (map[paxos.NodeID]netip.AddrPort, error) {
	peers := map[paxos.NodeID]netip.AddrPort{}
	for _, part := range strings.Split(s, ",") {
		id, at, ok := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.ParseUint(id, 10, 64)
		if !ok || err != nil || n == 0 {
			return nil, usage("--peers: %q is not ID=HOST:PORT with an ID from 1 on", part)
		}
		if _, double := peers[paxos.NodeID(n)]; double {
			return nil, usage("--peers: node %d twice", n)
		}
		a, err := resolveEndpoint(ctx, at)
		if err != nil {
			return nil, err
		}
		peers[paxos.NodeID(n)] = a
	}
	return peers, nil
}

// endpointsFile is where a node writes what nodes it knows, for clients on the same
// machine.
const endpointsFile = "endpoints.json"

func writeEndpoints(dir string, list []netip.AddrPort) error {
	b, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, endpointsFile), func(f *os.File) error {
		_, err := f.Write(append(b, '\n'))
		return err
	})
}

// errNoEndpoints says that nobody can be asked.
var errNoEndpoints = errors.New("no node of this cluster is known on this machine: say with --endpoints which to ask")

// endpoints returns whom to ask: --endpoints, or what this machine's nodes know.
func endpoints(c *cli.Context) (list []netip.AddrPort, err error) {
	if s := c.String("endpoints"); s != "" {
		return resolveEndpoints(c.Context, strings.Split(s, ","))
	}
	files, err := filepath.Glob(filepath.Join(paxosRoot(c.String("cluster")), "*", endpointsFile))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // of another user
		}
		var more []netip.AddrPort
		if json.Unmarshal(b, &more) == nil {
			for _, a := range more {
				if !slices.Contains(list, a) {
					list = append(list, a)
				}
			}
		}
	}
	if len(list) == 0 {
		return nil, errNoEndpoints
	}
	return list, nil
}

// withCluster runs f with a client of the cluster that the flags name, within
// --timeout.
func withCluster(c *cli.Context, f func(ctx context.Context, cl *replica.Client, list []netip.AddrPort, out *printer) error) error {
	k, err := clientOf(c, endpoints)
	if err != nil {
		return err
	}
	defer k.cancel()
	cl := replica.NewClient(replica.ClientConfig{Endpoints: k.list, Cluster: c.String("cluster"), Secret: k.secret})
	defer cl.Close()
	return paxosCause(k.ctx, f(k.ctx, cl, k.list, k.out))
}

// paxosCause says why a command that ran out of time got nowhere.
func paxosCause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	why := withCause(ctx, err)
	if errors.Is(why, errTimeout) && errors.Is(err, replica.ErrUnreachable) {
		return unreached(why, replica.ErrUnreachable, err)
	}
	if errors.Is(why, errTimeout) {
		return fmt.Errorf("%w: the cluster has no leader, or is busy; see aether paxos status", why)
	}
	return why
}
