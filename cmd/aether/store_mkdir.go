package main

import (
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeMkdirCommand() *cli.Command {
	return &cli.Command{
		Name: "mkdir", Usage: "make directories", ArgsUsage: "/PATH...",
		Description: "Exit status: 1 when a directory exists or its parent does not." + examples("aether store mkdir -p /docs/2026"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.BoolFlag{Name: "parents", Aliases: []string{"p"}, Usage: "make parents as well; existing directories are no error"}},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usage("want /PATH")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				for _, dir := range c.Args().Slice() {
					if err := m.Mkdir(c.Context, dir, c.Bool("parents")); err != nil {
						return err
					}
					if err := p.event("made", "", "path", dir); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
