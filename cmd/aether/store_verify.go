package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeVerifyCommand() *cli.Command {
	return &cli.Command{
		Name: "verify", Usage: "read every file and say what cannot be read", ArgsUsage: "[/PATH]",
		Description: "Reads all files at and below /PATH, from this disk or from the machines that have them, and checks every\n" +
			"chunk against its address. JSON: damaged {path, error}, verified {files, bytes, damaged}.\n" +
			"Exit status: 1 when anything is damaged or cannot be reached." + examples("aether store verify", "aether store verify /photos"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), &cli.BoolFlag{Name: "no-progress", Usage: "show no progress on a terminal"}},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usage("want at most one /PATH")
			}
			root := "/" + c.Args().First()
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				return storeCheck(c, p, "verify", "verified", func(f func(node.Checked) error) error {
					return m.Verify(c.Context, root, f)
				})
			})
		},
	}
}

func storeScrubCommand() *cli.Command {
	return &cli.Command{
		Name: "scrub", Usage: "read this machine's disk and repair what has rotted",
		Description: "Reads all chunks that lie on this machine's disk. One that is damaged is fetched again from a machine that\n" +
			"has it; where none has, the files that it hits are named. A node does this by itself once a week. Interrupted,\n" +
			"it goes on with --resume. JSON: damaged {chunk, error, repaired, paths}, scrubbed {chunks, bytes, damaged}.\n" +
			"Exit status: 1 when anything is damaged and could not be repaired." + examples("aether store scrub --rate 50MB", "aether store scrub --resume"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), &cli.BoolFlag{Name: "no-progress", Usage: "show no progress on a terminal"},
			&cli.StringFlag{Name: "rate", Usage: "read at most this many `BYTES` a second"},
			&cli.BoolFlag{Name: "resume", Usage: "go on where the last one stopped"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("scrub takes no arguments")
			}
			var rate int64
			if s := c.String("rate"); s != "" {
				var err error
				if rate, err = parseBytes(s); err != nil {
					return usage("--rate: %v", err)
				}
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				return storeCheck(c, p, "scrub", "scrubbed", func(f func(node.Checked) error) error {
					return m.Scrub(c.Context, rate, c.Bool("resume"), f)
				})
			})
		},
	}
}

// storeCheck shows what a check finds. It fails where something is damaged.
func storeCheck(c *cli.Context, p *printer, name, event string, run func(func(node.Checked) error) error) error {
	bar := newProgress(c, name)
	var done int64
	var end node.Checked
	err := run(func(k node.Checked) error {
		switch {
		case k.End:
			end = k
		case k.Error != "":
			return p.event("damaged", damagedText(k), "path", k.Path, "chunk", k.Chunk, "error", k.Error, "repaired", k.Repaired, "paths", k.Paths)
		default:
			bar.total(k.Total)
			bar.add(k.Done - done)
			done = k.Done
		}
		return nil
	})
	bar.end()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s %s in %s", event, formatBytes(end.Done), counted(end.Chunks, "chunk", "chunks"))
	if name == "verify" {
		text = fmt.Sprintf("%s %s in %s", event, formatBytes(end.Done), counted(end.Files, "file", "files"))
	}
	if end.Damaged > 0 {
		text += fmt.Sprintf(": %d damaged", end.Damaged)
	} else {
		text += ": all is well"
	}
	if err := p.event(event, text, "files", end.Files, "chunks", end.Chunks, "bytes", end.Done, "damaged", end.Damaged); err != nil {
		return err
	}
	if end.Damaged > 0 {
		return errQuiet
	}
	return nil
}

func damagedText(k node.Checked) string {
	switch {
	case k.Repaired:
		return fmt.Sprintf("repaired %.16s: %s", k.Chunk, k.Error)
	case k.Path != "":
		return fmt.Sprintf("damaged %s: %s", k.Path, k.Error)
	}
	text := fmt.Sprintf("damaged %.16s: %s", k.Chunk, k.Error)
	for _, p := range k.Paths {
		text += "\n  in " + p
	}
	if len(k.Paths) == 0 {
		text += "\n  in no file of today"
	}
	return text
}
