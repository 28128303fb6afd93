package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/lmittmann/tint"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// printer writes a command's results: text for people, or with --json an object a
// line. It is safe for concurrent use. Strings in text are made printable, since
// they may come from a network and must not drive a terminal.
type printer struct {
	mu     sync.Mutex
	out    io.Writer
	json   bool
	colour bool
	err    error // of the first write that failed
}

func newPrinter(c *cli.Context) (*printer, error) {
	p := &printer{out: c.App.Writer, json: c.Bool("json")}
	switch when := c.String("color"); when {
	case "always":
		p.colour = true
	case "auto":
		p.colour = os.Getenv("NO_COLOR") == "" && isTerminal(p.out)
	case "never":
	default:
		return nil, usage("--color takes auto, always or never, not %q", when)
	}
	return p, nil
}

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// event prints one result: in JSON an object of event, time and the pairs of kv in
// their order, else the line text, or nothing where text is empty. It returns the
// first error of writing, after which the command should end.
func (p *printer) event(event, text string, kv ...any) error {
	if !p.json {
		if text == "" {
			return p.failure()
		}
		return p.line(text)
	}
	var b bytes.Buffer
	pair := func(key string, v any) error {
		k, err := json.Marshal(key)
		if err != nil {
			return err
		}
		val, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("print %s: %w", key, err)
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(inert(val))
		return nil
	}
	b.WriteByte('{')
	all := append([]any{"event", event, "time", time.Now().Format(time.RFC3339Nano)}, kv...)
	for i := 0; i+1 < len(all); i += 2 {
		if err := pair(all[i].(string), all[i+1]); err != nil {
			return err
		}
	}
	b.WriteString("}\n")
	return p.write(b.Bytes())
}

// inert writes what could steer a terminal as \uXXXX, which readers of JSON undo.
// Such characters are in strings only.
func inert(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for _, r := range string(raw) {
		switch {
		case unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// line prints a line of text, made printable.
func (p *printer) line(text string) error {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = printable(lines[i])
	}
	return p.write([]byte(strings.Join(lines, "\n") + "\n"))
}

func (p *printer) write(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		_, p.err = p.out.Write(b)
	}
	return p.err
}

func (p *printer) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// printable returns s with control characters, also those of Unicode, replaced by
// escapes. Tabs stay: columns are made of them.
func printable(s string) string {
	clean := func(r rune) bool { return r == '\t' || r != unicode.ReplacementChar && unicode.IsPrint(r) }
	if strings.IndexFunc(s, func(r rune) bool { return !clean(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case clean(r):
			b.WriteRune(r)
		case r == unicode.ReplacementChar:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// newLogger returns what a command logs to: standard error, warnings and worse, or
// everything with --verbose.
func newLogger(c *cli.Context) *slog.Logger {
	level := slog.LevelWarn
	if c.Bool("verbose") {
		level = slog.LevelDebug
	}
	w := c.App.ErrWriter
	if isTerminal(w) && os.Getenv("NO_COLOR") == "" {
		return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly}))
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}
