package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/kv"
	"github.com/aether-lan/aether/paxos/log"
	"github.com/aether-lan/aether/paxos/replica"
)

func paxosSnapshotCommand() *cli.Command {
	return &cli.Command{
		Name:  "snapshot",
		Usage: "save the whole map in a file, and bring it back",
		Subcommands: []*cli.Command{
			{
				Name: "save", Usage: "save the map as it is after one slot in FILE", ArgsUsage: "FILE",
				Description: "FILE is replaced when the snapshot is whole, and ends with its SHA-256. JSON: saved {file, slot, bytes}.\n" +
					"Exit status: 1 when no node answered or FILE cannot be written." + examples(`aether paxos snapshot save monday.snapshot`),
				Flags: clientFlags(),
				Action: func(c *cli.Context) error {
					if err := wantArgs(c, 1, 1); err != nil {
						return err
					}
					return withCluster(c, func(ctx context.Context, cl *replica.Client, list []netip.AddrPort, out *printer) error {
						return snapshotSave(ctx, cl, list, c.Args().First(), out)
					})
				},
			},
			{
				Name: "restore", Usage: "set all keys that FILE has", ArgsUsage: "FILE",
				Description: "Into a cluster that runs: a new one, after all nodes of an old one were lost. A map that has keys is left as it is\n" +
					"unless --force is given; keys that FILE does not have stay. Leases and sessions are not brought back.\n" +
					"JSON: restored {file, keys}.\n" +
					"Exit status: 1 when FILE is not whole, the map has keys, or the cluster did not answer; keys set before stay." +
					examples(`aether paxos snapshot restore monday.snapshot`),
				Flags: clientFlags(&cli.BoolFlag{Name: "force", Usage: "also where there are keys"}),
				Action: func(c *cli.Context) error {
					if err := wantArgs(c, 1, 1); err != nil {
						return err
					}
					if !c.IsSet("timeout") {
						if err := c.Set("timeout", "0"); err != nil {
							return err
						}
					}
					return withCluster(c, func(ctx context.Context, cl *replica.Client, _ []netip.AddrPort, out *printer) error {
						return snapshotRestore(ctx, cl, c.Args().First(), c.Bool("force"), out)
					})
				},
			},
		},
	}
}

// snapshotSave saves the snapshot of the first node that makes one.
func snapshotSave(ctx context.Context, cl *replica.Client, list []netip.AddrPort, name string, out *printer) error {
	var failures []error
	for _, a := range list {
		var saved paxos.Snapshot
		err := replaceFile(name, func(f *os.File) (err error) {
			if saved, err = cl.SaveSnapshot(ctx, a, f); err == nil {
				_, err = f.Write(saved.Sum[:])
			}
			return err
		})
		if err == nil {
			return out.event("saved", "", "file", name, "slot", uint64(saved.Slot), "bytes", saved.Size)
		}
		failures = append(failures, fmt.Errorf("%v: %w", a, err))
	}
	return errors.Join(failures...)
}

var errSnapshotFile = errors.New("not a whole snapshot")

// snapshotRestore verifies a file and sets what it has.
func snapshotRestore(ctx context.Context, cl *replica.Client, name string, force bool, out *printer) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	size := info.Size() - sha256.Size
	want, sum := make([]byte, sha256.Size), sha256.New()
	if size < 0 {
		return fmt.Errorf("%s: %w", name, errSnapshotFile)
	}
	if _, err := f.ReadAt(want, size); err != nil {
		return err
	}
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, size)); err != nil {
		return err
	}
	if string(sum.Sum(nil)) != string(want) {
		return fmt.Errorf("%s: %w: its end is not the hash of the rest", name, errSnapshotFile)
	}
	if !force {
		pairs, _, _, err := cl.Range(ctx, nil, nil, 1, false)
		if err != nil {
			return err
		}
		if len(pairs) > 0 {
			return errors.New("the map has keys already: --force sets those of the file beside them")
		}
	}
	keys := 0
	err = log.EachPair(bufio.NewReaderSize(io.NewSectionReader(f, 0, size), 256<<10), func(k, v []byte) error {
		key, value, ok, err := kv.StoredPair(k, v)
		if err != nil || !ok {
			return err
		}
		keys++
		_, err = cl.Do(ctx, kv.Command{Op: kv.Put, Key: key, Value: value.Value})
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: after %d keys: %w", name, keys, err)
	}
	return out.event("restored", "", "file", name, "keys", keys)
}
