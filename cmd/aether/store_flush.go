package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeFlushCommand() *cli.Command {
	return &cli.Command{
		Name: "flush", Usage: "wait until files have all their copies", ArgsUsage: "[/PATH]",
		Description: "Waits until /PATH, and all that is below it, is on as many machines as it shall be; all files where no\n" +
			"/PATH is given. On a terminal it shows how far it is. JSON: flushed {path, files, bytes}.\n" +
			"Exit status: 1 when --timeout passes first or /PATH is not there." +
			examples("aether store flush /docs", "aether store put thesis.tex /docs/ && aether store flush --timeout 1m"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), &cli.BoolFlag{Name: "no-progress", Usage: "show no progress on a terminal"}},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usage("want at most one /PATH")
			}
			path := c.Args().First()
			if path == "" {
				path = "/"
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				last, err := withProgress(c, "flush", func(tell func(node.Progress)) error { return m.FlushTelling(c.Context, path, tell) })
				if err != nil {
					if err = withCause(c.Context, err); errors.Is(err, errTimeout) && last.TotalFiles > 0 {
						err = fmt.Errorf("%v: %d of %d files have all their copies", err, last.Files, last.TotalFiles) //nolint:errorlint // withMachine would say only why
					}
					return err
				}
				return p.event("flushed", "", "path", path, "files", last.TotalFiles, "bytes", last.TotalBytes)
			})
		},
	}
}
