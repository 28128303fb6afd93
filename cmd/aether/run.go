package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
)

// The exit statuses. Each command documents what 1 means for it.
const (
	statusDone    = 0 // done, found
	statusFailed  = 1 // failed, not found, in use
	statusUsage   = 2 // the command line makes no sense
	statusCannot  = 3 // not permitted, or not supported here
	statusSignal  = 130
	statusOfPipe  = 0 // whoever read our output has enough
	programPrefix = "aether: "
)

// statusError is an error that knows its exit status. An empty text prints nothing.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// errQuiet is an error that was already reported on standard output.
var errQuiet = errors.New("")

// failed ends a command with status 1 and nothing more to say: what failed stands
// on standard output.
func failed() error { return &statusError{statusFailed, errQuiet} }

// usage ends a command with status 2.
func usage(format string, args ...any) error {
	return &statusError{statusUsage, fmt.Errorf(format, args...)}
}

// statusOf returns the exit status for err.
func statusOf(err error) int {
	var s *statusError
	switch {
	case err == nil:
		return statusDone
	case errors.As(err, &s):
		return s.status
	case errors.Is(err, syscall.EPIPE):
		return statusOfPipe
	case errors.Is(err, fs.ErrPermission), errors.Is(err, errors.ErrUnsupported), errors.Is(err, syscall.EROFS), isNotPermitted(err):
		return statusCannot
	}
	return statusFailed
}

// run is the program: it returns the exit status. The first interrupt ends ctx, so
// that commands undo what they did; the second one kills.
func run(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	app := newApp(in, out, errw)
	args, err := reorder(app, args)
	if err == nil {
		err = app.RunContext(ctx, args)
	}
	status := statusOf(err)
	if err != nil && !errors.Is(err, errQuiet) && !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintln(errw, programPrefix+printable(oneLine(err.Error())))
	}
	return status
}

// oneLine joins the lines of a joined error.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' }), "; ")
}

func newApp(in io.Reader, out, errw io.Writer) *cli.App {
	app := &cli.App{
		Name:  "aether",
		Usage: "addresses, names, services and a shared drive for networks without administrators",
		Description: "Flags may stand before or after arguments; -- ends them.\n\n" +
			"Exit status: 0 done or found, 1 not found, in use or failed, 2 usage, 3 not permitted or not supported here.",
		Reader: in, Writer: out, ErrWriter: errw,
		ExitErrHandler:       func(*cli.Context, error) {},
		HideHelpCommand:      true,
		HideVersion:          true,
		EnableBashCompletion: true,
		Commands:             commands(),
	}
	finish(app.Commands)
	return app
}
