package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/store/node"
	"github.com/aether-lan/aether/store/pool"
)

func storeJoinCommand() *cli.Command {
	flags := slices.DeleteFunc(machineFlags(), func(f cli.Flag) bool { return slices.Contains(f.Names(), "secret-file") })
	return &cli.Command{
		Name: "join", Usage: "make this machine a member of a pool that invites it",
		Description: "Asks for the code that aether store invite shows on a machine of the pool, or reads it from standard\n" +
			"input or --code-file; it is no argument, since arguments are seen by other users. The machine that\n" +
			"invites is found on the network, or named with --at. Then start the node: aether store serve. A node\n" +
			"that runs joins too, if its pool has no other machine and no file.\n" +
			"JSON: joined {pool, machine, dir, inviter, inviter_name}. Exit status: 1 when the code is not accepted,\n" +
			"nobody invites, or the machine is in a pool, 2 when the words are no code." +
			examples("aether store join", "aether store join --at 192.0.2.7:40123 --code-file code.txt --name bob --space 200GiB"),
		Flags: append(flags, dirFlag(), timeoutFlag(),
			&cli.StringFlag{Name: "at", Usage: "`HOST:PORT` of the machine that invites, as it shows it", DefaultText: "looked for on the network"},
			interfaceFlag("look on this `INTERFACE` only; may be repeated"),
			&cli.StringFlag{Name: "code-file", Usage: "read the code from `FILE`", DefaultText: "asked for, or standard input"},
		),
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("the code is no argument: other users of this host could see it; type it when asked, or use --code-file")
			}
			p, err := newPrinter(c)
			if err != nil {
				return err
			}
			return storeJoin(c, storeDir(c), p)
		},
	}
}

func storeJoin(c *cli.Context, dir string, p *printer) error {
	cfg, _, err := machineConfig(c, dir)
	if err != nil {
		return err
	}
	cfg.Logger = newLogger(c)
	if d := c.Duration("timeout"); d > 0 {
		var cancel func()
		c.Context, cancel = contextWithTimeout(c.Context, d)
		defer cancel()
	}
	how := node.JoinConfig{At: c.String("at"), Interfaces: c.StringSlice("interface")}
	if isTerminal(c.App.ErrWriter) {
		how.Tell = func(s string) { fmt.Fprintln(c.App.ErrWriter, printable(s)) }
	}
	if how.Code, err = readCode(c); err != nil {
		return err
	}
	next := "\nstart the node with: aether store serve --dir " + dir
	j, err := node.Join(c.Context, cfg, how)
	if errors.Is(err, node.ErrInUse) {
		next = ""
		j, err = joinRunning(c, dir, how)
	}
	if err != nil {
		return withCause(c.Context, err)
	}
	return p.event("joined", fmt.Sprintf("joined pool %s, let in by %s%s", j.Pool, j.InviterName, next),
		"pool", j.Pool.String(), "machine", j.Machine, "dir", dir, "inviter", j.Inviter, "inviter_name", j.InviterName)
}

// joinRunning has the node that runs on dir join.
func joinRunning(c *cli.Context, dir string, how node.JoinConfig) (j node.Joined, err error) {
	for _, name := range []string{"name", "space", "preallocate", "keep", "copies", "passphrase-file"} {
		if c.IsSet(name) {
			return j, usage("--%s: a node runs on %s, with settings of its own", name, dir)
		}
	}
	m, err := node.Connect(c.Context, dir)
	if err != nil {
		return j, err
	}
	j, err = m.Join(c.Context, how)
	return j, errors.Join(err, m.Close())
}

// readCode reads the code: from --code-file, from a person, who may correct a word, or
// from what is piped in.
func readCode(c *cli.Context) (pool.Code, error) {
	if f := c.String("code-file"); f != "" {
		b, err := readFile(f)
		if err != nil {
			return pool.Code{}, fmt.Errorf("the code: %w", err)
		}
		return parseCode(string(b))
	}
	person := isTerminal(c.App.Reader)
	in := bufio.NewReader(c.App.Reader)
	for {
		if person {
			fmt.Fprint(c.App.ErrWriter, "Code, six words: ")
		}
		line, err := readLine(c.Context, in)
		if err != nil && line == "" {
			if errors.Is(err, io.EOF) {
				err = usage("no code; it is read from standard input")
			}
			return pool.Code{}, err
		}
		code, err := parseCode(line)
		if err == nil || !person {
			return code, err
		}
		fmt.Fprintln(c.App.ErrWriter, printable(err.Error()))
	}
}

func parseCode(s string) (pool.Code, error) {
	code, err := pool.ParseCode(s)
	if err != nil {
		return code, usage("%w", err)
	}
	return code, nil
}

// maxCodeFile bounds what is read of a file with a code in it, in bytes.
const maxCodeFile = 4096

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxCodeFile))
}

// readLine reads a line, or gives up when ctx ends.
func readLine(ctx context.Context, in *bufio.Reader) (string, error) {
	type result struct {
		line string
		err  error
	}
	got := make(chan result, 1)
	go func() {
		line, err := in.ReadString('\n')
		got <- result{line, err}
	}()
	select {
	case r := <-got:
		return r.line, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// since writes an instant for people; nothing where there is none.
func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + t.Local().Format(time.DateTime)
}
