package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/replica"
)

func paxosPutCommand() *cli.Command {
	return &cli.Command{
		Name:      "put",
		Usage:     "set KEY to VALUE, or to what stands on standard input",
		ArgsUsage: "KEY [VALUE]",
		Description: "Returns when the value is on the disks of a majority; it is set once, however often the request had to be sent.\n" +
			"With --ttl the key goes when that time is over. JSON: put {key, version}.\n" +
			"Exit status: 1 when the cluster did not answer; then nobody knows whether the value is set." +
			examples(`aether paxos put colour blue`, `aether paxos put config < config.json`, `aether paxos put --ttl 30s lock/a me`),
		Flags: clientFlags(&cli.DurationFlag{Name: "ttl", Usage: "delete the key after this `TIME`"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 2); err != nil {
				return err
			}
			value, err := valueOf(c, 1)
			if err != nil {
				return err
			}
			return withCluster(c, func(ctx context.Context, cl *replica.Client, _ []netip.AddrPort, out *printer) error {
				cmd := kv.Command{Op: kv.Put, Key: []byte(c.Args().First()), Value: value}
				if ttl := c.Duration("ttl"); ttl > 0 {
					r, err := cl.Do(ctx, kv.Command{Op: kv.Grant, TTL: ttl})
					if err != nil {
						return err
					}
					cmd.Lease = r.Lease
				}
				r, err := cl.Do(ctx, cmd)
				if err != nil {
					return err
				}
				return out.event("put", "", "key", shownBytes(cmd.Key), "version", uint64(r.Version))
			})
		},
	}
}

// valueOf returns the argument at i, or standard input when there is none.
func valueOf(c *cli.Context, i int) ([]byte, error) {
	if c.NArg() > i {
		return []byte(c.Args().Get(i)), nil
	}
	b, err := io.ReadAll(io.LimitReader(c.App.Reader, kv.MaxValue+1))
	if err == nil && len(b) > kv.MaxValue {
		err = fmt.Errorf("the value is larger than %d bytes", kv.MaxValue)
	}
	return b, err
}

// shownBytes is how bytes are shown in JSON: as text when they are, else in base64 as
// {"base64": …}.
func shownBytes(b []byte) any {
	if utf8.Valid(b) {
		return string(b)
	}
	return map[string][]byte{"base64": b}
}

func paxosGetCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "print what KEY has",
		ArgsUsage: "KEY",
		Description: "What is printed is not older than anything that was answered before; --stale takes what the node that is asked\n" +
			"has. With --prefix, all keys that begin with KEY are printed, each with its value, TAB between.\n" +
			"JSON: value {key, value, version, created, lease}.\n" +
			"Exit status: 1 when the key is not there or the cluster did not answer." +
			examples(`aether paxos get colour`, `aether paxos get --prefix lock/`, `aether paxos get --prefix ""`),
		Flags: clientFlags(
			&cli.BoolFlag{Name: "prefix", Usage: "all keys that begin with KEY"},
			&cli.BoolFlag{Name: "stale", Usage: "also what may be old"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			key := []byte(c.Args().First())
			return withCluster(c, func(ctx context.Context, cl *replica.Client, _ []netip.AddrPort, out *printer) error {
				if c.Bool("prefix") {
					return getPrefix(ctx, cl, key, c.Bool("stale"), out)
				}
				v, ok, err := cl.Get(ctx, key, c.Bool("stale"))
				if err != nil {
					return err
				}
				if !ok {
					return fmt.Errorf("%q: %w", key, kv.ErrNotFound)
				}
				return printValue(out, string(v.Value), key, v)
			})
		},
	}
}

func printValue(out *printer, text string, key []byte, v kv.Value) error {
	return out.event("value", text, "key", shownBytes(key), "value", shownBytes(v.Value),
		"version", uint64(v.Version), "created", uint64(v.Created), "lease", v.Lease)
}

func getPrefix(ctx context.Context, cl *replica.Client, prefix []byte, stale bool, out *printer) error {
	from := prefix
	for {
		pairs, more, _, err := cl.Range(ctx, prefix, from, 0, stale)
		if err != nil {
			return err
		}
		for _, p := range pairs {
			if err := printValue(out, string(p.Key)+"\t"+string(p.Value.Value), p.Key, p.Value); err != nil {
				return err
			}
			from = append(append([]byte(nil), p.Key...), 0)
		}
		if !more {
			return nil
		}
	}
}

func paxosDelCommand() *cli.Command {
	return &cli.Command{
		Name:      "del",
		Aliases:   []string{"delete"},
		Usage:     "delete KEY",
		ArgsUsage: "KEY",
		Description: "JSON: deleted {key, version}.\nExit status: 1 when the key is not there or the cluster did not answer." +
			examples(`aether paxos del colour`),
		Flags: clientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			return withCluster(c, func(ctx context.Context, cl *replica.Client, _ []netip.AddrPort, out *printer) error {
				key := []byte(c.Args().First())
				r, err := cl.Do(ctx, kv.Command{Op: kv.Delete, Key: key})
				if err != nil {
					return fmt.Errorf("%q: %w", key, err)
				}
				return out.event("deleted", "", "key", shownBytes(key), "version", uint64(r.Version))
			})
		},
	}
}

func paxosCasCommand() *cli.Command {
	return &cli.Command{
		Name:      "cas",
		Usage:     "set KEY to NEW if it has OLD",
		ArgsUsage: "KEY OLD NEW",
		Description: "With --absent, KEY NEW: set it if it is not there. JSON: swapped {key, version}, or mismatch {key, value,\n" +
			"version} with what it has.\n" +
			"Exit status: 1 when KEY has another value or is not there, or the cluster did not answer." +
			examples(`aether paxos cas leader alice bob`, `aether paxos cas --absent leader alice`),
		Flags: clientFlags(&cli.BoolFlag{Name: "absent", Usage: "only if KEY is not there"}),
		Action: func(c *cli.Context) error {
			want := 3
			if c.Bool("absent") {
				want = 2
			}
			if c.NArg() != want {
				return usage("want KEY OLD NEW, or --absent KEY NEW")
			}
			cmd := kv.Command{Op: kv.Put, Key: []byte(c.Args().First()), Value: []byte(c.Args().Get(want - 1))}
			cmd.Expect = kv.Expect{Condition: kv.HasValue, Value: []byte(c.Args().Get(1))}
			if c.Bool("absent") {
				cmd.Expect = kv.Expect{Condition: kv.Absent}
			}
			return withCluster(c, func(ctx context.Context, cl *replica.Client, _ []netip.AddrPort, out *printer) error {
				r, err := cl.Do(ctx, cmd)
				switch {
				case errors.Is(err, kv.ErrMismatch):
					if out.json {
						return errors.Join(out.event("mismatch", "", "key", shownBytes(cmd.Key), "value", shownBytes(r.Value), "version", uint64(r.Version)), failed())
					}
					return fmt.Errorf("%q has %q", cmd.Key, r.Value)
				case err != nil:
					return fmt.Errorf("%q: %w", cmd.Key, err)
				}
				return out.event("swapped", "", "key", shownBytes(cmd.Key), "version", uint64(r.Version))
			})
		},
	}
}

func paxosWatchCommand() *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "print changes of keys that begin with PREFIX, until interrupted",
		ArgsUsage: "[PREFIX]",
		Description: "A line for each change: KEY TAB VALUE, or KEY alone when it was deleted.\n" +
			"JSON: changed {key, value, version}, deleted {key, version}.\n" +
			"Exit status: 0 after an interrupt or --count changes, 1 when changes were missed or the cluster did not answer." +
			examples(`aether paxos watch lock/`, `aether paxos watch --count 1 colour`),
		Flags: clientFlags(&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Usage: "end after `N` changes"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 1); err != nil {
				return err
			}
			if !c.IsSet("timeout") {
				if err := c.Set("timeout", "0"); err != nil {
					return err
				}
			}
			prefix := []byte(c.Args().First())
			return withCluster(c, func(ctx context.Context, cl *replica.Client, _ []netip.AddrPort, out *printer) error {
				_, _, since, err := cl.Range(ctx, prefix, nil, 1, false)
				if err == nil {
					err = watchFrom(ctx, cl, prefix, since, c.Int("count"), out)
				}
				if c.Context.Err() != nil || errors.Is(err, errEnoughSeen) {
					err = nil // the end that was asked for
				}
				return err
			})
		},
	}
}

// errEnoughSeen ends a watch after --count changes.
var errEnoughSeen = errors.New("enough")
