package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

// watchInterval is how often --watch looks.
const watchInterval = 500 * time.Millisecond

// watchStatus shows the status whenever it changes, until it is interrupted or its
// time is over.
func watchStatus(c *cli.Context, m *node.Client, p *printer) error {
	show := changedLines(p)
	switch {
	case p.json:
		show = changedJSON(p)
	case isTerminal(p.out):
		show = redrawn(p)
	}
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	for {
		s, err := m.Status(c.Context)
		if err == nil {
			err = show(s)
		}
		if c.Context.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-c.Context.Done():
			return nil
		case <-t.C:
		}
	}
}

// redrawn shows the whole status in the place of the one before.
func redrawn(p *printer) func(node.Status) error {
	const home, restOfLine, below = "\x1b[H", "\x1b[K", "\x1b[J"
	first := true
	return func(s node.Status) error {
		var b strings.Builder
		if first {
			b.WriteString("\x1b[2J")
			first = false
		}
		b.WriteString(home)
		for line := range strings.Lines(statusText(s) + "\n\n" + time.Now().Format(time.TimeOnly) + "\n") {
			b.WriteString(printable(strings.TrimSuffix(line, "\n")) + restOfLine + "\n")
		}
		b.WriteString(below)
		return p.write([]byte(b.String()))
	}
}

// changedJSON prints the status when something of note is another than before.
func changedJSON(p *printer) func(node.Status) error {
	last := ""
	return func(s node.Status) error {
		if now := strings.Join(watched(s), "\n"); now != last {
			last = now
			return printStatus(p, s)
		}
		return nil
	}
}

// changedLines prints a line for each thing that is another than before.
func changedLines(p *printer) func(node.Status) error {
	var last []string
	return func(s node.Status) error {
		now := watched(s)
		for _, l := range now {
			if slices.Contains(last, l) {
				continue
			}
			if err := p.line(time.Now().Format(time.TimeOnly) + "  " + l); err != nil {
				return err
			}
		}
		last = now
		return nil
	}
}

// watched is what of a status is worth a line when it changes.
func watched(s node.Status) []string {
	lines := []string{safety(s), "state " + stateText(s)}
	for _, m := range s.Machines {
		name := m.Name
		if name == "" {
			name = m.ID.Short()
		}
		lines = append(lines, fmt.Sprintf("machine %s: %s", name, m.State))
	}
	for _, a := range s.Alarms {
		lines = append(lines, "alarm "+alarmText(s, a))
	}
	return lines
}
