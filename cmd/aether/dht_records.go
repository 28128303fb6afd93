package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht/peer"
	"github.com/aether-lan/aether/dht/records"
)

func dhtPutCommand() *cli.Command {
	return &cli.Command{
		Name:      "put",
		Usage:     "store VALUE, or what stands on standard input, under KEY",
		ArgsUsage: "KEY [VALUE]",
		Description: "Returns when it is on the disks of a majority of the nodes that keep KEY; it is stored once, however often the\n" +
			"request had to be sent. With --ttl it goes when that time is over. JSON: put {key, version}.\n" +
			"Exit status: 1 when too few nodes answered; then nobody knows whether the value is stored." +
			examples(`aether dht put colour blue`, `aether dht put config < config.json`, `aether dht put --ttl 30s lock/a me`),
		Flags: ringClientFlags(&cli.DurationFlag{Name: "ttl", Usage: "delete it after this `TIME`"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 2); err != nil {
				return err
			}
			value, err := ringValue(c, 1)
			if err != nil {
				return err
			}
			key := c.Args().First()
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				r, err := cl.Put(ctx, key, value, c.Duration("ttl"))
				if err != nil {
					return err
				}
				return out.event("put", "", "key", key, "version", r.Version)
			})
		},
	}
}

// ringValue returns the argument at i, or standard input when there is none.
func ringValue(c *cli.Context, i int) ([]byte, error) {
	if c.NArg() > i {
		return []byte(c.Args().Get(i)), nil
	}
	b, err := io.ReadAll(io.LimitReader(c.App.Reader, records.MaxValue+1))
	if err == nil && len(b) > records.MaxValue {
		err = fmt.Errorf("the value is larger than %d bytes", records.MaxValue)
	}
	return b, err
}

func dhtGetCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "print what is stored under KEY",
		ArgsUsage: "KEY",
		Description: "What is printed is not older than anything that was answered before. With --prefix all keys that begin with KEY are\n" +
			"printed, each with its value, TAB between. JSON: value {key, value, version, ttl_ms, holder, fence}.\n" +
			"Exit status: 1 when nothing is stored there or too few nodes answered." +
			examples(`aether dht get colour`, `aether dht get --prefix lock/`, `aether dht get --prefix ""`),
		Flags: ringClientFlags(&cli.BoolFlag{Name: "prefix", Usage: "all keys that begin with KEY"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			key := c.Args().First()
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				if c.Bool("prefix") {
					return dhtGetPrefix(ctx, cl, key, out)
				}
				r, err := cl.Get(ctx, key)
				if err != nil {
					return err
				}
				if out.json {
					return printRingRecord(out, "", r)
				}
				return printRaw(out, r.Value)
			})
		},
	}
}

// printRaw prints a value as it is; to a terminal only what cannot drive it. Text gets
// an end of line where it has none.
func printRaw(out *printer, value []byte) error {
	if isTerminal(out.out) {
		return out.line(string(value))
	}
	if utf8.Valid(value) && (len(value) == 0 || value[len(value)-1] != '\n') {
		value = append(value[:len(value):len(value)], '\n')
	}
	return out.write(value)
}

func printRingRecord(out *printer, text string, r peer.Record) error {
	return out.event("value", text, "key", r.Name, "value", shownBytes(r.Value), "version", r.Version,
		"ttl_ms", r.TTL.Milliseconds(), "holder", r.Holder, "fence", r.Fence)
}

// ringPage is how many records are asked for at once.
const ringPage = 500

func dhtGetPrefix(ctx context.Context, cl *peer.Client, prefix string, out *printer) error {
	after := ""
	for {
		list, more, err := cl.Scan(ctx, prefix, after, ringPage)
		if err != nil {
			return err
		}
		for _, r := range list {
			if err := printRingRecord(out, r.Name+"\t"+string(r.Value), r); err != nil {
				return err
			}
			after = r.Name
		}
		if !more || len(list) == 0 {
			return nil
		}
	}
}

func dhtCasCommand() *cli.Command {
	return &cli.Command{
		Name:      "cas",
		Usage:     "store VALUE under KEY if VERSION is what is there, and print the new version",
		ArgsUsage: "KEY VERSION [VALUE]",
		Description: "VERSION 0 means that nothing must be there. Without VALUE it is read from standard input.\n" +
			"JSON: swapped {key, version}, or conflict {key, version, value} with what is there (version 0: nothing).\n" +
			"Exit status: 1 when another version is there, which is printed, or too few nodes answered." +
			examples(`aether dht cas leader 0 alice`, `aether dht cas leader 7 bob`),
		Flags: ringClientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 2, 3); err != nil {
				return err
			}
			version, err := strconv.ParseUint(c.Args().Get(1), 10, 64)
			if err != nil {
				return usage("VERSION is a number, not %q", c.Args().Get(1))
			}
			value, err := ringValue(c, 2)
			if err != nil {
				return err
			}
			key := c.Args().First()
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				r, err := cl.Swap(ctx, key, version, value)
				if errors.Is(err, peer.ErrConflict) {
					return dhtConflict(out, key, r)
				}
				if err != nil {
					return err
				}
				return out.event("swapped", strconv.FormatUint(r.Version, 10), "key", key, "version", r.Version)
			})
		},
	}
}

// dhtConflict tells what is there instead of what was expected.
func dhtConflict(out *printer, key string, r peer.Record) error {
	version := r.Version
	if r.Deleted {
		version = 0
	}
	if out.json {
		return errors.Join(out.event("conflict", "", "key", key, "version", version, "value", shownBytes(r.Value)), failed())
	}
	if version == 0 {
		return fmt.Errorf("%q is not there: its version is 0", key)
	}
	return fmt.Errorf("%q has version %d: %q", key, version, r.Value)
}

func dhtDeleteCommand() *cli.Command {
	return &cli.Command{
		Name:        "delete",
		Aliases:     []string{"del"},
		Usage:       "delete what is stored under KEY",
		ArgsUsage:   "KEY",
		Description: "JSON: deleted {key, version}.\nExit status: 1 when nothing is there or too few nodes answered." + examples(`aether dht delete colour`),
		Flags:       ringClientFlags(&cli.Uint64Flag{Name: "version", Usage: "only if this `VERSION` is there"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			key := c.Args().First()
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				r, err := cl.Delete(ctx, key, c.Uint64("version"))
				if errors.Is(err, peer.ErrConflict) {
					return dhtConflict(out, key, r)
				}
				if err != nil {
					return err
				}
				return out.event("deleted", "", "key", key, "version", r.Version)
			})
		},
	}
}

func dhtWatchCommand() *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "print the changes of KEY, until interrupted",
		ArgsUsage: "KEY",
		Description: "A line for each change: KEY TAB VALUE, or KEY alone when it was deleted; what is there in the beginning is the\n" +
			"first. With --prefix, of all keys that begin with KEY.\n" +
			"JSON: changed {key, value, version}, deleted {key, version}. Exit status: 0 after an interrupt or --count changes." +
			examples(`aether dht watch colour`, `aether dht watch --prefix lock/`, `aether dht watch --count 1 colour`),
		Flags: ringClientFlags(
			&cli.BoolFlag{Name: "prefix", Usage: "all keys that begin with KEY"},
			&cli.IntFlag{Name: "count", Aliases: []string{"c"}, Usage: "end after `N` changes"},
		),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			seen, begun := 0, c.Bool("prefix")
			return withRingForEver(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				return cl.Watch(ctx, c.Args().First(), c.Bool("prefix"), func(r peer.Record) error {
					if !begun && r.Deleted { // nothing is there yet
						begun = true
						return nil
					}
					begun = true
					if err := printChange(out, r); err != nil {
						return err
					}
					if seen++; seen == c.Int("count") {
						return errEnoughSeen
					}
					return nil
				})
			})
		},
	}
}

func printChange(out *printer, r peer.Record) error {
	if r.Deleted {
		return out.event("deleted", r.Name, "key", r.Name, "version", r.Version)
	}
	return out.event("changed", r.Name+"\t"+string(r.Value), "key", r.Name, "value", shownBytes(r.Value), "version", r.Version)
}
