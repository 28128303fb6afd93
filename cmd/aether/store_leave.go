package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeLeaveCommand() *cli.Command {
	return &cli.Command{
		Name: "leave", Usage: "take this machine out of the pool",
		Description: "Hands over what this machine keeps to the others first and waits for it, then says goodbye; the node\n" +
			"ends, and the directory belongs to no pool. Interrupted before that, the machine stays. With --now it\n" +
			"hands over nothing: files that it alone keeps are lost.\n" +
			"JSON: leaving {files, bytes, total_files, total_bytes, connected} again and again, left {heard}.\n" +
			"Exit status: 1 when the machine has not left." +
			examples("aether store leave", "aether store leave --now"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(), &cli.BoolFlag{Name: "now", Usage: "hand over nothing"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("leave takes no arguments")
			}
			return withMachine(c, storeLeave)
		},
	}
}

func storeLeave(c *cli.Context, m *node.Client, p *printer) error {
	w, terminal := c.App.ErrWriter, isTerminal(c.App.ErrWriter)
	left := false
	err := m.Leave(c.Context, c.Bool("now"), func(l node.LeaveProgress) error {
		switch {
		case l.Left:
			left = true
			text := "left the pool"
			if !l.Heard {
				text += "; nobody has heard it: tell another machine with: aether store forget"
			}
			if terminal {
				fmt.Fprintln(w)
			}
			return p.event("left", text, "heard", l.Heard)
		case p.json:
			return p.event("leaving", "", "files", l.Files, "bytes", l.Bytes, "total_files", l.TotalFiles, "total_bytes", l.TotalBytes, "connected", l.Connected)
		case terminal:
			fmt.Fprintf(w, "\rhanding over: %d of %d files, %s left; %d machines connected   ", l.Files, l.TotalFiles, formatBytes(l.Bytes), l.Connected)
		}
		return nil
	})
	if err == nil && !left {
		err = fmt.Errorf("the node ended before this machine had left: %w", node.ErrCut)
	}
	return err
}
