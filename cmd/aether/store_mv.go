package main

import (
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeMvCommand() *cli.Command {
	return &cli.Command{
		Name: "mv", Usage: "rename or move a file or directory", ArgsUsage: "/FROM /TO",
		Description: "Moves /FROM into /TO when that is a directory, else gives it that path. A file there is replaced.\n" +
			"A directory moves at once however much it holds. Exit status: 1 when it cannot be done." +
			examples("aether store mv /docs/a.txt /docs/b.txt"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage("want /FROM and /TO")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				return storeMv(c, m, p, c.Args().Get(0), c.Args().Get(1))
			})
		},
	}
}

func storeMv(c *cli.Context, m *node.Client, p *printer, from, to string) error {
	to, err := intoDirectory(c, m, from, to)
	if err != nil {
		return err
	}
	if err := m.Rename(c.Context, from, to); err != nil {
		return missing(c, m, from, to, err)
	}
	return p.event("moved", "", "from", from, "path", to)
}
