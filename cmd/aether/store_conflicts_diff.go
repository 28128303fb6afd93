package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

// diffMax is the size from which files are not compared line by line.
const diffMax = 8 << 20

func conflictsDiffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "show what a conflict copy has that its file has not", ArgsUsage: "/PATH...",
		Description: "Compares the file with its conflict copy at /PATH, or with all those of the file /PATH, line by line where both are text (UTF-8, at most 8 MiB).\n" +
			"Lines with - are in the file, lines with + in the copy: keep would change the file in this way.\n" +
			"JSON: diff {path, of, equal, binary, diff, size, of_size}. Exit status: 1 when a /PATH has no conflict copy." +
			examples("aether store conflicts diff /docs/plan.txt", "aether store conflicts diff '/docs/plan (conflict 2025-01-31 1405 abcdefg-12).txt'"),
		Flags:        []cli.Flag{dirFlag(), timeoutFlag()},
		BashComplete: completeConflicts,
		Action: func(c *cli.Context) error {
			return eachConflict(c, func(c *cli.Context, m *node.Client, p *printer, found []node.Conflict) error {
				for _, k := range found {
					if err := diffConflict(c, m, p, k); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
}

func diffConflict(c *cli.Context, m *node.Client, p *printer, k node.Conflict) error {
	theirs, err := textOf(c, m, k.Path, k.Size)
	if err != nil {
		return err
	}
	var ours []byte // nothing, where there is no file
	if k.OfSize >= 0 {
		if ours, err = textOf(c, m, k.Of, k.OfSize); err != nil {
			return err
		}
	}
	if theirs == nil || ours == nil && k.OfSize >= 0 {
		of := "no file any more"
		if k.OfSize >= 0 {
			of = formatBytes(k.OfSize)
		}
		text := fmt.Sprintf("not text: %s: %s; %s: %s", k.Of, of, k.Path, formatBytes(k.Size))
		return p.event("diff", text, "path", k.Path, "of", k.Of, "binary", true, "size", k.Size, "of_size", k.OfSize)
	}
	d := string(diff.Diff(k.Of, ours, k.Path, theirs))
	_, d, _ = strings.Cut(d, "\n") // the line that names a command
	text := strings.TrimSuffix(d, "\n")
	if text == "" {
		text = k.Path + " and " + k.Of + " have the same bytes"
	}
	return p.event("diff", text, "path", k.Path, "of", k.Of, "equal", bytes.Equal(ours, theirs), "binary", false, "diff", d,
		"size", k.Size, "of_size", k.OfSize)
}

// textOf returns a file's bytes where they are text, nil where they are not.
func textOf(c *cli.Context, m *node.Client, path string, size int64) ([]byte, error) {
	if size > diffMax {
		return nil, nil
	}
	r, err := m.Cat(c.Context, path, time.Time{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, diffMax+1))
	if err != nil {
		return nil, err
	}
	if len(b) > diffMax || !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return nil, nil
	}
	return append([]byte{}, b...), nil
}
