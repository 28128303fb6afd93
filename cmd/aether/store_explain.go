package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store"
	"github.com/aether-lan/aether/store/drive"
	"github.com/aether-lan/aether/store/index"
	"github.com/aether-lan/aether/store/pool"
	"github.com/aether-lan/aether/store/tree"
)

// explainedError is an error in the words of whoever typed the command.
type explainedError struct {
	text string
	err  error
}

func (e *explainedError) Error() string { return e.text }
func (e *explainedError) Unwrap() error { return e.err }

// explain lets the commands below c say what went wrong by explained.
func explain(c *cli.Command) {
	for _, sub := range c.Subcommands {
		explain(sub)
		if do := sub.Action; do != nil {
			sub.Action = func(c *cli.Context) error { return explained(c, do(c)) }
		}
	}
}

// explained says what a command on the drive ran into without naming the packages that
// it came through, and what to do about it where there is something to do.
func explained(c *cli.Context, err error) error {
	var own *statusError
	if err == nil || errors.As(err, &own) {
		return err // it was made here
	}
	text := err.Error()
	if !slices.ContainsFunc(c.Args().Slice(), func(arg string) bool { return strings.Contains(arg, ": ") }) {
		text = withoutRooms(text)
	}
	if hint := hintFor(c, err); hint != "" {
		text += "; " + hint
	}
	return &explainedError{text, err}
}

// rooms are the packages through which an error comes to the command line.
var rooms = []string{"node", "drive", "tree", "segment", "chunk", "index", "pool", "mount", "store"}

// withoutRooms takes the names of packages out of the text of an error, and what it
// says twice in a row.
func withoutRooms(text string) string {
	var parts []string
	for part := range strings.SplitSeq(text, ": ") {
		what, found := strings.CutPrefix(part, "lookup ")
		if last := len(parts) - 1; slices.Contains(rooms, part) || last >= 0 && (parts[last] == part || found && strings.HasSuffix(parts[last], what)) {
			continue
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ": ")
}

// hintFor says what to do about an error, or nothing.
func hintFor(c *cli.Context, err error) string {
	dir := storeDir(c)
	switch {
	case errors.Is(err, tree.ErrNotEmpty) && c.Command.Name == "rm":
		return "rm -r removes it with all that it holds"
	case errors.Is(err, store.ErrNotFound) && c.Command.Name == "mkdir":
		return "mkdir -p makes the directories above it too"
	case errors.Is(err, store.ErrFull):
		return hintForFull(err.Error())
	case errors.Is(err, drive.ErrUnreachable):
		return "aether store status shows which machines are away"
	case errors.Is(err, index.ErrDamaged):
		return "move " + filepath.Join(dir, "index") + " away and start again: it is made anew from what lies beside it"
	case errors.Is(err, fs.ErrPermission) && !ownDir(dir):
		return dir + " belongs to another user: become that user, or use --dir"
	}
	return ""
}

// hintForFull says what to do about an error that says what is full.
func hintForFull(text string) string {
	switch {
	case strings.Contains(text, "make room on the disk"):
		return "" // it says so itself
	case strings.Contains(text, "set aside"):
		return "remove something and run aether store gc, or set more --space aside"
	}
	return "make room on the disk, or remove something and run aether store gc"
}

// ownDir reports whether the machine's directory can be looked into.
func ownDir(dir string) bool {
	f, err := os.Open(filepath.Join(dir, pool.SecretFile))
	if err == nil {
		_ = f.Close()
	}
	return !errors.Is(err, fs.ErrPermission)
}
