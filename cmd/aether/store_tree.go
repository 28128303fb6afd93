package main

import (
	"path"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeTreeCommand() *cli.Command {
	return &cli.Command{
		Name: "tree", Usage: "draw what lies below a directory", ArgsUsage: "[/PATH]",
		Description: "JSON: entry {path, kind, size, modified, copies, conflict}. Exit status: 1 when /PATH is not there." +
			examples("aether store tree /docs", "aether store tree -L 2"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), atFlag(),
			&cli.IntFlag{Name: "level", Aliases: []string{"L"}, Usage: "go down `N` levels at most; 0 goes to the end"},
			&cli.BoolFlag{Name: "size", Aliases: []string{"s"}, Usage: "show sizes"}},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usage("want at most one /PATH")
			}
			at, err := instantFlag(c)
			if err != nil {
				return err
			}
			root := path.Clean("/" + c.Args().First())
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				d := drawing{p: p, sizes: c.Bool("size"), levels: c.Int("level"), root: root}
				if err := p.line(root); err != nil && !p.json {
					return err
				}
				if err := m.ListAt(c.Context, root, at, true, d.add); err != nil {
					return err
				}
				return d.end()
			})
		},
	}
}

// drawing draws a listing as a tree. Whether an entry is the last of its directory is
// known only when the next one has come that is not below it, so the lines of what may
// still have a brother wait.
type drawing struct {
	p      *printer
	sizes  bool
	levels int
	root   string

	waiting     []node.Listing // an entry and all that is below it, for each open level
	dirs, files int
}

func (d *drawing) depth(p string) int {
	return strings.Count(strings.TrimPrefix(strings.TrimPrefix(p, d.root), "/"), "/") + 1
}

func (d *drawing) add(l node.Listing) error {
	if d.levels > 0 && d.depth(l.Path) > d.levels {
		return nil
	}
	if l.Kind == "dir" {
		d.dirs++
	} else {
		d.files++
	}
	if d.p.json {
		return d.p.event("entry", "", "path", l.Path, "kind", l.Kind, "size", l.Size, "modified", l.Modified, "copies", l.Copies, "conflict", l.Conflict)
	}
	d.waiting = append(d.waiting, l)
	return nil
}

// end draws everything.
func (d *drawing) end() error {
	last := make([]bool, len(d.waiting))
	open := map[int]bool{} // a later entry of that depth is in the same directory
	for i := len(d.waiting) - 1; i >= 0; i-- {
		n := d.depth(d.waiting[i].Path)
		last[i] = !open[n]
		open[n] = true
		for deeper := n + 1; open[deeper]; deeper++ {
			delete(open, deeper)
		}
	}
	var bars []string
	for i, l := range d.waiting {
		n := d.depth(l.Path)
		bars = append(bars[:min(len(bars), n-1)], make([]string, max(0, n-1-len(bars)))...)
		branch, bar := "├── ", "│   "
		if last[i] {
			branch, bar = "└── ", "    "
		}
		text := strings.Join(bars, "") + branch + path.Base(l.Path)
		if d.sizes && l.Kind == "file" {
			text += "  " + formatBytes(l.Size)
		}
		if err := d.p.line(text); err != nil {
			return err
		}
		bars = append(bars, bar)
	}
	if d.p.json {
		return d.p.event("total", "", "directories", d.dirs, "files", d.files)
	}
	return d.p.line("\n" + counted(int64(d.dirs), "directory", "directories") + ", " + counted(int64(d.files), "file", "files"))
}
