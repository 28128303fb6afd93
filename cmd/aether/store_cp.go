package main

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/node"
)

func storeCpCommand() *cli.Command {
	return &cli.Command{
		Name: "cp", Usage: "copy a file or directory within the drive", ArgsUsage: "/FROM /TO",
		Description: "Copies /FROM, a directory with all that is in it, into /TO when that is a directory, else under that name.\n" +
			"No bytes are copied: both are made of the same chunks. A file there is replaced.\n" +
			"Exit status: 1 when it cannot be done." + examples("aether store cp /docs /docs-before"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "accepted for the sake of habit: directories are always copied whole"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage("want /FROM and /TO")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				from, to := c.Args().Get(0), c.Args().Get(1)
				to, err := intoDirectory(c, m, from, to)
				if err != nil {
					return err
				}
				if err := m.Copy(c.Context, from, to); err != nil {
					return missing(c, m, from, to, err)
				}
				return p.event("copied", "", "from", from, "path", to)
			})
		},
	}
}

// intoDirectory returns where from goes when it is moved or copied to the path to.
func intoDirectory(c *cli.Context, m *node.Client, from, to string) (string, error) {
	at, err := m.Stat(c.Context, to, time.Time{})
	switch {
	case err == nil && at.Kind == "dir":
		return path.Join(to, path.Base(path.Clean(from))), nil
	case err == nil, errors.Is(err, store.ErrNotFound) && !strings.HasSuffix(to, "/"):
		return to, nil
	default:
		return "", err
	}
}

// missing says which of the two paths of a copy or move is not there.
func missing(c *cli.Context, m *node.Client, from, to string, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if _, serr := m.Stat(c.Context, from, time.Time{}); serr != nil {
		return serr
	}
	return fmt.Errorf("%s: %w", path.Dir(path.Clean(to)), store.ErrNotFound)
}
