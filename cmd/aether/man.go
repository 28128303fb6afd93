package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand() *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "write the manual page", ArgsUsage: "DIR",
		Description: "Writes aether.1 into the directory DIR, which must exist." + examples("aether man /usr/local/share/man/man1"),
		Action: func(c *cli.Context) error {
			if c.NArg() != 1 {
				return usage("want one DIR")
			}
			p, err := newPrinter(c)
			if err != nil {
				return err
			}
			file := filepath.Join(c.Args().First(), "aether.1")
			if err := os.WriteFile(file, manPage(c.App), 0o644); err != nil {
				return fmt.Errorf("man: %w", err)
			}
			return p.event("written", file, "file", file)
		},
	}
}

// manPage returns the manual page in man(7) macros: what --help says of the
// program and of every leaf.
func manPage(app *cli.App) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH AETHER 1\n.SH NAME\naether \\- %s\n", roff(app.Usage))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B aether\n.I GROUP VERB\n[flags] [arguments]\n")
	fmt.Fprintf(&b, ".SH DESCRIPTION\n")
	manText(&b, app.Description)
	fmt.Fprintf(&b, ".SH COMMANDS\n")
	manCommands(&b, app.Name, app.Commands)
	return b.Bytes()
}

func manCommands(b *bytes.Buffer, prefix string, cmds []*cli.Command) {
	for _, c := range cmds {
		if c.Hidden {
			continue
		}
		name := prefix + " " + c.Name
		if len(c.Subcommands) > 0 {
			manCommands(b, name, c.Subcommands)
			continue
		}
		fmt.Fprintf(b, ".SS %s\n.B %s\n[flags] %s\n.PP\n%s\n.PP\n", roff(name), roff(name), roff(c.ArgsUsage), roff(c.Usage))
		manText(b, c.Description)
		for _, f := range c.VisibleFlags() {
			names, text, _ := strings.Cut(f.String(), "\t")
			fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(names)), roff(strings.TrimSpace(text)))
		}
	}
}

// manText writes a description: paragraphs as they are, examples line by line.
func manText(b *bytes.Buffer, text string) {
	text, lines, _ := strings.Cut(text, "\n\nExamples:\n")
	for _, p := range strings.Split(text, "\n\n") {
		fmt.Fprintf(b, ".PP\n%s\n", roff(p))
	}
	if lines != "" {
		fmt.Fprintf(b, ".PP\nExamples:\n.PP\n.EX\n%s\n.EE\n", roff(lines))
	}
}

// roff escapes s for troff: backslashes, hyphens that are to stay hyphens, and
// lines that would begin a request.
func roff(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		l = strings.NewReplacer(`\`, `\e`, `-`, `\-`).Replace(l)
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			l = `\&` + l
		}
		lines[i] = l
	}
	return strings.Join(lines, "\n")
}
