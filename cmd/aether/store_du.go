package main

import (
	"fmt"
	"path"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeDuCommand() *cli.Command {
	return &cli.Command{
		Name: "du", Usage: "add up sizes below a directory", ArgsUsage: "[/PATH...]",
		Description: "Sizes are those of the files; equal chunks are kept once, so the disk may hold less (see status).\n" +
			"JSON: usage {path, bytes, files}. Exit status: 1 when a /PATH is not there." + examples("aether store du -s /docs /photos", "aether store du -d 1"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.BoolFlag{Name: "summarize", Aliases: []string{"s"}, Usage: "print the total of each /PATH only"},
			&cli.IntFlag{Name: "max-depth", Aliases: []string{"d"}, Value: -1, DefaultText: "all", Usage: "print directories at most `N` levels down"},
			&cli.BoolFlag{Name: "bytes", Aliases: []string{"b"}, Usage: "print plain numbers"}},
		Action: func(c *cli.Context) error {
			paths := c.Args().Slice()
			if len(paths) == 0 {
				paths = []string{"/"}
			}
			depth := c.Int("max-depth")
			if c.Bool("summarize") {
				depth = 0
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				for _, top := range paths {
					u := usageSum{p: p, depth: depth, plain: c.Bool("bytes")}
					if err := u.sum(c, m, path.Clean("/"+top)); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

// usageSum adds up sizes. Directories come before what they hold, and one after the
// other in the order of names, so that those that are open form a stack.
type usageSum struct {
	p     *printer
	depth int
	plain bool
	open  []usageOf
}

type usageOf struct {
	path  string
	bytes int64
	files int64
}

func (u *usageSum) sum(c *cli.Context, m *node.Client, top string) error {
	u.open = []usageOf{{path: top}}
	err := m.List(c.Context, top, true, func(l node.Listing) error {
		for len(u.open) > 1 && u.open[len(u.open)-1].path != path.Dir(l.Path) {
			if err := u.close(); err != nil {
				return err
			}
		}
		if l.Kind == "dir" {
			u.open = append(u.open, usageOf{path: l.Path})
			return nil
		}
		last := &u.open[len(u.open)-1]
		last.bytes, last.files = last.bytes+l.Size, last.files+1
		return nil
	})
	for err == nil && len(u.open) > 0 {
		err = u.close()
	}
	return err
}

// close prints the last directory that is open and adds it to the one above.
func (u *usageSum) close() error {
	n := len(u.open) - 1
	d := u.open[n]
	u.open = u.open[:n]
	if n > 0 {
		u.open[n-1].bytes += d.bytes
		u.open[n-1].files += d.files
	}
	if u.depth >= 0 && n > u.depth {
		return nil
	}
	size := formatBytes(d.bytes)
	if u.plain {
		size = fmt.Sprint(d.bytes)
	}
	return u.p.event("usage", fmt.Sprintf("%12s  %s", size, d.path), "path", d.path, "bytes", d.bytes, "files", d.files)
}
