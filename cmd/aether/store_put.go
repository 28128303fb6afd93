package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/node"
)

func storePutCommand() *cli.Command {
	return &cli.Command{
		Name: "put", Usage: "store files and directories", ArgsUsage: "LOCAL... /PATH",
		Description: "Stores each LOCAL, directories with all that is in them, below the directory /PATH; a single file\n" +
			"is stored under the name /PATH unless that is a directory or ends in a slash. A line is printed, and the\n" +
			"command ends, when the data is on this machine's disk; copies on other machines follow (see flush).\n" +
			"Exit status: 1 when anything was not stored." +
			examples("aether store put report.pdf /docs/", "aether store put -q photos /"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.BoolFlag{Name: "recursive", Aliases: []string{"r"}, Usage: "accepted for the sake of habit: directories are always stored whole"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print a line for each LOCAL only"},
			&cli.BoolFlag{Name: "no-progress", Usage: "show no progress on a terminal"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() < 2 {
				return usage("want LOCAL... /PATH")
			}
			args := c.Args().Slice()
			dst := args[len(args)-1]
			if !strings.HasPrefix(dst, "/") {
				return usage("paths in the drive begin with /, not %q", dst)
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				return storePut(c, m, p, args[:len(args)-1], dst)
			})
		},
	}
}

// bytesOf adds up the sizes of files.
func bytesOf(sources []source) (n int64) {
	for _, s := range sources {
		_ = filepath.WalkDir(s.local, func(_ string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				if info, err := d.Info(); err == nil {
					n += info.Size()
				}
			}
			return nil
		})
	}
	return n
}

// source is one LOCAL of put and the name that it gets below the directory.
type source struct{ local, as string }

func storePut(c *cli.Context, m *node.Client, p *printer, locals []string, dst string) error {
	dir, sources, err := destinations(c, m, locals, dst)
	if err != nil {
		return err
	}
	bar := newProgress(c, "put")
	bar.totalOf(func() int64 { return bytesOf(sources) })
	n := packed{named: map[string]string{}}
	again := map[string]string{} // files whose bytes have to be sent after all
	var bad []string
	stored := func(s node.Stored) {
		local, named := n.local(strings.TrimPrefix(strings.TrimPrefix(s.Path, dir), "/"))
		switch {
		case s.Code == node.CodeNotLocal && named:
			again[s.Path] = local
		case s.Error != "":
			bad = append(bad, s.Path+": "+s.Error)
			_ = p.event("failed", "", "path", s.Path, "error", s.Error)
		case s.Kind == "file":
			bar.file()
			if named {
				bar.add(s.Size)
			}
			if !c.Bool("quiet") {
				_ = p.event("stored", "stored "+s.Path, "path", s.Path, "size", s.Size)
			}
		}
	}
	err = m.Put(c.Context, dir, func(tw *tar.Writer) error {
		for _, s := range sources {
			if err := packTree(tw, s.local, s.as, &n, bar.add); err != nil {
				return err
			}
		}
		return nil
	}, stored)
	if err == nil && len(again) > 0 {
		var sent packed
		err = m.Put(c.Context, "/", func(tw *tar.Writer) error {
			for name, local := range again {
				if err := packFile(tw, local, strings.TrimPrefix(name, "/"), &sent, bar.add); err != nil {
					return err
				}
			}
			return nil
		}, stored)
	}
	bar.end()
	for _, b := range append(n.skipped, bad...) {
		fmt.Fprintln(c.App.ErrWriter, programPrefix+"not stored: "+printable(b))
	}
	if err != nil {
		return err
	}
	if c.Bool("quiet") {
		for _, s := range sources {
			_ = p.event("stored", "stored "+path.Join(dir, s.as), "path", path.Join(dir, s.as))
		}
	}
	if k := len(n.skipped) + len(bad); k > 0 {
		return fmt.Errorf("%d of %d not stored", k, int64(k)+n.files)
	}
	return p.failure()
}

// destinations decides below which directory and under which names locals are
// stored, as cp does.
func destinations(c *cli.Context, m *node.Client, locals []string, dst string) (dir string, sources []source, err error) {
	isDir := strings.HasSuffix(dst, "/") || len(locals) > 1
	if !isDir {
		at, err := m.Stat(c.Context, dst, time.Time{})
		switch {
		case err == nil:
			isDir = at.Kind == "dir"
		case errors.Is(err, store.ErrNotFound):
		default:
			return "", nil, err
		}
	}
	for _, l := range locals {
		if _, err := os.Stat(l); err != nil {
			return "", nil, err
		}
		abs, err := filepath.Abs(l)
		if err != nil {
			return "", nil, err
		}
		name := filepath.Base(abs)
		if !isDir {
			return path.Dir(path.Clean(dst)), []source{{l, path.Base(path.Clean(dst))}}, nil
		}
		sources = append(sources, source{l, name})
	}
	if dir = path.Clean(dst); dir != "/" {
		if err := m.Mkdir(c.Context, dir, true); err != nil {
			return "", nil, err
		}
	}
	return dir, sources, nil
}
