package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/dht/peer"
)

func dhtLookupCommand() *cli.Command {
	return &cli.Command{
		Name:      "lookup",
		Usage:     "find the node that owns ID, or the point of KEY",
		ArgsUsage: "ID|KEY",
		Description: "An ID is 40 hexadecimal digits; anything else is a key, whose record its owner leads. With --trace every node\n" +
			"that is asked is printed, the owner last. JSON: with --trace hop {node, address}; owner {node, hops, address, key, took_ms}.\n" +
			"Exit status: 1 when nobody on the way answers." +
			examples(`aether dht lookup colour`, `aether dht lookup --trace 00112233445566778899aabbccddeeff00112233`),
		Flags: ringClientFlags(&cli.BoolFlag{Name: "trace", Usage: "print every node that is asked"}),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 1, 1); err != nil {
				return err
			}
			return withRing(c, func(ctx context.Context, cl *peer.Client, out *printer) error {
				return dhtLookup(ctx, c, cl, out)
			})
		},
	}
}

func dhtLookup(ctx context.Context, c *cli.Context, cl *peer.Client, out *printer) error {
	key := ringPoint(c.Args().First())
	s, err := cl.Status(ctx)
	if err != nil {
		return err
	}
	owner, hops, took, err := cl.Lookup(ctx, key)
	if err != nil {
		return err
	}
	if owner.ID != s.Self.ID { // it was asked, too, and said that it is the owner
		hops = append(hops, owner)
	}
	if c.Bool("trace") {
		for i, h := range hops {
			if err := out.event("hop", fmt.Sprintf("%2d  %s  %v", i+1, h.ID, h.Address), "node", h.ID, "address", h.Address); err != nil {
				return err
			}
		}
	}
	ms := float64(took) / float64(time.Millisecond)
	return out.event("owner", fmt.Sprintf("%s is owned by %s at %v: %d hops, %.2f ms", peer.Space().Format(key), owner.ID, owner.Address, len(hops), ms),
		"node", owner.ID, "hops", len(hops), "address", owner.Address, "key", peer.Space().Format(key), "took_ms", ms)
}
