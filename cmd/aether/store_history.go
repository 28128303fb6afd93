package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeHistoryCommand() *cli.Command {
	return &cli.Command{
		Name: "history", Usage: "what a path led to, also when it is gone", ArgsUsage: "/PATH",
		Description: "The newest comes first. Old versions and removed files are kept for 30 days, or until their room is wanted.\n" +
			"`get --at` and `cat --at` bring one back, `undo` makes it the present one.\n" +
			"JSON: version {path, kind, size, from, to, why, author, by, modified}. Exit status: 1 when /PATH never led to anything." +
			examples("aether store history /docs/report.pdf"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("want one /PATH")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				return m.History(c.Context, c.Args().First(), func(v node.Version) error {
					kv := []any{"path", v.Path, "kind", v.Kind, "size", v.Size, "from", v.From}
					if !v.To.IsZero() {
						kv = append(kv, "to", v.To, "why", v.Why, "by", v.By)
					}
					return p.event("version", versionText(v), append(kv, "author", v.Author, "modified", v.Modified)...)
				})
			})
		},
	}
}

func versionText(v node.Version) string {
	end := "now"
	if !v.To.IsZero() {
		end = v.To.Local().Format(time.DateTime)
	}
	size := formatBytes(v.Size)
	if v.Kind == "dir" {
		size = "directory"
	}
	text := fmt.Sprintf("%s  to  %-19s  %10s  %s", v.From.Local().Format(time.DateTime), end, size, v.Author)
	if v.Why != "" {
		text += "  " + v.Why + " by " + v.By
	}
	return text
}

func storeUndoCommand() *cli.Command {
	return &cli.Command{
		Name: "undo", Usage: "bring back what a path led to", ArgsUsage: "/PATH...",
		Description: "Takes back the last change of /PATH: the version before the last save, or what was removed, a directory\n" +
			"with all that lay in it. With --at it becomes what it was at that time. Where another file has the name now, the\n" +
			"restored one appears beside it. Undoing an undo works.\n" +
			"JSON: restored {path, as}. Exit status: 1 when there is nothing to bring back." +
			examples("aether store undo /docs", "aether store undo --at 14:05 /docs/report.pdf"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), atFlag()},
		Action: func(c *cli.Context) error {
			return eachPathAt(c, func(c *cli.Context, m *node.Client, p *printer, path string, at time.Time) error {
				as, err := m.Restore(c.Context, path, at)
				if err != nil {
					return err
				}
				return p.event("restored", "restored "+as, "path", path, "as", as)
			})
		},
	}
}
