package main

import (
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version",
		Description: "Prints the version, the commit it was built from and the Go release." + examples("aether version --json"),
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("version takes no arguments")
			}
			p, err := newPrinter(c)
			if err != nil {
				return err
			}
			return version(p)
		},
	}
}

func version(p *printer) error {
	number, commit := "(devel)", "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" {
			number = v
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	return p.event("version", "aether "+number+" commit "+commit+" "+runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH,
		"version", number, "commit", commit, "go", runtime.Version(), "os", runtime.GOOS, "arch", runtime.GOARCH)
}
