package main

import (
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeWarmCommand() *cli.Command {
	return &cli.Command{
		Name: "warm", Usage: "bring files to this machine now, so that reading them later needs no network", ArgsUsage: "/PATH",
		Description: "Fetches all bytes at and below /PATH that are not on this machine into its cache. What is cached goes when room\n" +
			"is wanted; to keep it use pin. JSON: warmed {path, files, bytes}.\n" +
			"Exit status: 1 when some cannot be reached, --timeout passes first or /PATH is not there." +
			examples("aether store warm /music/travel"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), &cli.BoolFlag{Name: "no-progress", Usage: "show no progress on a terminal"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("want one /PATH")
			}
			path := c.Args().First()
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				last, err := withProgress(c, "warm", func(tell func(node.Progress)) error { return m.Warm(c.Context, path, tell) })
				if err != nil {
					return err
				}
				return p.event("warmed", "", "path", path, "files", last.TotalFiles, "bytes", last.TotalBytes)
			})
		},
	}
}

// withProgress shows what run tells on a terminal, and returns what it told last.
func withProgress(c *cli.Context, verb string, run func(tell func(node.Progress)) error) (last node.Progress, err error) {
	bar := newProgress(c, verb)
	err = run(func(at node.Progress) {
		bar.total(at.TotalBytes)
		bar.add(at.Bytes - last.Bytes)
		bar.files.Store(at.Files)
		last = at
	})
	bar.end()
	return last, err
}
