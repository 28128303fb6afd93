package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeWhereCommand() *cli.Command {
	return &cli.Command{
		Name: "where", Usage: "which machines keep a file, and which have it now", ArgsUsage: "/PATH...",
		Description: "JSON: where {path, size, wanted, copies, author, modified, holders, cached}. Exit status: 1 when a /PATH is\n" +
			"not there or a directory." + examples("aether store where /docs/report.pdf"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usage("want /PATH")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				for _, path := range c.Args().Slice() {
					w, err := m.Where(c.Context, path)
					if err != nil {
						return err
					}
					if err := p.event("where", whereText(w), "path", w.Path, "size", w.Size, "wanted", w.Wanted, "copies", w.Copies,
						"author", w.Author, "modified", w.Modified, "holders", w.Holders, "cached", w.Cached); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func whereText(w node.Where) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s, written by %s %s; %d of %s\n", w.Path, formatBytes(w.Size), w.Author, w.Modified.Local().Format(time.DateTime),
		w.Copies, counted(int64(w.Wanted), "copy", "copies"))
	for _, h := range w.Holders {
		state := "has it"
		if !h.Has {
			state = "is to get it"
		}
		switch {
		case h.Self:
			state += " (this machine)"
		case !h.Connected:
			state += ", away"
		}
		fmt.Fprintf(&b, "  %s %-16s %s\n", h.ID.Short(), h.Name, state)
	}
	if w.Cached {
		fmt.Fprintf(&b, "  all of it is in the cache of this machine, too\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

func storeWhyCommand() *cli.Command {
	return &cli.Command{
		Name: "why", Usage: "why these machines keep a file and not others", ArgsUsage: "/PATH",
		Description: "All machines in the order in which they are to keep the file: by a score that follows from the file's first\n" +
			"chunks, the machine and its weight, the least first. Every machine computes the same order.\n" +
			"JSON: why {path, key, wanted, order}. Exit status: 1 when /PATH is not there or a directory." +
			examples("aether store why /docs/report.pdf"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("want one /PATH")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				w, err := m.Why(c.Context, c.Args().First())
				if err != nil {
					return err
				}
				return p.event("why", whyText(w), "path", w.Path, "key", w.Key, "wanted", w.Wanted, "order", w.Order)
			})
		},
	}
}

func whyText(w node.Why) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s wanted; key %s\n", w.Path, counted(int64(w.Wanted), "copy", "copies"), w.Key)
	fmt.Fprintf(&b, "  %-7s %-16s %7s %9s\n", "", "machine", "weight", "score")
	for _, ch := range w.Order {
		mark, kind := " ", ""
		if ch.Holder {
			mark = "*"
		}
		if ch.Laptop {
			kind = "; a laptop"
		}
		fmt.Fprintf(&b, "%s %s %-16s %6.1f%% %9.3f  %s%s\n", mark, ch.ID.Short(), ch.Name, ch.Weight*100, ch.Score, ch.Reason, kind)
	}
	return strings.TrimRight(b.String(), "\n")
}
