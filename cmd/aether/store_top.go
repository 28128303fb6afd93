package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/node"
)

func storeTopCommand() *cli.Command {
	return &cli.Command{
		Name: "top", Usage: "watch what the machine does",
		Description: "A line a second until interrupted: changes of names and files, waits for the disk, chunks read and written.\n" +
			"JSON: activity {changes, syncs, chunks_read, bytes_read, chunks_written, bytes_written, open, staged}, each for the\n" +
			"time since the line before, but for the last two. Exit status: 1 when there is no machine." + examples("aether store top", "aether store top --interval 5s -n 3"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.DurationFlag{Name: "interval", Value: time.Second, Usage: "print a line each `TIME`"},
			&cli.IntFlag{Name: "count", Aliases: []string{"n"}, Usage: "end after `N` lines; 0 goes on"}},
		Action: func(c *cli.Context) error {
			switch {
			case c.NArg() != 0:
				return usage("top takes no arguments")
			case c.Duration("interval") < 10*time.Millisecond:
				return usage("--interval: at least 10ms")
			}
			return withMachine(c, storeTop)
		},
	}
}

func storeTop(c *cli.Context, m *node.Client, p *printer) error {
	was, err := m.Activity(c.Context)
	if err != nil {
		return err
	}
	t := time.NewTicker(c.Duration("interval"))
	defer t.Stop()
	if !p.json {
		if err := p.line("changes/s  syncs/s       read/s    written/s   open     staged"); err != nil {
			return err
		}
	}
	for n := 0; c.Int("count") == 0 || n < c.Int("count"); n++ {
		select {
		case <-c.Context.Done():
			return nil
		case <-t.C:
		}
		now, err := m.Activity(c.Context)
		if err != nil {
			return err
		}
		if err := topLine(p, was, now, c.Duration("interval").Seconds()); err != nil {
			return err
		}
		was = now
	}
	return nil
}

func topLine(p *printer, was, now drive.Activity, seconds float64) error {
	rate := func(a, b int64) float64 { return float64(b-a) / seconds }
	text := fmt.Sprintf("%9.0f  %7.0f  %11s  %11s  %5d  %9s",
		rate(was.Changes, now.Changes), rate(was.Syncs, now.Syncs),
		formatBytes(int64(rate(was.BytesRead, now.BytesRead))), formatBytes(int64(rate(was.BytesWritten, now.BytesWritten))),
		now.Open, formatBytes(now.Staged))
	return p.event("activity", text, "changes", now.Changes-was.Changes, "syncs", now.Syncs-was.Syncs,
		"chunks_read", now.ChunksRead-was.ChunksRead, "bytes_read", now.BytesRead-was.BytesRead,
		"chunks_written", now.ChunksWritten-was.ChunksWritten, "bytes_written", now.BytesWritten-was.BytesWritten,
		"open", now.Open, "staged", now.Staged)
}
