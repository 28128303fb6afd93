package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/multicast"
	"github.com/aether-lan/aether/multicast/bulk"
)

func mcastGetCommand() *cli.Command {
	return &cli.Command{
		Name: "get", Usage: "receive files that aether mcast put sends to a group",
		Description: "Waits for files in the group and puts them into --dir. Every part is verified against what the sender signed.\n" +
			"An unfinished file stays as NAME.aether-part; when the sender, or get, is started again it goes on from there. A file\n" +
			"that does not fit on the disk is refused or removed, with an error. A file that is there is not replaced without\n" +
			"--force; if it has the same content already nothing is sent. When all is received it stays until the\n" +
			"sender has ended, to give parts to those who lack them.\n" +
			"JSON: listening {group, interface, sealed}, offered {name, size, from, key}, progress {name, bytes, size},\n" +
			"pulling {name, reason}, sender_silent {}, received {name, path, size, from, key, sealed, seconds, rate, resumed, pulled},\n" +
			"failed {name, size, from, reason}.\n" +
			"Exit status: 0 all received, 1 a file failed or --timeout passed, 3 not permitted." +
			examples(`aether mcast get`, `aether mcast get --group 239.255.20.1:9000 --dir /srv/images --count 2 --passphrase-file secret.txt`),
		Flags: bulkFlags(
			&cli.StringFlag{Name: "dir", Aliases: []string{"d"}, Usage: "put files into `DIR`", Value: "."},
			&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Usage: "end after `N` files (0: never)", Value: 1},
			&cli.BoolFlag{Name: "force", Usage: "replace files of the same name"},
			&cli.StringFlag{Name: "from", Usage: "take files only of the sender with `KEY` (put --identity-file)"},
			&cli.StringFlag{Name: "name", Usage: "tell the sender that this machine is `NAME`", DefaultText: "the host's name"},
			&cli.StringFlag{Name: "window", Usage: "take at most `BYTES` a second", DefaultText: "no limit"},
			waitFlag("end after `TIME` (0: never)", 0),
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			g, err := fetcherOf(c)
			if err != nil {
				return err
			}
			return g.get(c.Context)
		},
	}
}

// fetcher is one run of get.
type fetcher struct {
	mcast
	cfg     bulk.ReceiveConfig
	line    *bulkLine
	timeout time.Duration
	object  bulk.Object
	began   time.Time
	bytes   int64
	told    time.Time
	err     error // of the output
}

func fetcherOf(c *cli.Context) (*fetcher, error) {
	m, err := mcastOf(c)
	if err != nil {
		return nil, err
	}
	g := &fetcher{mcast: m, line: newBulkLine(c), timeout: c.Duration("timeout")}
	g.cfg = bulk.ReceiveConfig{
		Dir: c.String("dir"), Count: c.Int("count"), Force: c.Bool("force"), Name: c.String("name"), Logger: m.log,
		Event: g.event, Received: g.received,
	}
	switch {
	case g.cfg.Count < 0:
		return nil, usage("--count must not be negative")
	case g.timeout < 0:
		return nil, usage("--timeout must not be negative")
	case g.cfg.Count == 0:
		g.cfg.Count = -1
	}
	if s := c.String("window"); s != "" {
		n, err := parseBytes(s)
		if err != nil {
			return nil, usage("--window: %w", err)
		}
		g.cfg.Window = uint32(min(n, 1<<32-1))
	}
	if s := c.String("from"); s != "" {
		if g.cfg.Key, err = parseKeyText(s); err != nil {
			return nil, err
		}
	}
	if g.cfg.Group, err = bulkGroup(c, m); err != nil {
		return nil, err
	}
	if g.cfg.Secret, err = bulkSecret(c); err != nil {
		return nil, err
	}
	g.cfg.Interface, err = m.interfaceFor(multicast.FamilyOf(g.cfg.Group.Addr()))
	return g, err
}

func (g *fetcher) get(ctx context.Context) error {
	if g.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, g.timeout)
		defer cancel()
	}
	list, err := bulk.Receive(ctx, g.cfg)
	g.line.clear()
	if g.err != nil {
		return g.err
	}
	enough := g.cfg.Count > 0 && len(list) >= g.cfg.Count
	bad := false
	for _, r := range list {
		bad = bad || r.Err != nil
	}
	switch {
	case bad:
		return failed() // received has said why
	case enough:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s received in %v", counted(int64(len(list)), "file", "files"), g.timeout)
	case errors.Is(err, context.Canceled) && g.cfg.Count < 0:
		return nil // it was to run until interrupted
	}
	return err
}

// tell prints an event in JSON, and for people to standard error.
func (g *fetcher) tell(event, text string, kv ...any) {
	g.line.clear()
	if !g.out.json {
		g.complain("%s", text)
		return
	}
	g.note(g.out.event(event, "", kv...))
}

func (g *fetcher) note(err error) {
	if g.err == nil {
		g.err = err
	}
}

func (g *fetcher) event(e bulk.Event) {
	switch e := e.(type) {
	case bulk.Listening:
		how := "unsealed files"
		if e.Sealed {
			how = "sealed files"
		}
		g.tell("listening", fmt.Sprintf("waiting for %s in %v on %s", how, g.cfg.Group, g.cfg.Interface),
			"group", g.cfg.Group, "interface", g.cfg.Interface, "sealed", e.Sealed)
	case bulk.Offered:
		if !e.Again {
			g.object, g.began, g.bytes = e.Offer.Object, time.Now(), 0
		}
		g.tell("offered", fmt.Sprintf("%s (%s) from %v, key %s", e.Offer.Name, formatBytes(e.Offer.Size), e.Offer.From.Addr(), keyText(e.Offer.Key[:])),
			"name", e.Offer.Name, "size", e.Offer.Size, "from", e.Offer.From, "key", keyText(e.Offer.Key[:]))
	case bulk.SectionDone:
		g.section(e.Section)
	case bulk.PullWanted:
		g.tell("pulling", fmt.Sprintf("fetching the rest of %s by TCP: %s", g.object.Name, e.Reason), "name", g.object.Name, "reason", e.Reason)
	case bulk.SenderSilent:
		g.tell("sender_silent", "the sender is silent; waiting for it")
	case bulk.OtherSeal:
		text := "somebody sends sealed files in this group; --passphrase-file or --key-file opens them"
		if e.Plain {
			text = "somebody sends files in this group that are not sealed; get without a key takes them"
		}
		g.complain("warning: %s", text)
	}
}

func (g *fetcher) section(s int) {
	g.bytes += int64(g.object.Length(s))
	elapsed := time.Since(g.began)
	g.line.show(fmt.Sprintf("%s: %s of %s, %s%s", g.object.Name, formatBytes(g.bytes), formatBytes(g.object.Size),
		perSecond(float64(g.bytes)/max(elapsed.Seconds(), 1e-3)), timeLeft(g.bytes, g.object.Size, elapsed)))
	if g.out.json && time.Since(g.told) > time.Second/2 {
		g.told = time.Now()
		g.note(g.out.event("progress", "", "name", g.object.Name, "bytes", g.bytes, "size", g.object.Size))
	}
}

func (g *fetcher) received(r bulk.Received) {
	g.line.clear()
	o := r.Object
	if r.Err != nil {
		err := bulkExplained(r.Err)
		if !g.out.json {
			g.complain("%s from %v: %v", o.Name, r.From.Addr(), err)
			return
		}
		g.note(g.out.event("failed", "", "name", o.Name, "size", o.Size, "from", r.From, "reason", err.Error()))
		return
	}
	rate := float64(o.Size) / max(r.Duration.Seconds(), 1e-9)
	text := fmt.Sprintf("%s: %s from %v in %v, %s", r.Path, formatBytes(o.Size), r.From.Addr(), r.Duration.Round(10*time.Millisecond), perSecond(rate))
	if r.Resumed > 0 {
		text += fmt.Sprintf(", %s were there", formatBytes(int64(r.Resumed)))
	}
	if r.Pulled > 0 {
		text += fmt.Sprintf(", %s by TCP", formatBytes(int64(r.Pulled)))
	}
	if !r.Sealed {
		text += ", not encrypted"
	}
	g.note(g.out.event("received", text, "name", o.Name, "path", r.Path, "size", o.Size, "from", r.From, "key", keyText(r.Key[:]),
		"sealed", r.Sealed, "seconds", r.Duration.Seconds(), "rate", int64(rate), "resumed", r.Resumed, "pulled", r.Pulled))
}
