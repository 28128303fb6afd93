package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeReplicasCommand() *cli.Command {
	return &cli.Command{
		Name: "replicas", Usage: "show or set how many machines keep what lies in a directory", ArgsUsage: "[N | default] /PATH",
		Description: "N holds for /PATH and what lies below it, except where a directory has a number of its own; it may be\n" +
			"changed at any time, and copies are made or given up in the background (see status). For / it holds for\n" +
			"the pool and goes before --copies. \"default\" takes back what was said of a directory. Where there are fewer\n" +
			"than N machines all of them keep a copy, and those that join make up for it.\n" +
			"JSON: replicas {path, from, copies, machines}. Exit status: 1 when /PATH is not there or no directory." +
			examples("aether store replicas 3 /photos", "aether store replicas /photos/2024", "aether store replicas default /photos"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 || c.NArg() > 2 {
				return usage("want [N] /PATH")
			}
			n, path := -1, c.Args().Get(c.NArg()-1)
			if c.NArg() == 2 {
				var err error
				if s := c.Args().First(); s == "default" {
					n = 0
				} else if n, err = strconv.Atoi(s); err != nil || n < 1 || n > node.MaxReplicas {
					return usage("want 1 to %d copies or default, not %q", node.MaxReplicas, s)
				}
			}
			if !strings.HasPrefix(path, "/") {
				return usage("paths in the drive begin with /: %q", path)
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				var r node.Replicas
				var err error
				if n >= 0 {
					r, err = m.SetReplicas(c.Context, path, n)
				} else {
					r, err = m.Replicas(c.Context, path)
				}
				if err != nil {
					return err
				}
				return p.event("replicas", replicasText(r), "path", r.Path, "from", r.From, "copies", r.Copies, "machines", r.Machines)
			})
		},
	}
}

func replicasText(r node.Replicas) string {
	text := fmt.Sprintf("%s: %s", r.Path, counted(int64(r.Copies), "copy", "copies"))
	switch {
	case r.From == "":
		text += " (--copies of this machine)"
	case r.From != r.Path:
		text += fmt.Sprintf(" (set for %s)", r.From)
	}
	if r.Machines < r.Copies {
		text += fmt.Sprintf("; there are only %s, and each keeps one", counted(int64(r.Machines), "machine", "machines"))
	}
	return text
}
