package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeStatusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "is my data safe? machines, files, copies, space",
		Description: "JSON: status {pool, machine, name, dir, running, listen, webdav, machines, files, bytes, copies,\n" +
			"fully_replicated, pending, conflicts, space}. Exit status: 1 when there is no machine, or when\n" +
			"--wait-machines is given and --timeout passes first." +
			examples("aether store status", "aether store status --wait-machines 2 --timeout 30s"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.IntFlag{Name: "wait-machines", Usage: "wait until `N` machines, this one included, are connected"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("status takes no arguments")
			}
			return withMachine(c, storeStatus)
		},
	}
}

// statusInterval is how often --wait-machines looks.
const statusInterval = 100 * time.Millisecond

func storeStatus(c *cli.Context, m *node.Client, p *printer) error {
	for {
		s, err := m.Status(c.Context)
		if err != nil {
			return err
		}
		if connected(s) >= c.Int("wait-machines") {
			return p.event("status", statusText(s), "pool", s.Pool, "machine", s.Machine, "name", s.Name, "dir", s.Dir,
				"running", s.Running, "listen", s.Listen, "webdav", s.WebDAV, "machines", s.Machines, "files", s.Files, "bytes", s.Bytes,
				"copies", s.Copies, "fully_replicated", s.FullyReplicated, "pending", s.Pending, "conflicts", s.Conflicts, "space", s.Space)
		}
		select {
		case <-c.Context.Done():
			return c.Context.Err()
		case <-time.After(statusInterval):
		}
	}
}

// connected counts the machines that can be talked to, this one included. One that
// has not yet introduced itself has no name and does not count.
func connected(s node.Status) (n int) {
	for _, m := range s.Machines {
		if (m.Connected || m.Self) && m.Name != "" {
			n++
		}
	}
	return n
}

func statusText(s node.Status) string {
	var b strings.Builder
	share := 100.0
	if s.Files > 0 {
		share = float64(s.FullyReplicated) / float64(s.Files) * 100
	}
	fmt.Fprintf(&b, "pool    %s\n", s.Pool)
	fmt.Fprintf(&b, "files   %d, %s; %.4g%% have %d copies; %d to fetch; %d conflicts\n", s.Files, formatBytes(s.Bytes), share, s.Copies, s.Pending, s.Conflicts)
	fmt.Fprintf(&b, "space   %s replicas, %s cache, %s free of %s\n", formatBytes(s.Space.Replicas), formatBytes(s.Space.Cache), formatBytes(s.Space.Free), formatBytes(s.Space.Total))
	fmt.Fprintf(&b, "        %s\n", spaceBar(s.Space, 50))
	for _, m := range s.Machines {
		state := "away"
		switch {
		case m.Self && s.Running:
			state = "this machine, running"
		case m.Self:
			state = "this machine, no node runs"
		case m.Connected:
			state = "connected at " + m.Address
		case !m.LastSeen.IsZero():
			state = "away since " + m.LastSeen.Local().Format(time.DateTime)
		}
		fmt.Fprintf(&b, "machine %s %-16s %10s  %s\n", m.ID.Short(), m.Name, formatBytes(int64(m.Space)), state)
	}
	return strings.TrimRight(b.String(), "\n")
}

// spaceBar draws replicas, cache and free room.
func spaceBar(s node.Space, width int) string {
	if s.Total <= 0 {
		return ""
	}
	part := func(n int64) int { return int(float64(n) / float64(s.Total) * float64(width)) }
	r, c := part(s.Replicas), part(s.Cache)
	return "[" + strings.Repeat("#", r) + strings.Repeat("+", c) + strings.Repeat(".", max(0, width-r-c)) + "] # replicas + cache"
}
