package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "write the manual page", ArgsUsage: "DIR",
		Description: "Writes aether.1 into the directory DIR, which must exist." + examples("aether man /usr/local/share/man/man1"),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("want one DIR")
			}
			p, err := newPrinter(c)
			if err != nil {
				return err
			}
			page, err := c.App.ToManWithSection(1)
			if err != nil {
				return fmt.Errorf("man: %w", err)
			}
			file := filepath.Join(c.Args().First(), "aether.1")
			if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
				return fmt.Errorf("man: %w", err)
			}
			return p.event("written", file, "file", file)
		},
	}
}
