package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeStatCommand() *cli.Command {
	return &cli.Command{
		Name: "stat", Usage: "everything that is known of a file", ArgsUsage: "/PATH...",
		Description: "JSON: stat {path, kind, size, modified, copies, conflict, id, mode, content, author, holders, attributes}.\n" +
			"Exit status: 1 when a /PATH is not there." + examples("aether store stat /docs/report.pdf"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), atFlag()},
		Action: func(c *cli.Context) error {
			return eachPathAt(c, func(c *cli.Context, m *node.Client, p *printer, path string, at time.Time) error {
				s, err := m.Stat(c.Context, path, at)
				if err != nil {
					return err
				}
				return p.event("stat", statText(s), "path", s.Path, "kind", s.Kind, "size", s.Size, "modified", s.Modified,
					"copies", s.Copies, "conflict", s.Conflict, "id", s.ID, "mode", fmt.Sprintf("%o", s.Mode), "content", s.Content,
					"author", s.Author, "holders", s.Holders, "attributes", s.Attributes)
			})
		},
	}
}

func statText(s node.FileStatus) string {
	var b strings.Builder
	line := func(key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", key, value)
		}
	}
	line("path", s.Path)
	line("kind", s.Kind)
	if s.Kind == "file" {
		line("size", fmt.Sprintf("%d (%s)", s.Size, formatBytes(s.Size)))
	}
	line("modified", s.Modified.Local().Format(time.DateTime))
	line("mode", fmt.Sprintf("%04o", s.Mode&0o7777))
	line("id", s.ID)
	if s.Kind == "file" {
		line("content", s.Content)
		line("author", s.Author)
		line("holders", strings.Join(s.Holders, ", "))
		line("copies", fmt.Sprint(s.Copies))
	}
	line("attributes", strings.Join(s.Attributes, ", "))
	if s.Conflict {
		line("conflict", "two machines wrote it without knowing of each other: this is the earlier version")
	}
	return strings.TrimRight(b.String(), "\n")
}
