package main

import (
	"context"
	"net/netip"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/aether-lan/aether/paxos"
	"github.com/aether-lan/aether/paxos/replica"
)

func paxosMemberCommand() *cli.Command {
	return &cli.Command{
		Name:  "member",
		Usage: "change which nodes agree",
		Subcommands: []*cli.Command{
			paxosMemberLeaf("add", "ID HOST:PORT", "let a node that was started with --join take part; it votes once it has caught up",
				"A change that would leave no live majority is refused.", `aether paxos member add 4 10.0.0.4:7001`),
			paxosMemberLeaf("remove", "ID", "take a node out", "A change that would leave no live majority is refused.", `aether paxos member remove 2`),
			paxosMemberLeaf("promote", "ID", "let a learner vote", "It must have caught up.", `aether paxos member promote 4`),
			paxosMemberLeaf("lead", "ID", "make a node the leader", "The leader waits until it holds everything, and hands over.", `aether paxos member lead 1`),
		},
	}
}

func paxosMemberLeaf(action, args, use, more, example string) *cli.Command {
	var flags []cli.Flag
	if action == "add" {
		flags = append(flags, &cli.BoolFlag{Name: "learner", Usage: "never let it vote: it is told everything and counts for nothing"})
	}
	want := 1
	if action == "add" {
		want = 2
	}
	return &cli.Command{
		Name: action, Usage: use, ArgsUsage: args,
		Description: more + " JSON: " + action + " {id}.\nExit status: 1 when it is refused, or the cluster did not answer." + examples(example),
		Flags:       clientFlags(flags...),
		Action: func(c *cli.Context) error {
			if err := wantArgs(c, want, want); err != nil {
				return err
			}
			id, err := strconv.ParseUint(c.Args().First(), 10, 64)
			if err != nil || id == 0 {
				return usage("%q is not the ID of a node", c.Args().First())
			}
			addr := ""
			if action == "add" {
				a, err := resolveEndpoint(c.Context, c.Args().Get(1))
				if err != nil {
					return err
				}
				addr = a.String()
			}
			return withCluster(c, func(ctx context.Context, cl *replica.Client, _ []netip.AddrPort, out *printer) error {
				if err := cl.Member(ctx, action, paxos.NodeID(id), addr, c.Bool("learner")); err != nil {
					return err
				}
				return out.event(action, "", "id", id)
			})
		},
	}
}
