package main

import (
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeFlushCommand() *cli.Command {
	return &cli.Command{
		Name: "flush", Usage: "wait until files have all their copies", ArgsUsage: "[/PATH]",
		Description: "Waits until /PATH, and all that is below it, is on as many machines as it shall be; all files where no\n" +
			"/PATH is given. Exit status: 1 when --timeout passes first or /PATH is not there." +
			examples("aether store flush /docs", "aether store put thesis.tex /docs/ && aether store flush --timeout 1m"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usage("want at most one /PATH")
			}
			path := c.Args().First()
			if path == "" {
				path = "/"
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				if err := m.Flush(c.Context, path); err != nil {
					return err
				}
				return p.event("flushed", "", "path", path)
			})
		},
	}
}
