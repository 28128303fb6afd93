package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storePlanCommand() *cli.Command {
	return &cli.Command{
		Name: "plan", Usage: "what would move if a machine joined or left; nothing is changed",
		Description: "Says how many bytes would be copied, from where to where, for how long, and whether all copies would still\n" +
			"have room. Both flags together: one machine takes the place of another.\n" +
			"JSON: plan {files, bytes, rate, seconds, moves, homeless, homeless_bytes, fits, last, total, free, total_now,\n" +
			"free_now}. Exit status: 1 when copies would have no room, or the machine is not known." +
			examples("aether store plan --add 2TiB", "aether store plan --remove alice", "aether store plan --remove alice --add 4TiB --rate 30MB"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.StringFlag{Name: "add", Usage: "a machine joins that sets `BYTES` aside"},
			&cli.StringFlag{Name: "remove", Usage: "the machine `NAME` (or its ID) leaves"},
			&cli.StringFlag{Name: "rate", Usage: "`BYTES` that can be copied in a second", DefaultText: "100MB, a gigabit network"}},
		Action: func(c *cli.Context) error {
			ch := node.Change{Remove: c.String("remove")}
			for name, to := range map[string]*int64{"add": &ch.Add, "rate": &ch.Rate} {
				if s := c.String(name); s != "" {
					n, err := parseBytes(s)
					if err != nil || n <= 0 {
						return usage("--%s: want BYTES, not %q", name, s)
					}
					*to = n
				}
			}
			if c.NArg() != 0 || ch.Add == 0 && ch.Remove == "" {
				return usage("want --add BYTES or --remove NAME")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				pl, err := m.Plan(c.Context, ch)
				if err != nil {
					return err
				}
				err = p.event("plan", planText(pl), "files", pl.Files, "bytes", pl.Bytes, "rate", pl.Rate, "seconds", pl.Seconds, "moves", pl.Moves,
					"homeless", pl.Homeless, "homeless_bytes", pl.HomelessBytes, "fits", pl.Fits, "last", pl.Last,
					"total", pl.Total, "free", pl.Free, "total_now", pl.TotalNow, "free_now", pl.FreeNow)
				if err == nil && !pl.Fits {
					err = fmt.Errorf("%s of copies would have no room", formatBytes(pl.HomelessBytes))
				}
				return err
			})
		},
	}
}

func planText(p node.Plan) string {
	var b strings.Builder
	wait := (time.Duration(p.Seconds * float64(time.Second))).Round(time.Second)
	fmt.Fprintf(&b, "to copy  %s of %s, about %s at %s/s\n", formatBytes(p.Bytes), counted(p.Files, "file", "files"), wait, formatBytes(p.Rate))
	for _, mv := range p.Moves {
		fmt.Fprintf(&b, "         %10s  %s to %s\n", formatBytes(mv.Bytes), mv.From, mv.To)
	}
	fmt.Fprintf(&b, "drive    %s, %s free; now %s, %s free\n", formatBytes(p.Total), formatBytes(p.Free), formatBytes(p.TotalNow), formatBytes(p.FreeNow))
	if p.Fits {
		fmt.Fprintf(&b, "all copies have room\n")
	} else {
		fmt.Fprintf(&b, "no room for a copy of %s, %s\n", counted(p.Homeless, "file", "files"), formatBytes(p.HomelessBytes))
	}
	if p.Last > 0 {
		fmt.Fprintf(&b, "%s nowhere else: let them be copied before the machine goes (aether store leave does)\n", counted(p.Last, "file is", "files are"))
	}
	return strings.TrimRight(b.String(), "\n")
}
