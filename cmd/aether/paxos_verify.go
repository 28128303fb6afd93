package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/replica"
)

func paxosVerifyCommand() *cli.Command {
	return &cli.Command{
		Name:  "verify",
		Usage: "compare the states of all nodes",
		Description: "Every node keeps a hash of its whole state; this asks all of them until their states are of one slot, and\n" +
			"compares. Nodes compare theirs all the time, and one that differs stops; this tells that they did.\n" +
			"JSON: verified {slot, hash, nodes}, or differs {slot, nodes}.\n" +
			"Exit status: 1 when states differ, or no slot was found within --timeout at which all could be compared." +
			examples(`aether paxos verify`),
		Flags: clientFlags(),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, 0, 0); err != nil {
				return err
			}
			return withCluster(c, func(ctx context.Context, cl *replica.Client, list []netip.AddrPort, out *printer) error {
				return paxosVerify(ctx, cl, list, out)
			})
		},
	}
}

func paxosVerify(ctx context.Context, cl *replica.Client, list []netip.AddrPort, out *printer) error {
	// The states met, by slot and node.
	seen := map[paxos.Slot]map[paxos.NodeID]uint64{}
	for {
		nodes := map[paxos.NodeID]bool{}
		for _, t := range askAll(ctx, cl, list) {
			if t.err != nil {
				continue
			}
			nodes[t.s.ID] = true
			at := seen[t.s.Map.Slot]
			if at == nil {
				at = map[paxos.NodeID]uint64{}
				seen[t.s.Map.Slot] = at
			}
			at[t.s.ID] = t.s.Map.Hash
		}
		for slot, at := range seen {
			if len(at) < len(nodes) || len(nodes) < 2 {
				continue
			}
			hashes := map[uint64]bool{}
			shown := map[string]string{}
			for id, h := range at {
				hashes[h] = true
				shown[id.String()] = fmt.Sprintf("%016x", h)
			}
			if len(hashes) > 1 {
				if err := out.event("differs", fmt.Sprintf("the states after slot %v differ: %v", slot, shown), "slot", uint64(slot), "nodes", shown); err != nil {
					return err
				}
				return failed()
			}
			for h := range hashes {
				return out.event("verified", fmt.Sprintf("%d nodes have the same state after slot %v", len(at), slot),
					"slot", uint64(slot), "hash", fmt.Sprintf("%016x", h), "nodes", len(at))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: no two nodes answered with states of one slot", context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
