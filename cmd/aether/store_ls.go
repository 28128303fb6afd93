package main

import (
	"fmt"
	"path"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeLsCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Usage: "list a directory of the drive", ArgsUsage: "[/PATH]",
		Description: "Lists /PATH, the root where none is given. Conflict copies are listed under the names they are shown by.\n" +
			"JSON: entry {path, kind, size, modified, copies, conflict}. Exit status: 1 when /PATH is not there." +
			examples("aether store ls /docs", "aether store ls -lr /", "aether store ls -r --json / | jq .path"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), atFlag(),
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "list everything below as well, with whole paths"},
			&cli.BoolFlag{Name: "long", Aliases: []string{"l"}, Usage: "show size, time and copies"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usage("want at most one /PATH")
			}
			p := c.Args().First()
			if p == "" {
				p = "/"
			}
			at, err := instantFlag(c)
			if err != nil {
				return err
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, pr *printer) error {
				return m.ListAt(c.Context, p, at, c.Bool("recursive"), func(l node.Listing) error {
					return pr.event("entry", listingText(l, c.Bool("long"), c.Bool("recursive")),
						"path", l.Path, "kind", l.Kind, "size", l.Size, "modified", l.Modified, "copies", l.Copies, "conflict", l.Conflict)
				})
			})
		},
	}
}

// listingText is a line of a listing for people.
func listingText(l node.Listing, long, whole bool) string {
	name := path.Base(l.Path)
	if whole {
		name = l.Path
	}
	if l.Kind == "dir" {
		name += "/"
	}
	if !long {
		return name
	}
	copies := "-"
	if l.Kind != "dir" {
		copies = fmt.Sprint(l.Copies)
	}
	return fmt.Sprintf("%12d  %s  %3s  %s", l.Size, l.Modified.Local().Format(time.DateTime), copies, name)
}
