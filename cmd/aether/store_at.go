package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
)

// atFlag names an instant in the past.
func atFlag() cli.Flag {
	return &cli.StringFlag{Name: "at", Usage: "as it was at this `TIME`: 2025-01-31T14:05, 14:05 (today), or 2h, 3d ago"}
}

// instantFlag reads --at; it is zero where the flag is not given.
func instantFlag(c *cli.Context) (time.Time, error) {
	if !c.IsSet("at") {
		return time.Time{}, nil
	}
	t, err := parseInstant(c.String("at"), time.Now())
	if err != nil {
		return t, usage("--at: %v", err)
	}
	return t, nil
}

// eachPathAt calls f with each /PATH that a command was given, and with its --at,
// until there is an error.
func eachPathAt(c *cli.Context, f func(c *cli.Context, m *node.Client, p *printer, path string, at time.Time) error) error {
	if c.NArg() == 0 {
		return usage("want /PATH")
	}
	at, err := instantFlag(c)
	if err != nil {
		return err
	}
	return withMachine(c, func(c *cli.Context, m *node.Client, p *printer) error {
		for _, path := range c.Args().Slice() {
			if err := f(c, m, p, path, at); err != nil {
				return err
			}
		}
		return nil
	})
}

// parseInstant reads an instant as people write it, in local time where no zone is
// named.
func parseInstant(s string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			y, m, d := now.Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location()), nil
		}
	}
	if d, err := parseAge(strings.TrimSpace(strings.TrimSuffix(s, "ago"))); err == nil {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; want something like 2025-01-31T14:05, 14:05 or 2h", s)
}

// parseAge reads a duration that may count in days and weeks: 90s, 2h, 3d, 2w.
func parseAge(s string) (time.Duration, error) {
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			var f float64
			if _, err := fmt.Sscanf(n, "%g", &f); err != nil || f < 0 || f > 1e5 {
				return 0, fmt.Errorf("%q is no duration", s)
			}
			return time.Duration(f * float64(unit)), nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration; want something like 12h or 30d", s)
	}
	return d, nil
}
