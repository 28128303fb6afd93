package main

import (
	"context"
	"log/slog"

	"github.com/lmittmann/tint"
	"github.com/urfave/cli/v2"
)

// eventLogger returns a logger that calls tell with the fields of records called name,
// and prints the rest on standard error: warnings, and with --verbose everything.
func eventLogger(c *cli.Context, name string, tell func(fields map[string]any) error) *slog.Logger {
	level := slog.LevelWarn
	if c.Bool("verbose") {
		level = slog.LevelDebug
	}
	h := tint.NewTextHandler(c.App.ErrWriter, &tint.Options{Level: level, NoColor: !isTerminal(c.App.ErrWriter)})
	return slog.New(eventLines{h, name, tell})
}

// eventLines is a log handler that makes events of some records.
type eventLines struct {
	slog.Handler
	name string
	tell func(fields map[string]any) error
}

// Enabled lets events through, which are of level Info.
func (h eventLines) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.Handler.Enabled(ctx, l)
}

// Handle tells events and leaves the rest to the other handler.
func (h eventLines) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == h.name && r.Level >= slog.LevelInfo {
		fields := map[string]any{}
		r.Attrs(func(a slog.Attr) bool { fields[a.Key] = a.Value.Any(); return true })
		return h.tell(fields)
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}
