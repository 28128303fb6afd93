package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/igmp"
)

func igmpMonitorCommand() *cli.Command {
	return &cli.Command{
		Name:  "monitor",
		Usage: "print who asks, who joins and who leaves, sending nothing",
		Description: "Runs until interrupted, --timeout or --count. Prints a line a message (query, report, leave), and what\n" +
			"follows from it: join for a new member, expire for one that has not reported for the group membership\n" +
			"interval. A snooping switch keeps the reports of hosts at other ports away: listen at the querier's port,\n" +
			"or read a capture with --read. Needs CAP_NET_RAW.\n" +
			"Exit status: 0; 1 when --count was not reached." +
			examples("aether igmp monitor -i eth0", "aether igmp monitor --group 239.1.2.3 --count 1 --timeout 3m --json"),
		Flags: append(igmpFamilyFlags(),
			interfaceFlag("listen on `IF` only (repeatable; default: all that can multicast)"),
			waitFlag("end after `TIME` (0: never)", 0),
			&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Usage: "end after `N` lines (0: never)"},
			&cli.StringFlag{Name: "group", Aliases: []string{"g"}, Usage: "only what is about `GROUP`, and general queries"},
			&cli.StringFlag{Name: "read", Usage: "read the capture `FILE` instead (-: standard input)"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			m := &igmpMonitoring{count: int64(c.Int("count"))}
			m.four, m.six = igmpFamilies(c)
			var err error
			if m.out, err = newPrinter(c); err != nil {
				return err
			}
			if s := c.String("group"); s != "" {
				if m.group, err = igmpGroup(s); err != nil {
					return err
				}
			}
			if c.Duration("timeout") < 0 || m.count < 0 {
				return usage("--timeout and --count must not be negative")
			}
			if file := c.String("read"); file != "" {
				return m.end(m.read(file, c.App))
			}
			return m.end(m.listen(c))
		},
	}
}

// igmpMonitoring prints the events that its filter passes.
type igmpMonitoring struct {
	out       *printer
	four, six bool
	group     netip.Addr // invalid passes all
	count     int64      // 0 is without end
	printed   atomic.Int64
}

// errEnough ends the listening: as many lines as asked for were printed.
var errEnough = errors.New("enough lines")

func (m *igmpMonitoring) end(err error) error {
	switch {
	case errors.Is(err, errEnough):
		return nil
	case err == nil && m.count > 0 && m.printed.Load() < m.count:
		return failed()
	}
	return err
}

func (m *igmpMonitoring) listen(c *cli.Context) error {
	list, err := igmpInterfaces(c)
	if err != nil {
		return err
	}
	l, err := openIgmpListening(list)
	if err != nil {
		return err
	}
	ctx := c.Context
	if d := c.Duration("timeout"); d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	return l.run(ctx, m.tell)
}

// read has a Monitor hear a capture on the capture's own clock.
func (m *igmpMonitoring) read(file string, app *cli.App) error {
	return readIgmpCapture(file, app, func(mon *igmp.Monitor) error {
		for _, e := range mon.Events() {
			if err := m.tell("", e); err != nil {
				return err
			}
		}
		return nil
	})
}

// readIgmpCapture plays a capture to a new Monitor, and calls heard after each frame.
func readIgmpCapture(file string, app *cli.App, heard func(*igmp.Monitor) error) error {
	in, err := openInput(app, file)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := igmp.OpenCapture(in)
	if err != nil {
		return &statusError{statusFailed, err}
	}
	var mon *igmp.Monitor
	for {
		f, err := r.Next()
		if err != nil {
			if errors.Is(err, io.EOF) {
				if mon == nil {
					return &statusError{statusFailed, errors.New("the capture is empty")}
				}
				return nil
			}
			return &statusError{statusFailed, err}
		}
		if mon == nil {
			mon = igmp.NewMonitor(f.At, igmp.MonitorConfig{})
		}
		for t, ok := mon.NextTimeout(); ok && t.Before(f.At); t, ok = mon.NextTimeout() {
			mon.HandleTimeout(t)
		}
		mon.HandleFrame(f.At, f.Frame)
		if err := heard(mon); err != nil {
			return err
		}
	}
}

// tell prints an event of an interface.
func (m *igmpMonitoring) tell(ifi string, e igmp.MonitorEvent) error {
	six := e.Host.Addr.Is6()
	if six && !m.six || !six && !m.four || m.group.IsValid() && e.Group.IsValid() && e.Group != m.group {
		return nil
	}
	if m.group.IsValid() && e.Kind == igmp.HeardMalformed {
		return nil
	}
	if err := printMonitored(m.out, ifi, e); err != nil {
		return err
	}
	if n := m.printed.Add(1); m.count > 0 && n >= m.count {
		return errEnough
	}
	return nil
}

func printMonitored(out *printer, ifi string, e igmp.MonitorEvent) error {
	parts := []string{e.At.Format("15:04:05.000"), e.String()}
	if ifi != "" {
		parts = append(parts, "on "+ifi)
	}
	kv := []any{
		"group", addressText(e.Group), "source", addressText(e.Source), "host", addressText(e.Host.Addr),
		"version", e.Version, "interface", ifi, "hardware_addr", igmpHardware(e.Host.HardwareAddr),
		"sources", addressTexts(e.Sources), "heard", e.At.Format(time.RFC3339Nano),
	}
	if e.Record != 0 {
		kv = append(kv, "record", e.Record.String())
	}
	if q, ok := e.Packet.Message.(*igmp.Query); ok {
		parts = append(parts, fmt.Sprintf("answer within %v", q.MaxResponse))
		if q.Version == igmp.V3 {
			parts = append(parts, fmt.Sprintf("robustness %d, every %v", q.Robustness, q.Interval))
		}
		kv = append(kv, "max_response", q.MaxResponse.Seconds(), "robustness", q.Robustness, "interval", q.Interval.Seconds(), "suppress", q.Suppress)
	}
	if e.Err != nil {
		kv = append(kv, "error", e.Err.Error())
	}
	return out.event(e.Kind.String(), strings.Join(parts, " "), kv...)
}
