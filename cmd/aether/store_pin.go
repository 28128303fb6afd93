package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storePinCommand() *cli.Command {
	return &cli.Command{
		Name: "pin", Usage: "keep a copy of files on this machine, whatever else happens", ArgsUsage: "[/PATH...]",
		Description: "Keeps a copy of each /PATH on this machine, besides the machines that keep it anyway: of a directory also all\n" +
			"that comes into it later. The copies are fetched in the background; wait for them with pin --list or status.\n" +
			"A pin follows what it names when that is moved. With --list, or without /PATH, shows what is pinned and how many\n" +
			"files are missing here still. JSON: pinned {path}; with --list pin {path, files, bytes, missing}.\n" +
			"Exit status: 1 when a /PATH is not there." +
			examples("aether store pin /photos", "aether store pin --list"),
		Flags: []cli.Flag{dirFlag(), &cli.BoolFlag{Name: "list", Aliases: []string{"l"}, Usage: "show what is pinned"}},
		Action: func(c *cli.Context) error {
			if c.Bool("list") && c.NArg() > 0 {
				return usage("--list takes no /PATH")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				if c.NArg() == 0 {
					return storePins(c, m, p)
				}
				for _, path := range c.Args().Slice() {
					if err := m.Pin(c.Context, path); err != nil {
						return err
					}
					if err := p.event("pinned", "", "path", path); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// storePins shows what is pinned.
func storePins(c *cli.Context, m *node.Client, p *printer) error {
	n := 0
	err := m.Pins(c.Context, func(pin node.Pin) error {
		n++
		state := "here"
		if pin.Missing > 0 {
			state = fmt.Sprintf("%d files to come", pin.Missing)
		}
		return p.event("pin", fmt.Sprintf("%-30s %7d files %10s  %s", pin.Path, pin.Files, formatBytes(pin.Bytes), state),
			"path", pin.Path, "files", pin.Files, "bytes", pin.Bytes, "missing", pin.Missing)
	})
	if err == nil && n == 0 && !c.Bool("json") {
		err = p.event("pin", "nothing is pinned")
	}
	return err
}

func storeUnpinCommand() *cli.Command {
	return &cli.Command{
		Name: "unpin", Usage: "take a pin back", ArgsUsage: "/PATH...",
		Description: "Ends what aether store pin began. The bytes stay until room is wanted for something else.\n" +
			"JSON: unpinned {path}. Exit status: 1 when a /PATH was not pinned itself." +
			examples("aether store unpin /photos"),
		Flags: []cli.Flag{dirFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usage("want at least one /PATH")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				for _, path := range c.Args().Slice() {
					if err := m.Unpin(c.Context, path); err != nil {
						return err
					}
					if err := p.event("unpinned", "", "path", path); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}
