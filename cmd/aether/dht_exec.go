package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht/topics"
)

// dhtProgram returns the words of --exec, nil when it was not given.
func dhtProgram(c *cli.Context) ([]string, error) {
	s := c.String("exec")
	if s == "" {
		return nil, nil
	}
	argv, err := words(s)
	if err != nil {
		return nil, usage("--exec: %w", err)
	}
	if len(argv) == 0 {
		return nil, usage("--exec needs a program")
	}
	if _, err := exec.LookPath(argv[0]); err != nil {
		return nil, usage("--exec: %w", err)
	}
	return argv, nil
}

// runProgram runs argv with input on its standard input, and returns what it prints, as
// far as a message may be long. Its error has what it said on standard error.
func runProgram(ctx context.Context, argv []string, input []byte, env []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out, errs bounded
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
	cmd.Env = append(os.Environ(), env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(string(errs.b)); said != "" {
			return nil, fmt.Errorf("%w: %s", err, said[:min(len(said), topics.MaxText)])
		}
		return nil, err
	}
	return out.b, nil
}

// bounded keeps the first bytes that are written to it.
type bounded struct{ b []byte }

// Write keeps what there is room for, and takes the rest.
func (w *bounded) Write(b []byte) (int, error) {
	w.b = append(w.b, b[:min(len(b), topics.MaxPayload-len(w.b))]...)
	return len(b), nil
}
