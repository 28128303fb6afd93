package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeCatCommand() *cli.Command {
	return &cli.Command{
		Name: "cat", Usage: "write files to standard output", ArgsUsage: "/PATH...",
		Description: "Exit status: 1 when a file is not there or not on any machine that can be reached." +
			examples("aether store cat /docs/notes.txt"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), atFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usage("want /PATH")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, _ *printer) error {
				for _, p := range c.Args().Slice() {
					if err := storeCat(c, m, p); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func storeCat(c *cli.Context, m *node.Client, p string) error {
	at, err := instantFlag(c)
	if err != nil {
		return err
	}
	r, err := m.Cat(c.Context, p, at)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(c.App.Writer, r); err != nil {
		return fmt.Errorf("cat %s: %w", p, err)
	}
	return nil
}
