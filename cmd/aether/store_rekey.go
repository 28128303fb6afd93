package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeRekeyCommand() *cli.Command {
	return &cli.Command{
		Name: "rekey", Usage: "seal anew what is still under older keys",
		Description: "After `aether store revoke` the pool has a new generation of keys, which the revoked machine does not get;\n" +
			"what is written from then on is sealed under it. What was written before stays under the older ones until\n" +
			"this orders all machines to seal it anew, in the background: no file shows as changed, old versions stay\n" +
			"readable, and the order holds until all is done, also for machines that come back later.\n" +
			"--new begins a new generation first, without revoking anybody. --rate bounds what each machine reads a second.\n" +
			"--status shows what is left and orders nothing. --wait goes on until nothing is left.\n" +
			"JSON: rekey {ordered, generation, files, bytes, away_files, away_bytes, waiting, done, done_bytes, copies, failed,\n" +
			"error, limit, rate}: files and bytes are left; with --wait a line whenever that changes.\n" +
			"Exit status: 1 when --wait ends before all is done." +
			examples("aether store rekey", "aether store rekey --new --rate 20MiB --wait", "aether store rekey --status"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.BoolFlag{Name: "new", Usage: "begin a new generation of keys first"},
			&cli.StringFlag{Name: "rate", Usage: "at most so many `BYTES` a second on each machine", DefaultText: "no limit"},
			&cli.BoolFlag{Name: "status", Usage: "show what is left, and order nothing"},
			&cli.BoolFlag{Name: "wait", Usage: "wait until nothing is left"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("rekey takes no arguments")
			}
			if c.Bool("status") && (c.Bool("new") || c.IsSet("rate")) {
				return usage("--status orders nothing: leave out --new and --rate")
			}
			var limit int64
			if s := c.String("rate"); s != "" {
				var err error
				if limit, err = parseBytes(s); err != nil {
					return usage("--rate: %w", err)
				}
			}
			return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error { return storeRekey(c, m, p, limit) })
		},
	}
}

func storeRekey(c *cli.Context, m *node.Client, p *printer, limit int64) error {
	if c.Bool("wait") && m.Own() {
		return usage("--wait: no node runs here that could do the work; start one with aether store serve")
	}
	var r node.Rekey
	var err error
	if c.Bool("status") {
		r, err = m.Rekey(c.Context)
	} else {
		r, err = m.OrderRekey(c.Context, limit, c.Bool("new"))
	}
	if err != nil {
		return err
	}
	if c.Bool("wait") && r.Files > 0 {
		return waitRekey(c, m, p, r)
	}
	return printRekey(p, r)
}

// rekeyInterval is how often --wait looks.
const rekeyInterval = 500 * time.Millisecond

// waitRekey shows how what is left becomes less.
func waitRekey(c *cli.Context, m *node.Client, p *printer, r node.Rekey) error {
	bar := newProgress(c, "sealing anew")
	bar.total(r.Bytes)
	defer bar.end()
	t := time.NewTicker(rekeyInterval)
	defer t.Stop()
	waiting := ""
	for r.Files > 0 {
		select {
		case <-c.Context.Done():
			return c.Context.Err()
		case <-t.C:
		}
		now, err := m.Rekey(c.Context)
		if err != nil {
			return err
		}
		bar.add(max(0, r.Bytes-now.Bytes))
		for range r.Files - now.Files {
			bar.file()
		}
		text := ""
		if w := rekeyWaiting(now); now.Files > 0 && now.Files == now.AwayFiles && w != waiting {
			waiting, text = w, rekeyText(now) // there is nothing else to see
		}
		if now.Files > 0 && (text != "" || p.json && now.Files != r.Files) {
			if err := rekeyEvent(p, now, text); err != nil {
				return err
			}
		}
		r = now
	}
	return printRekey(p, r)
}

func printRekey(p *printer, r node.Rekey) error { return rekeyEvent(p, r, rekeyText(r)) }

func rekeyEvent(p *printer, r node.Rekey, text string) error {
	return p.event("rekey", text, "ordered", r.Ordered, "generation", r.Generation, "files", r.Files, "bytes", r.Bytes,
		"away_files", r.AwayFiles, "away_bytes", r.AwayBytes, "waiting", r.Waiting, "done", r.Done, "done_bytes", r.DoneBytes,
		"copies", r.Copies, "failed", r.Failed, "error", r.Error, "limit", r.Limit, "rate", r.Rate)
}

// rekeyText says for people what is left.
func rekeyText(r node.Rekey) string {
	switch {
	case r.Generation == 0:
		return "the pool has one generation of keys: nothing is older"
	case r.Files == 0:
		return "all files are sealed under the newest keys"
	case !r.Ordered:
		return fmt.Sprintf("%s, %s under older keys; nobody has ordered to seal them anew", thousands(r.Files, "file"), formatBytes(r.Bytes))
	}
	t := fmt.Sprintf("%s, %s still to be sealed anew", thousands(r.Files, "file"), formatBytes(r.Bytes))
	if r.Rate > 0 {
		left := time.Duration(float64(r.Bytes-r.AwayBytes) / float64(r.Rate) * float64(time.Second))
		t += fmt.Sprintf(", %s/s here, %s left", formatBytes(r.Rate), max(0, left).Round(time.Second))
	}
	if w := rekeyWaiting(r); w != "" {
		t += "\n" + w
	}
	switch {
	case r.Failed == 0 && r.Error != "":
		t += "\nit will go on later: " + r.Error
	case r.Failed > 0:
		t += fmt.Sprintf("\n%s failed and will be tried again: %s", thousands(r.Failed, "file"), r.Error)
	}
	return t
}

// rekeyWaiting says what waits for machines that are away.
func rekeyWaiting(r node.Rekey) string {
	if r.AwayFiles == 0 {
		return ""
	}
	verb := "wait"
	if r.AwayFiles == 1 {
		verb = "waits"
	}
	return fmt.Sprintf("%s, %s %s for machines that are away: %s", thousands(r.AwayFiles, "file"), formatBytes(r.AwayBytes), verb, strings.Join(r.Waiting, ", "))
}
