package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeLogCommand() *cli.Command {
	return &cli.Command{
		Name: "log", Usage: "what happens: machines that come and go, files that arrive, alarms",
		Description: "Prints what has happened of late: machines that came, went or were refused, and alarms. With -f it goes on\n" +
			"until interrupted and also tells of the drive: files stored and removed by any machine, conflict copies, and\n" +
			"copies that have arrived on this disk (held).\n" +
			"JSON: connected, disconnected, refused, fault, alarm, cleared {machine, text}; stored, conflict {machine, path, size};\n" +
			"removed, held {path}; lost {count}: that many came too fast. `at` is when it happened.\n" +
			"Exit status: 1 when no node runs, or it ends." +
			examples("aether store log", "aether store log -f --json"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until interrupted"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("log takes no arguments")
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
				if m.Own() {
					return errors.New("no node runs on this machine, so nothing happens; start one with: aether store serve")
				}
				err := m.Log(c.Context, c.Bool("follow"), func(h node.Happening) error { return printHappening(p, h) })
				if c.Context.Err() == nil {
					return err
				}
				return nil // an interrupt is how following ends
			})
		},
	}
}

func printHappening(p *printer, h node.Happening) error {
	text := []string{h.Time.Local().Format(time.TimeOnly), fmt.Sprintf("%-12s", h.Kind)}
	kv := []any{"at", h.Time}
	switch {
	case h.Path != "":
		text, kv = append(text, h.Path), append(kv, "path", h.Path)
		if h.Machine != "" {
			text = append(text, fmt.Sprintf("(%s by %s)", formatBytes(h.Size), h.Machine))
			kv = append(kv, "machine", h.Machine, "size", h.Size)
		}
	case h.Count > 0:
		text, kv = append(text, fmt.Sprintf("%d that came too fast", h.Count)), append(kv, "count", h.Count)
	default:
		text, kv = append(text, h.Machine, h.Text), append(kv, "machine", h.Machine, "text", h.Text)
	}
	return p.event(h.Kind, strings.TrimRight(strings.Join(text, "  "), " "), kv...)
}
