package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeInviteCommand() *cli.Command {
	return &cli.Command{
		Name: "invite", Usage: "let one more machine into the pool, by a code of six words",
		Description: "Prints the code and waits until a machine has joined with it. Read the words to the person there, who\n" +
			"types them into: aether store join. The code is good for one machine, for ten minutes; three wrong\n" +
			"codes end it, and so does the end of this command. Needs a running node.\n" +
			"JSON: invitation {code, expires, addresses}, wrong_code {machine, address, tries_left},\n" +
			"joined {machine, name, address}. Exit status: 1 when nobody has joined." +
			examples("aether store invite", "aether store invite --json"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("invite takes no arguments")
			}
			return withMachine(c, storeInvite)
		},
	}
}

func storeInvite(c *cli.Context, m *node.Client, p *printer) error {
	ctx, stop := context.WithCancel(c.Context)
	defer stop()
	return m.Invite(ctx, func(ev node.InviteEvent) error {
		switch ev.Kind {
		case "invitation":
			if !p.json && isTerminal(c.App.ErrWriter) {
				go countDown(ctx, c.App.ErrWriter, ev.Expires)
			}
			return p.event(ev.Kind, invitationText(ev), "code", ev.Code, "expires", ev.Expires, "addresses", ev.Addresses)
		case "wrong_code":
			return p.event(ev.Kind, fmt.Sprintf("a wrong code from %s at %s; %d more end the invitation", ev.Machine.Short(), ev.Address, ev.TriesLeft),
				"machine", ev.Machine, "address", ev.Address, "tries_left", ev.TriesLeft)
		case "joined":
			return p.event(ev.Kind, fmt.Sprintf("%s (%s) has joined from %s", ev.Name, ev.Machine, ev.Address),
				"machine", ev.Machine, "name", ev.Name, "address", ev.Address)
		}
		return nil
	})
}

// invitationText is what the person who invites has to do.
func invitationText(ev node.InviteEvent) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Read these words to the person at the other machine:\n\n    %s\n\nThere:     aether store join", ev.Code)
	for i, a := range ev.Addresses {
		if i == 0 {
			b.WriteString("\nelsewhere:")
		} else {
			b.WriteString("\n        or")
		}
		fmt.Fprintf(&b, " aether store join --at %s", a)
	}
	fmt.Fprintf(&b, "\n\nGood for one machine, until %s.", ev.Expires.Local().Format(time.TimeOnly))
	return b.String()
}

// countDown shows on a terminal how much time is left, until ctx ends.
func countDown(ctx context.Context, w io.Writer, end time.Time) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		fmt.Fprintf(w, "\rwaiting, %s left ", time.Until(end).Round(time.Second))
		select {
		case <-t.C:
		case <-ctx.Done():
			fmt.Fprint(w, "\r                             \r")
			return
		}
	}
}
