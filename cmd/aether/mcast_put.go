package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/multicast"
	"github.com/aether-lan/aether/multicast/bulk"
)

func mcastPutCommand() *cli.Command {
	return &cli.Command{
		Name: "put", Usage: "send a file to many machines with one transmission", ArgsUsage: "FILE",
		Description: "Waits until --receivers machines run aether mcast get in the group, sends the file once, repairs what was lost\n" +
			"and prints what became of each. A receiver that is silent or far behind does not hold the others: it fetches the\n" +
			"rest by TCP, from here or from those who have it. Where multicast would be slower than unicast it is not used, and\n" +
			"the output says so. Interrupted, it can be started again: receivers keep what they have.\n" +
			"Without --passphrase-file or --key-file everybody on the network can read the file.\n" +
			"JSON: offered {name, size, group, interface, sealed, key, receivers}, registered {receiver, have}, started {receivers, rate},\n" +
			"refused {multicast_rate, unicast_rate, receivers}, progress {sections, total, pass, rate, loss, active, done},\n" +
			"evicted {receiver, reason}, receiver {receiver, address, ok, reason, pulled}, summary {name, size, ok, receivers,\n" +
			"failed, seconds, rate, sent, pulled, ratio, multicast}.\n" +
			"Exit status: 0 all have it, 1 a receiver does not or too few came, 3 not permitted." +
			examples(`aether mcast put image.iso --receivers 9`,
				`aether mcast put image.iso --group 239.255.20.1:9000 --receivers 3 -i eth0 --passphrase-file secret.txt --json`),
		Flags: bulkFlags(
			&cli.IntFlag{Name: "receivers", Aliases: []string{"n"}, Usage: "wait for `N` receivers", Value: 1},
			&cli.DurationFlag{Name: "wait", Usage: "begin after `TIME` with those who are there; the others count as failed", Value: time.Minute},
			&cli.DurationFlag{Name: "patience", Usage: "give a receiver up that makes no progress for `TIME` once the others are done", Value: 30 * time.Second},
			&cli.StringFlag{Name: "name", Usage: "offer the file as `NAME`", DefaultText: "its own"},
			&cli.StringFlag{Name: "rate", Usage: "send at most `BYTES` a second", DefaultText: "what the network takes"},
			&cli.StringFlag{Name: "mode", Usage: "`HOW`: auto measures, multicast and unicast do not", Value: "auto"},
			&cli.StringFlag{Name: "identity-file", Usage: "sign with the key in `FILE`, made if it is not there, so that receivers can use --from"},
			&cli.IntFlag{Name: "ttl", Aliases: []string{"t"}, Usage: "hop limit: 1 stays on the link", Value: 1},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			p, err := putterOf(c)
			if err != nil {
				return err
			}
			return p.put(c.Context, c.Args().First())
		},
	}
}

// putter is one run of put.
type putter struct {
	mcast
	cfg   bulk.SendConfig
	line  *bulkLine
	began time.Time
	size  int64
	// refused says that multicast was not used.
	refused bool
}

func putterOf(c *cli.Context) (*putter, error) {
	m, err := mcastOf(c)
	if err != nil {
		return nil, err
	}
	p := &putter{mcast: m, line: newBulkLine(c)}
	p.cfg = bulk.SendConfig{
		Receivers: c.Int("receivers"), Wait: c.Duration("wait"), Patience: c.Duration("patience"), Name: c.String("name"),
		HopLimit: c.Int("ttl"), Logger: m.log, Event: p.event,
	}
	switch {
	case p.cfg.Receivers < 1 || p.cfg.Receivers > 256:
		return nil, usage("--receivers takes 1 to 256")
	case p.cfg.Wait <= 0 || p.cfg.Patience <= 0:
		return nil, usage("--wait and --patience must be more than 0")
	case p.cfg.HopLimit < 1 || p.cfg.HopLimit > 255:
		return nil, usage("--ttl takes 1 to 255")
	}
	modes := map[string]bulk.Mode{"auto": bulk.ModeAuto, "multicast": bulk.ModeMulticast, "unicast": bulk.ModeUnicast}
	mode, ok := modes[c.String("mode")]
	if !ok {
		return nil, usage("--mode takes auto, multicast or unicast, not %q", c.String("mode"))
	}
	p.cfg.Mode = mode
	if s := c.String("rate"); s != "" {
		if p.cfg.MaxRate, err = parseBytes(s); err != nil {
			return nil, usage("--rate: %w", err)
		}
		p.cfg.MinRate = min(p.cfg.MaxRate, 64<<10)
	}
	if p.cfg.Group, err = bulkGroup(c, m); err != nil {
		return nil, err
	}
	if p.cfg.Key, err = senderKey(c.String("identity-file")); err != nil {
		return nil, err
	}
	if p.cfg.Secret, err = bulkSecret(c); err != nil {
		return nil, err
	}
	p.cfg.Interface, err = m.interfaceFor(multicast.FamilyOf(p.cfg.Group.Addr()))
	return p, err
}

func (p *putter) put(ctx context.Context, path string) error {
	if st, err := os.Stat(path); err == nil {
		p.size = st.Size()
	}
	p.began = time.Now()
	r, err := bulk.Send(ctx, p.cfg, path)
	p.line.clear()
	if r.Object.Name == "" { // it did not come so far
		return err
	}
	if n := len(r.Receivers); errors.Is(err, bulk.ErrIncomplete) && n < p.cfg.Receivers {
		p.complain("%s of %d came within %v", counted(int64(n), "receiver", "receivers"), p.cfg.Receivers, p.cfg.Wait)
	}
	for _, o := range r.Receivers {
		if err := p.outcome(o); err != nil {
			return err
		}
	}
	if printErr := p.summary(&r, err); printErr != nil {
		return printErr
	}
	if errors.Is(err, bulk.ErrIncomplete) {
		return failed()
	}
	return bulkExplained(err)
}

func (p *putter) outcome(o bulk.Outcome) error {
	text := fmt.Sprintf("%s (%v): done", o.Receiver, o.Addr)
	if !o.OK {
		text = fmt.Sprintf("%s (%v): FAILED: %s", o.Receiver, o.Addr, o.Text)
	} else if o.Pulled > 0 {
		text += fmt.Sprintf(", %s of it by TCP (%s)", formatBytes(int64(o.Pulled)), o.Text)
	}
	return p.out.event("receiver", text, "receiver", o.Receiver, "address", o.Addr, "ok", o.OK, "reason", o.Text, "pulled", o.Pulled)
}

func (p *putter) summary(r *bulk.Result, err error) error {
	done := 0
	for _, o := range r.Receivers {
		if o.OK {
			done++
		}
	}
	lacking := max(len(r.Receivers), p.cfg.Receivers) - done
	rate := float64(r.Object.Size) / max(r.Duration.Seconds(), 1e-9)
	text := fmt.Sprintf("%s, %s: %s in %v; %.2f bytes sent per file byte for %s",
		r.Object.Name, formatBytes(r.Object.Size), counted(int64(done), "receiver has it", "receivers have it"),
		r.Duration.Round(10*time.Millisecond), r.Ratio(), counted(int64(done), "receiver", "receivers"))
	if lacking > 0 {
		text += fmt.Sprintf("; %d lack it", lacking)
	}
	return p.out.event("summary", text, "name", r.Object.Name, "size", r.Object.Size, "ok", err == nil, "receivers", done, "failed", lacking,
		"seconds", r.Duration.Seconds(), "rate", int64(rate), "sent", r.Sent, "pulled", r.PullSent, "ratio", r.Ratio(),
		"multicast", !p.refused && p.cfg.Mode != bulk.ModeUnicast)
}

// event tells of what happens. Nothing can be done here about an output that is
// gone; put notices at its end.
func (p *putter) event(e bulk.Event) {
	switch e := e.(type) {
	case bulk.Offering:
		p.offering(e)
	case bulk.Registered:
		p.tell("registered", fmt.Sprintf("%s takes part", e.Receiver), "receiver", e.Receiver, "have", e.Have)
	case bulk.Started:
		p.began = time.Now()
		text := "sending to " + counted(int64(e.Receivers), "receiver", "receivers")
		if e.Train > 0 {
			text += ", at first with " + perSecond(e.Rate)
		}
		p.tell("started", text,
			"receivers", e.Receivers, "rate", int64(e.Rate))
	case bulk.Refused:
		p.refused = true
		p.tell("refused", fmt.Sprintf("not using multicast: it carries %s here, and unicast %s, which is more for %d receivers",
			perSecond(e.Multicast), perSecond(e.Unicast), e.Receivers),
			"multicast_rate", int64(e.Multicast), "unicast_rate", int64(e.Unicast), "receivers", e.Receivers)
	case bulk.Evicted:
		p.tell("evicted", fmt.Sprintf("%s is not waited for any more (%s); it will fetch the rest", e.Receiver, e.Reason),
			"receiver", e.Receiver, "reason", e.Reason)
	case bulk.Progress:
		p.progress(e)
	}
}

func (p *putter) offering(e bulk.Offering) {
	how := "NOT ENCRYPTED"
	if e.Sealed {
		how = "sealed"
	}
	p.tell("offered", fmt.Sprintf("offering %s (%s) to %s in %v on %s, %s; key %s", e.Object.Name, formatBytes(e.Object.Size),
		counted(int64(p.cfg.Receivers), "receiver", "receivers"), p.cfg.Group, p.cfg.Interface, how, keyText(e.Key[:])),
		"name", e.Object.Name, "size", e.Object.Size, "group", p.cfg.Group, "interface", p.cfg.Interface, "sealed", e.Sealed,
		"key", keyText(e.Key[:]), "receivers", p.cfg.Receivers)
}

// tell prints an event in JSON, and for people to standard error: results are what
// became of the receivers.
func (p *putter) tell(event, text string, kv ...any) {
	p.line.clear()
	if !p.out.json {
		p.complain("%s", text)
		return
	}
	_ = p.out.event(event, "", kv...)
}

func (p *putter) progress(e bulk.Progress) {
	_ = p.out.event("progress", "", "sections", e.Sections, "total", e.Total, "pass", e.Pass, "rate", int64(e.Rate), "loss", e.Loss,
		"active", e.Active, "done", e.Done)
	sent := p.size * int64(e.Sections) / int64(max(1, e.Total))
	what := fmt.Sprintf("%s of %s, %s%s", formatBytes(sent), formatBytes(p.size), perSecond(e.Rate), timeLeft(sent, p.size, time.Since(p.began)))
	if e.Pass > 0 {
		what = fmt.Sprintf("repair %d", e.Pass)
	}
	p.line.show(fmt.Sprintf("%s; loss %.1f %%, %d receiving, %d done", what, 100*e.Loss, e.Active, e.Done))
}
