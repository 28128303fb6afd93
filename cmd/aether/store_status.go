package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

func storeStatusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "is my data safe? machines, files, copies, space",
		Description: "The first line answers the question. The state of the whole and of each machine is one of six words:\n" +
			"Up to date, Receiving, Sending, Degraded (files lack copies), Offline, Needs you (an alarm or a conflict).\n" +
			"--watch shows it again whenever it changes: in place on a terminal, else a line for each change.\n" +
			"JSON: status {pool, machine, name, dir, running, listen, webdav, state, reason, machines, files, bytes, copies,\n" +
			"fully_replicated, pending, conflicts, space, census, queue, received, sent, alarms, rekey}; --watch: one a change.\n" +
			"Exit status: 1 when the state is Degraded, Offline or Needs you, when there is no machine, or when\n" +
			"--wait-machines is given and --timeout passes first; machines that have come are 0." +
			examples("aether store status", "aether store status --watch", "aether store status --wait-machines 2 --timeout 30s"),
		Flags: []cli.Flag{dirFlag(), timeoutFlag(),
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "go on showing it until interrupted"},
			&cli.IntFlag{Name: "wait-machines", Usage: "wait until `N` machines, this one included, are connected"}},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("status takes no arguments")
			}
			if c.Bool("watch") && c.IsSet("wait-machines") {
				return usage("--watch and --wait-machines do not go together")
			}
			return withMachine(c, storeStatus)
		},
	}
}

// statusInterval is how often --wait-machines looks.
const statusInterval = 100 * time.Millisecond

func storeStatus(c *cli.Context, m *node.Client, p *printer) error {
	if c.Bool("watch") {
		return watchStatus(c, m, p)
	}
	for {
		s, err := m.Status(c.Context)
		if err != nil {
			return err
		}
		if connected(s) >= c.Int("wait-machines") {
			if err := printStatus(p, s); err != nil || s.State.Well() || c.IsSet("wait-machines") {
				return err
			}
			return failed()
		}
		select {
		case <-c.Context.Done():
			return c.Context.Err()
		case <-time.After(statusInterval):
		}
	}
}

// connected counts the machines that can be talked to, this one included. One that
// has not yet introduced itself has no name and does not count.
func connected(s node.Status) (n int) {
	for _, m := range s.Machines {
		if (m.Connected || m.Self) && m.Name != "" {
			n++
		}
	}
	return n
}

func printStatus(p *printer, s node.Status) error {
	kv := []any{"pool", s.Pool, "machine", s.Machine, "name", s.Name, "dir", s.Dir,
		"running", s.Running, "listen", s.Listen, "webdav", s.WebDAV, "state", s.State, "reason", s.Reason, "machines", s.Machines,
		"files", s.Files, "bytes", s.Bytes, "copies", s.Copies, "fully_replicated", s.FullyReplicated, "pending", s.Pending,
		"conflicts", s.Conflicts, "space", s.Space, "census", s.Census, "clock", s.Clock, "drive", s.Drive, "balance", s.Balance, "queue", s.Queue, "received", s.Received, "sent", s.Sent,
		"alarms", s.Alarms}
	if len(s.Faults) > 0 {
		kv = append(kv, "faults", s.Faults)
	}
	if len(s.Refused) > 0 {
		kv = append(kv, "refused", s.Refused)
	}
	if s.Rekey != nil {
		kv = append(kv, "rekey", s.Rekey)
	}
	return p.event("status", statusText(s), kv...)
}

// statusText is the status for people.
func statusText(s node.Status) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", safety(s))
	fmt.Fprintf(&b, "state   %s\n", stateText(s))
	fmt.Fprintf(&b, "pool    %s\n", s.Pool)
	fmt.Fprintf(&b, "drive   %s, %s free\n", formatBytes(s.Drive.Total), formatBytes(s.Drive.Free))
	if x := s.Balance; x.Running {
		fmt.Fprintf(&b, "moving  looked at %d of %s, of which %d get other holders\n", x.Looked, thousands(x.Files, "file"), x.Changed)
	}
	if q := queueText(s); q != "" {
		fmt.Fprintf(&b, "queue   %s\n", q)
	}
	if s.Rekey != nil && s.Rekey.Files > 0 {
		fmt.Fprintf(&b, "keys    %s\n", strings.ReplaceAll(rekeyText(*s.Rekey), "\n", "; "))
	}
	for _, a := range s.Alarms {
		fmt.Fprintf(&b, "alarm   %s\n", alarmText(s, a))
	}
	b.WriteByte('\n')
	b.WriteString(machineTable(s, time.Now()))
	return strings.TrimRight(b.String(), "\n")
}

func stateText(s node.Status) string {
	if s.Reason == "" {
		return string(s.State)
	}
	return fmt.Sprintf("%s: %s", s.State, s.Reason)
}

// queueText says what this machine still has to fetch.
func queueText(s node.Status) string {
	var parts []string
	if s.Queue.Files > 0 {
		t := fmt.Sprintf("%s, %s to come", thousands(s.Queue.Files, "file"), formatBytes(s.Queue.Bytes))
		if s.Received.Rate > 0 {
			t += fmt.Sprintf(", %s/s, %s left", formatBytes(s.Received.Rate), time.Duration(s.Queue.Seconds)*time.Second)
		}
		parts = append(parts, t)
	}
	if s.Copying > 0 {
		t := fmt.Sprintf("%s, %s for other machines", thousands(s.Copying, "file"), formatBytes(s.CopyingBytes))
		if s.Sent.Rate > 0 {
			t += fmt.Sprintf(", sending %s/s", formatBytes(s.Sent.Rate))
		}
		parts = append(parts, t)
	}
	return strings.Join(parts, "; ")
}

// alarmText is an alarm with the names of machines that have one.
func alarmText(s node.Status, a node.Alarm) string {
	who := a.Machine
	for _, m := range s.Machines {
		if m.ID.String() == a.Machine && m.Name != "" {
			who = m.Name
		}
	}
	t := a.Kind
	if who != "" {
		t += " " + who
	}
	t += ": " + a.Text
	if a.Count > 1 {
		t += fmt.Sprintf(" (%d times, last %s)", a.Count, a.Last.Local().Format(time.DateTime))
	} else {
		t += fmt.Sprintf(" (%s)", a.Since.Local().Format(time.DateTime))
	}
	return t
}

// machineTable shows the machines, this one marked by a star.
func machineTable(s node.Status, now time.Time) string {
	rows := [][]string{{"  MACHINE", "STATE", "SPACE", "REPLICAS", "CACHE", "FREE", "TO COME", "LAST SEEN", "ADDRESS"}}
	for _, m := range s.Machines {
		mark, name := "  ", m.Name
		if m.Self {
			mark = "* "
		}
		if name == "" {
			name = m.ID.Short()
		}
		row := []string{mark + name, string(m.State)}
		if m.Room.Total == 0 {
			row = append(row, "", "", "", formatBytes(int64(m.Space))+" in all")
		} else {
			row = append(row, spaceBar(m.Room, 20), formatBytes(m.Room.Replicas), formatBytes(m.Room.Cache), formatBytes(m.Room.Free))
		}
		queue := ""
		if m.Lag.Files > 0 {
			queue = fmt.Sprintf("%s, %s", thousands(m.Lag.Files, "file"), formatBytes(m.Lag.Bytes))
		}
		address := m.Address
		if m.Self {
			address = s.Listen
		}
		rows = append(rows, append(row, queue, seen(s, m, now), address))
	}
	return columns(rows)
}

// seen says when a machine was last there.
func seen(s node.Status, m node.MachineStatus, now time.Time) string {
	switch {
	case m.Self && s.Running, m.Connected:
		return "now"
	case m.Self:
		return "not running"
	case m.LastSeen.IsZero():
		return "never"
	}
	return ago(now.Sub(m.LastSeen)) + " ago"
}

// ago is a time for people.
func ago(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(max(0, d).Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// spaceBar draws replicas, cache and free room.
func spaceBar(s node.Space, width int) string {
	if s.Total <= 0 {
		return ""
	}
	part := func(n int64) int {
		p := int(float64(n) / float64(s.Total) * float64(width))
		if n > 0 && p == 0 {
			p = 1 // there is some
		}
		return min(p, width)
	}
	r := part(s.Replicas)
	c := min(part(s.Cache), width-r)
	return "[" + strings.Repeat("#", r) + strings.Repeat("+", c) + strings.Repeat(".", width-r-c) + "]"
}
