package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/mdns/doctor"
	"github.com/aether-lan/aether/multicast"
)

// statusUnknown is the doctor's: nothing was heard, so there is no verdict.
const statusUnknown = 4

func mdnsDoctorCommand() *cli.Command {
	return &cli.Command{
		Name:  "doctor",
		Usage: "listen, and name the hosts that break the rules of multicast DNS",
		Description: "Sends nothing. Listens for --for, or reads a capture (pcap or pcapng) with --read. Text output\n" +
			"begins with the verdict; the worst findings of each host come first.\n" +
			"Exit status: 0 when healthy or nothing worse than a warning, 1 when something is broken,\n" +
			"4 when nothing was heard or the capture cannot be read." +
			examples("aether mdns doctor --for 5m -i eth0", "aether mdns doctor --read lan.pcapng --json"),
		Flags: []cli.Flag{
			interfaceFlag("listen on `IF` only (repeatable; default: all that can multicast)"),
			&cli.BoolFlag{Name: "4", Usage: "IPv4 only"},
			&cli.BoolFlag{Name: "6", Usage: "IPv6 only"},
			&cli.DurationFlag{Name: "for", Usage: "listen for `TIME`", Value: 30 * time.Second},
			&cli.StringFlag{Name: "read", Usage: "read the capture `FILE` instead (-: standard input)"},
		},
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			if c.Duration("for") <= 0 {
				return usage("--for must be positive")
			}
			out, err := newPrinter(c)
			if err != nil {
				return err
			}
			d := doctor.New()
			if file := c.String("read"); file != "" {
				err = doctorRead(c.Context, d, file, c.App)
			} else {
				err = doctorListen(c, d)
			}
			if err != nil {
				return err
			}
			return doctorReport(out, d)
		},
	}
}

func doctorListen(c *cli.Context, d *doctor.Doctor) error {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("for"))
	defer cancel()
	cfg := doctor.Config{Interfaces: c.StringSlice("interface"), IPv4: c.Bool("4"), IPv6: c.Bool("6")}
	return doctor.Listen(ctx, d, cfg)
}

// doctorRead lets d hear the capture in file.
func doctorRead(ctx context.Context, d *doctor.Doctor, file string, app *cli.App) error {
	in, err := openInput(app, file)
	if err != nil {
		return err
	}
	defer in.Close()
	capture, err := doctor.OpenCapture(in)
	if err != nil {
		return &statusError{statusUnknown, err}
	}
	if err := doctor.Replay(ctx, d, capture); err != nil {
		// What was read until then is still worth a report.
		if !errors.Is(err, doctor.ErrCapture) && !errors.Is(err, io.ErrUnexpectedEOF) || d.Totals().Packets == 0 {
			return &statusError{statusUnknown, err}
		}
		fmt.Fprintln(app.ErrWriter, programPrefix+printable(oneLine(err.Error())))
	}
	if capture.Truncated > 0 {
		fmt.Fprintf(app.ErrWriter, "%s%d packets are cut short in the capture and were not judged\n", programPrefix, capture.Truncated)
	}
	return nil
}

// doctorReport prints the verdict and the findings by host, and ends with their status.
func doctorReport(out *printer, d *doctor.Doctor) error {
	found, totals := d.Findings(), d.Totals()
	verdict, status := doctorVerdict(found, totals)
	t := totals.Untracked
	text := fmt.Sprintf("%s: %d packets (%.0f an hour) from %d hosts, %d queries, %d responses, %d malformed",
		verdict, totals.Packets, totals.PacketsPerHour, totals.Hosts, totals.Queries, totals.Responses, totals.Malformed)
	if n := t.Hosts + t.Findings + t.Records + t.Questions; n > 0 {
		text += fmt.Sprintf(", %d not tracked", n)
	}
	err := out.event("verdict", text, "verdict", verdict, "exit_status", status,
		"packets", totals.Packets, "packets_per_hour", totals.PacketsPerHour, "hosts", totals.Hosts, "queries", totals.Queries,
		"responses", totals.Responses, "malformed", totals.Malformed, "first", stamp(totals.First), "last", stamp(totals.Last),
		"untracked_hosts", t.Hosts, "untracked_findings", t.Findings, "untracked_records", t.Records, "untracked_questions", t.Questions)
	if err != nil {
		return err
	}
	for _, host := range hostsOf(found) {
		if err := doctorHost(out, host); err != nil {
			return err
		}
	}
	if status != statusDone {
		return &statusError{status, errQuiet}
	}
	return nil
}

// doctorVerdict returns the verdict in words and the exit status.
func doctorVerdict(found []doctor.Finding, totals doctor.Totals) (verdict string, status int) {
	bad := make(map[netip.Addr]bool)
	for _, f := range found {
		if f.Severity >= doctor.Warning {
			bad[f.Host.Addr] = true
		}
		if f.Severity == doctor.Broken {
			status = statusFailed
		}
	}
	switch {
	case totals.Packets == 0:
		return "nothing heard", statusUnknown
	case len(bad) == 0:
		return "healthy", statusDone
	case len(bad) == 1:
		return "1 host misbehaves", status
	}
	return fmt.Sprintf("%d hosts misbehave", len(bad)), status
}

// hostsOf groups findings by host; hosts stay in the order of their worst finding.
func hostsOf(found []doctor.Finding) (groups [][]doctor.Finding) {
	for _, f := range found {
		i := slices.IndexFunc(groups, func(g []doctor.Finding) bool { return g[0].Host.Addr == f.Host.Addr })
		if i < 0 {
			groups, i = append(groups, nil), len(groups)
		}
		groups[i] = append(groups[i], f)
	}
	return groups
}

func doctorHost(out *printer, found []doctor.Finding) error {
	if !out.json {
		if err := out.line(hostText(found[0].Host)); err != nil {
			return err
		}
	}
	for _, f := range found {
		with := ""
		if f.Other.IsValid() {
			with = fmt.Sprintf(" (%v)", f.Other)
		}
		text := fmt.Sprintf("  %-7v %s: %s%s, %d times [%s]\n          %s", f.Severity, f.Rule, f.What, with, f.Count, f.Section, f.Advice)
		err := out.event("finding", text, "severity", f.Severity.String(), "rule", string(f.Rule),
			"host", f.Host.Addr.String(), "hardware_addr", macText(f.Host.HardwareAddr), "hop_limit", f.Host.HopLimit,
			"other", addressText(f.Other), "what", wireText(f.What), "count", f.Count,
			"first", stamp(f.First), "last", stamp(f.Last), "section", f.Section, "advice", f.Advice)
		if err != nil {
			return err
		}
	}
	return nil
}

func hostText(h doctor.Host) string {
	parts := []string{h.Addr.String()}
	if mac := macText(h.HardwareAddr); mac != "" {
		parts = append(parts, mac)
	}
	if h.HopLimit > 0 {
		parts = append(parts, fmt.Sprintf("IP TTL %d", h.HopLimit))
	}
	return fmt.Sprintf("%s, %d packets", strings.Join(parts, ", "), h.Packets)
}

// macText is a MAC address, or nothing where it is unknown.
func macText(a multicast.HardwareAddr) string {
	if a == (multicast.HardwareAddr{}) {
		return ""
	}
	return a.String()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
