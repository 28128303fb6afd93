package main

import (
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeRmCommand() *cli.Command {
	return &cli.Command{
		Name: "rm", Usage: "remove files and directories", ArgsUsage: "/PATH...",
		Description: "Exit status: 1 when a path is not there, or is a directory with something in it and -r is not given." +
			examples("aether store rm /docs/old.txt", "aether store rm -r /photos/2019"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "remove directories with all that is in them"}},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usage("want /PATH")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				for _, name := range c.Args().Slice() {
					if err := m.Remove(c.Context, name, c.Bool("recursive")); err != nil {
						return err
					}
					if err := p.event("removed", "", "path", name); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
