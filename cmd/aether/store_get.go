package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeGetCommand() *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "bring files and directories back", ArgsUsage: "/PATH [LOCAL]",
		Description: "Copies /PATH, a directory with all that is in it, to LOCAL (the current directory where none is\n" +
			"given): into it when it is a directory, else under that name. A file appears under its name when it is whole.\n" +
			"Exit status: 1 when /PATH is not there or a part of it is on no machine that can be reached." +
			examples("aether store get /docs/report.pdf", "aether store get --at 2h /docs/report.pdf /tmp/before.pdf", "aether store get /photos /mnt/backup"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), atFlag(), &cli.BoolFlag{Name: "no-progress", Usage: "show no progress on a terminal"}},
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 || c.NArg() > 2 {
				return usage("want /PATH and at most one LOCAL")
			}
			local := c.Args().Get(1)
			if local == "" {
				local = "."
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				return storeGet(c, m, p, c.Args().First(), local)
			})
		},
	}
}

func storeGet(c *cli.Context, m *node.Client, p *printer, from, local string) error {
	at, err := instantFlag(c)
	if err != nil {
		return err
	}
	dir, name := local, path.Base(path.Clean(from))
	info, err := os.Stat(local)
	switch {
	case err == nil && info.IsDir():
		if name == "/" {
			name = "."
		}
	case err == nil || errors.Is(err, fs.ErrNotExist):
		if strings.HasSuffix(local, "/") && err != nil {
			return fmt.Errorf("%s: no such directory", local)
		}
		dir, name = filepath.Split(filepath.Clean(local))
		if dir == "" {
			dir = "."
		}
	default:
		return err
	}
	tr, body, err := m.Get(c.Context, from, at)
	if err != nil {
		return err
	}
	defer body.Close()
	bar := newProgress(c, "get")
	var files, bytes int64
	err = unpackTree(tr, dir, name, func(_ string, size int64) {
		files, bytes = files+1, bytes+size
		bar.add(size)
		bar.file()
	})
	bar.end()
	if err != nil {
		return fmt.Errorf("get %s: %w", from, err)
	}
	to := filepath.Join(dir, name)
	return p.event("got", fmt.Sprintf("got %s: %s, %s", to, counted(files, "file", "files"), formatBytes(bytes)), "path", from, "local", to, "files", files, "bytes", bytes)
}
