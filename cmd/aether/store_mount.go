package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/mount"
	"github.com/aether-lan/aether/store/node"
)

func allowOtherFlag() cli.Flag {
	return &cli.BoolFlag{Name: "allow-other", Usage: "let other users of this host into the mounted drive"}
}

func storeMountCommand() *cli.Command {
	return &cli.Command{
		Name: "mount", Usage: "show the drive in a directory", ArgsUsage: "DIRECTORY",
		Description: "The running node shows the drive in DIRECTORY until `umount` or its own end. Where no node runs this\n" +
			"command is one, without a network, until interrupted. Linux: needs root or the package fuse3; other systems\n" +
			"mount the WebDAV face. close and fsync return when the local disk has it.\n" +
			"Exit status: 1 when it cannot be done, 3 when the system has no FUSE or a right is missing." +
			examples("aether store mount ~/drive", "aether store serve --mount ~/drive"),
		Flags: []cli.Flag{dirFlag(), allowOtherFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("want one DIRECTORY")
			}
			dir, err := filepath.Abs(c.Args().First())
			if err != nil {
				return err
			}
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w; make the directory first", err)
			}
			own := false
			err = withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				if own = m.Own(); own {
					return nil
				}
				if err := m.Mount(c.Context, dir, c.Bool("allow-other")); err != nil {
					return err
				}
				return p.event("mounted", "mounted on "+dir, "dir", dir)
			})
			if err != nil || !own {
				return err
			}
			return storeMountAlone(c, dir)
		},
	}
}

// storeMountAlone is a node without a network, for as long as the command runs.
func storeMountAlone(c *cli.Context, dir string) error {
	p, err := newPrinter(c)
	if err != nil {
		return err
	}
	answerAtOnce()
	defer collectRarely()()
	m, err := node.Open(node.Config{Dir: storeDir(c), Logger: newLogger(c)})
	if err != nil {
		return err
	}
	cfg := node.ServeConfig{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"), NoDiscovery: true, NoWebDAV: true,
		Mounts: []string{dir}, AllowOther: c.Bool("allow-other"),
	}
	cfg.Event = func(ev node.Event) {
		if ev.Kind == node.EventServing {
			_ = p.event("mounted", "mounted on "+dir+" until interrupted", "dir", dir)
		}
	}
	return errors.Join(m.Serve(c.Context, cfg), m.Close())
}

func storeUmountCommand() *cli.Command {
	return &cli.Command{
		Name: "umount", Aliases: []string{"unmount"}, Usage: "take the drive off a directory", ArgsUsage: "DIRECTORY",
		Description: "Everything is on the disk when it returns. Also takes off what a node that died has left.\n" +
			"Exit status: 1 when programs still use DIRECTORY, or nothing is mounted there." + examples("aether store umount ~/drive"),
		Flags: []cli.Flag{dirFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("want one DIRECTORY")
			}
			dir, err := filepath.Abs(c.Args().First())
			if err != nil {
				return err
			}
			p, err := newPrinter(c)
			if err != nil {
				return err
			}
			if err := mount.Unmount(dir); err != nil {
				return err
			}
			return p.event("unmounted", "", "dir", dir)
		},
	}
}
