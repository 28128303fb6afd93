package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeGcCommand() *cli.Command {
	return &cli.Command{
		Name: "gc", Usage: "give up old versions and what nothing leads to any more",
		Description: "A node does this by itself: it keeps old versions and removed files for 30 days, and gives them up sooner,\n" +
			"the oldest first, when their room is wanted. This does it now; --keep says how long to keep them.\n" +
			"JSON: collected {forgotten, kept, removed, bytes, freed}. Exit status: 1 when the disk fails." + examples("aether store gc", "aether store gc --keep 0s"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.StringFlag{Name: "keep", Usage: "keep old versions for this `TIME` (12h, 30d)", DefaultText: "what the machine keeps"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("gc takes no arguments")
			}
			keep := time.Duration(-1)
			if s := c.String("keep"); s != "" {
				var err error
				if keep, err = parseAge(s); err != nil {
					return usage("--keep: %v", err)
				}
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				r, err := m.Collect(c.Context, keep)
				if err != nil {
					return err
				}
				return p.event("collected", fmt.Sprintf("%d old versions given up, %d chunks removed (%s), %s given back to the disk",
					r.Forgotten, r.Removed, formatBytes(r.Bytes), formatBytes(r.Freed)),
					"forgotten", r.Forgotten, "kept", r.Kept, "removed", r.Removed, "bytes", r.Bytes, "freed", r.Freed)
			})
		},
	}
}
