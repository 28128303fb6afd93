package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/mdns/conform"
)

func mdnsConformCommand() *cli.Command {
	return &cli.Command{
		Name:      "conform",
		Usage:     "test a responder on the link against RFC 6762",
		ArgsUsage: "TARGET",
		Description: "TARGET is an instance of a service, Wiki._http._tcp.local, or a host, box.local, for which fewer\n" +
			"checks are possible. Each check ends in pass, warning (a SHOULD is not met), fail (a MUST is not\n" +
			"met) or skip.\n\n" +
			"Some checks need the target to start anew. --restart runs a program for that, without a shell;\n" +
			"--ask says when, and waits a minute. Without either they are skipped. The checks at the end take\n" +
			"names away from the target: do not test what others need meanwhile.\n" +
			"Exit status: 0 when no check failed, 1 when one did or the target was not found." +
			examples(`aether mdns conform Wiki._http._tcp.local`,
				`aether mdns conform printer.local --pcap failures --junit report.xml`,
				`aether mdns conform Wiki._http._tcp.local --restart 'systemctl restart wiki'`),
		Flags: zeroconfFlags(
			&cli.StringFlag{Name: "restart", Usage: "run `PROGRAM` to restart the target"},
			&cli.BoolFlag{Name: "ask", Usage: "say when somebody must restart the target, and wait"},
			&cli.StringSliceFlag{Name: "only", Usage: "run the check `NAME` only (repeatable)"},
			&cli.BoolFlag{Name: "list", Usage: "list the checks"},
			&cli.StringFlag{Name: "junit", Usage: "write the results to `FILE` as JUnit does"},
			&cli.StringFlag{Name: "pcap", Usage: "write a capture file for each check that did not pass into `DIR`"},
			&cli.DurationFlag{Name: "idle", Usage: "watch the target for `TIME` in silence", Value: 5 * time.Second},
		),
		Action: func(c *cli.Context) error {
			z, err := zeroconfOf(c)
			if err != nil {
				return err
			}
			if c.Bool("list") {
				return listChecks(z.out)
			}
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			f := conformance{z: z, junit: c.String("junit"), pcap: c.String("pcap")}
			cfg, err := f.config(c)
			if err != nil {
				return err
			}
			return f.run(c.Context, cfg)
		},
	}
}

func listChecks(out *printer) error {
	for _, c := range conform.Checks() {
		err := out.event("check", fmt.Sprintf("%-22s %s (%s)", c.Name, c.Title, c.Section),
			"check", c.Name, "title", c.Title, "section", c.Section, "needs_restart", c.NeedsRestart())
		if err != nil {
			return err
		}
	}
	return nil
}

// conformance is one run of conform.
type conformance struct {
	z           zeroconf
	junit, pcap string
}

func (f conformance) config(c *cli.Context) (conform.Config, error) {
	cfg := conform.Config{Target: c.Args().First(), IPv6: f.z.ipv6, Idle: c.Duration("idle"), Logger: f.z.log, Event: f.tell}
	switch list := c.StringSlice("interface"); len(list) {
	case 0:
	case 1:
		cfg.Interface = list[0]
	default:
		return cfg, usage("conform uses one interface")
	}
	if cfg.Idle <= 0 {
		return cfg, usage("--idle must be positive")
	}
	if only := c.StringSlice("only"); len(only) > 0 {
		for _, name := range only {
			i := slices.IndexFunc(conform.Checks(), func(c conform.Check) bool { return c.Name == name })
			if i < 0 {
				return cfg, usage("no check is called %q; see --list", name)
			}
			cfg.Checks = append(cfg.Checks, conform.Checks()[i])
		}
	}
	switch program := c.String("restart"); {
	case program != "" && c.Bool("ask"):
		return cfg, usage("--restart and --ask exclude each other")
	case c.Bool("ask"):
		cfg.Restart = func(context.Context) error { return nil } // tell has asked
	case program != "":
		argv, err := words(program)
		if err != nil || len(argv) == 0 {
			return cfg, usage("--restart: %q is no program", program)
		}
		cfg.Restart = func(ctx context.Context) error {
			cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %s", argv[0], err, printable(strings.TrimSpace(string(out))))
			}
			return nil
		}
	}
	if f.pcap != "" {
		if err := os.MkdirAll(f.pcap, 0o755); err != nil {
			return cfg, err
		}
	}
	return cfg, nil
}

func (f conformance) run(ctx context.Context, cfg conform.Config) error {
	results, err := conform.Run(ctx, cfg)
	if err != nil {
		return err
	}
	count := make(map[conform.Verdict]int)
	for _, r := range results {
		count[r.Verdict]++
		if f.pcap != "" && r.Verdict >= conform.Warning {
			err = errors.Join(err, f.capture(r))
		}
	}
	if f.junit != "" {
		err = errors.Join(err, writeJUnit(f.junit, cfg.Target, results))
	}
	sum := fmt.Sprintf("%d passed, %d warnings, %d failed, %d skipped",
		count[conform.Pass], count[conform.Warning], count[conform.Fail], count[conform.Skipped])
	err = errors.Join(err, f.z.out.event("summary", sum, "pass", count[conform.Pass], "warning", count[conform.Warning],
		"fail", count[conform.Fail], "skip", count[conform.Skipped]))
	if err == nil && count[conform.Fail] > 0 {
		err = fmt.Errorf("%s: %d checks failed", cfg.Target, count[conform.Fail])
	}
	return err
}

// tell prints what happens as it does.
func (f conformance) tell(e conform.Event) {
	switch r := e.Result; e.Kind {
	case conform.EventResult:
		text := fmt.Sprintf("%-7s %-22s %s (%s)", r.Verdict, r.Check, r.Title, r.Section)
		for _, n := range r.Notes {
			text += "\n          " + n
		}
		notes := make([]wireText, len(r.Notes))
		for i, n := range r.Notes {
			notes[i] = wireText(n)
		}
		_ = f.z.out.event("result", text, "check", r.Check, "verdict", r.Verdict.String(), "title", r.Title, "section", r.Section,
			"notes", notes, "took_ms", r.Took.Milliseconds(), "packets", len(r.Packets))
	case conform.EventRestart:
		_ = f.z.out.event("restart", "restart the target now")
	}
}

func (f conformance) capture(r conform.Result) error {
	w, err := os.Create(filepath.Join(f.pcap, r.Check+".pcap"))
	if err != nil {
		return err
	}
	return errors.Join(conform.WriteCapture(w, r.Packets), w.Close())
}

// The elements of a JUnit report.
type (
	junitSuite struct {
		XMLName  xml.Name    `xml:"testsuite"`
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string     `xml:"classname,attr"`
		Name    string     `xml:"name,attr"`
		Time    float64    `xml:"time,attr"`
		Failure *junitText `xml:"failure"`
		Skipped *junitText `xml:"skipped"`
		Out     string     `xml:"system-out,omitempty"`
	}
	junitText struct {
		Message string `xml:"message,attr"`
	}
)

func writeJUnit(file, target string, results []conform.Result) error {
	s := junitSuite{Name: "mdns conform " + target, Tests: len(results)}
	for _, r := range results {
		c := junitCase{Class: r.Section, Name: r.Check, Time: r.Took.Seconds(), Out: strings.Join(r.Notes, "\n")}
		text := &junitText{strings.Join(r.Notes, "; ")}
		switch r.Verdict {
		case conform.Fail:
			s.Failures++
			c.Failure = text
		case conform.Skipped:
			s.Skipped++
			c.Skipped = text
		}
		s.Cases = append(s.Cases, c)
	}
	b, err := xml.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(xml.Header), append(b, '\n')...), 0o644)
}
