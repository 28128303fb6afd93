package main

import (
	"errors"
	"path"
	"strings"

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
					return err
				}
				return p.event("copied", "", "from", from, "path", to)
			})
		},
	}
}

// intoDirectory returns where from goes when it is moved or copied to the path to.
func intoDirectory(c *cli.Context, m *node.Client, from, to string) (string, error) {
	err := m.List(c.Context, to, false, func(l node.Listing) error {
		if l.Path == path.Clean(to) {
			return errFound // a file: its listing is itself
		}
		return nil
	})
	switch {
	case err == nil:
		return path.Join(to, path.Base(path.Clean(from))), nil
	case errors.Is(err, errFound), errors.Is(err, store.ErrNotFound) && !strings.HasSuffix(to, "/"):
		return to, nil
	default:
		return "", err
	}
}
